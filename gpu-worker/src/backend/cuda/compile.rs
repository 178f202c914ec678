//! NVRTC: CUDA C in, code for one architecture out.

use std::ffi::{CString, c_char};

use cudarc::nvrtc::{result, sys};

use crate::error::{Error, Result};

/// Oldest supported architecture: Turing, compute capability 7.5.
pub const OLDEST: u32 = 75;

/// What a program became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// For this architecture only; None if NVRTC does not know it.
    pub cubin: Option<Vec<u8>>,
    /// For the driver to compile.
    pub ptx: String,
}

/// NVRTC, set to one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    version: (i32, i32),
    option: String,
    exact: bool,
}

impl Compiler {
    /// For compute capability `arch` (major × 10 + minor). NVRTC must be there
    /// ([`super::libraries`]).
    ///
    /// # Errors
    /// [`Error::Device`] if the architecture is older than supported, or NVRTC too old for it.
    pub fn new(device: &str, arch: u32) -> Result<Self> {
        let refused = |why: String| Error::Device { device: device.into(), why };
        if arch < OLDEST {
            return Err(refused(format!(
                "its compute capability is {}.{}, the kernels need 7.5 (Turing, 2018) or later; use cpu",
                arch / 10,
                arch % 10
            )));
        }
        let version = version();
        let known = architectures();
        // An architecture newer than NVRTC runs PTX of the newest older one.
        let newest = known.iter().copied().filter(|known| *known <= arch).max();
        match newest {
            Some(newest) if newest >= OLDEST && (newest == arch || newest / 10 == arch / 10) => {
                let exact = newest == arch;
                let kind = if exact { "sm" } else { "compute" };
                Ok(Self { version, option: format!("--gpu-architecture={kind}_{newest}"), exact })
            }
            _ => Err(refused(format!(
                "NVRTC {}.{} is too old for compute capability {}.{} (it knows {}); install a newer one (pip install nvidia-cuda-nvrtc-cu12) or name it with --nvrtc",
                version.0,
                version.1,
                arch / 10,
                arch % 10,
                known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// NVRTC's version.
    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// All that decides what comes out besides the text.
    pub(super) fn key(&self) -> String {
        format!("NVRTC {} {}", self.version(), self.options().join(" "))
    }

    fn options(&self) -> [&str; 2] {
        [&self.option, "--std=c++17"]
    }

    /// Compiles a program's text.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the compiler's log if it refuses the text.
    pub fn compile(&self, name: &str, text: &str) -> Result<Compiled> {
        let refused =
            |log: String| Error::Kernel { program: name.into(), compiler: self.key(), log };
        let nvrtc = |why: result::NvrtcError| refused(format!("{:?}", why.0));
        let source = CString::new(text).map_err(|e| refused(e.to_string()))?;
        let file = CString::new(format!("{name}.cu")).map_err(|e| refused(e.to_string()))?;
        let program = Handle(result::create_program(&source, Some(&file)).map_err(nvrtc)?);
        // SAFETY: the handle is a program that was just made and lives until the end of this
        // function.
        if unsafe { result::compile_program(program.0, &self.options()) }.is_err() {
            // SAFETY: as above.
            let log = unsafe { result::get_program_log(program.0) }.map_err(nvrtc)?;
            return Err(refused(text_of(&log)));
        }
        // SAFETY: as above, and it has been compiled.
        let ptx = text_of(&unsafe { result::get_ptx(program.0) }.map_err(nvrtc)?);
        let cubin = if self.exact { Some(program.cubin().map_err(nvrtc)?) } else { None };
        Ok(Compiled { cubin, ptx })
    }
}

/// A program of NVRTC.
struct Handle(sys::nvrtcProgram);

impl Handle {
    fn cubin(&self) -> std::result::Result<Vec<u8>, result::NvrtcError> {
        let mut len = 0;
        // SAFETY: the handle is a compiled program, `len` a place for one size.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut len) }.result()?;
        let mut cubin = vec![0_u8; len];
        // SAFETY: the buffer has the length that NVRTC just gave.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast::<c_char>()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by create_program, and destroyed only here. A failure leaks it, no more.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// C text up to its 0.
fn text_of(chars: &[c_char]) -> String {
    let bytes: Vec<u8> =
        chars.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// NVRTC's version; it must be there.
fn version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two places for one int each. A failure leaves zeros, which no message takes for true.
    let _ = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    (major, minor)
}

/// Architectures NVRTC compiles for; empty if it does not say.
fn architectures() -> Vec<u32> {
    let mut n = 0;
    // SAFETY: a place for one int.
    if unsafe { sys::nvrtcGetNumSupportedArchs(&raw mut n) }.result().is_err() {
        return Vec::new();
    }
    let mut known = vec![0_i32; usize::try_from(n).unwrap_or_default()];
    // SAFETY: as many places as NVRTC just said.
    if unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) }.result().is_err() {
        return Vec::new();
    }
    known.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect()
}
