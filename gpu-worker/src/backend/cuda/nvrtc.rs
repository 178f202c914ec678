//! NVRTC's functions, from one library that was found by [`super::libraries`]. Not through cudarc,
//! which asks for the library by name and so takes the system's, whatever the operator named.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::os::unix::Library;

/// A compiled program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Code for one architecture; None if NVRTC does not know the card's own.
    pub cubin: Option<Vec<u8>>,
    /// Intermediate code (PTX), which the driver compiles.
    pub ptx: String,
}

/// Handle of a program inside NVRTC.
type Program = *mut c_void;
/// Zero, or the number of an error.
type Outcome = c_int;
type Bytes = unsafe extern "C" fn(Program, *mut c_char) -> Outcome;
type Length = unsafe extern "C" fn(Program, *mut usize) -> Outcome;

/// The library. Once loaded it stays, so these can be copied about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nvrtc {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Outcome,
    count_archs: unsafe extern "C" fn(*mut c_int) -> Outcome,
    archs: unsafe extern "C" fn(*mut c_int) -> Outcome,
    explain: unsafe extern "C" fn(Outcome) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Outcome,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Outcome,
    destroy: unsafe extern "C" fn(*mut Program) -> Outcome,
    log: (Length, Bytes),
    ptx: (Length, Bytes),
    cubin: (Length, Bytes),
}

impl Nvrtc {
    /// Loads the library at `path`, or the one that the system has under this name.
    ///
    /// # Errors
    /// The reason why the file is not NVRTC.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: the operator, or the system, says that this is NVIDIA's library; its initializers
        // are what any program that uses it runs.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        // SAFETY: the types are those of nvrtc.h, the same since CUDA 11.
        let functions = unsafe { Self::functions(&library) }.map_err(|e| e.to_string())?;
        std::mem::forget(library);
        functions.load_builtins(path);
        Ok(functions)
    }

    /// Loads the library's other half, which lies beside it. NVRTC asks for that by name at its
    /// first compilation and gets one that is loaded already; NVRTC 13.0 does not look beside
    /// itself. Where it cannot be loaded, the compilation says so.
    fn load_builtins(&self, path: &Path) {
        let (major, minor) = self.version();
        let builtins = path.with_file_name(format!("libnvrtc-builtins.so.{major}.{minor}"));
        if builtins.is_file() {
            // SAFETY: NVIDIA's as much as the library that it belongs to; it only holds data.
            if let Ok(library) = unsafe { Library::new(&builtins) } {
                std::mem::forget(library);
            }
        }
    }

    /// # Safety
    /// The library's functions have the types of nvrtc.h.
    unsafe fn functions(library: &Library) -> Result<Self, libloading::Error> {
        macro_rules! get {
            ($name:literal) => {
                // SAFETY: the caller's.
                *unsafe { library.get($name) }?
            };
        }
        Ok(Self {
            version: get!(b"nvrtcVersion\0"),
            count_archs: get!(b"nvrtcGetNumSupportedArchs\0"),
            archs: get!(b"nvrtcGetSupportedArchs\0"),
            explain: get!(b"nvrtcGetErrorString\0"),
            create: get!(b"nvrtcCreateProgram\0"),
            compile: get!(b"nvrtcCompileProgram\0"),
            destroy: get!(b"nvrtcDestroyProgram\0"),
            log: (get!(b"nvrtcGetProgramLogSize\0"), get!(b"nvrtcGetProgramLog\0")),
            ptx: (get!(b"nvrtcGetPTXSize\0"), get!(b"nvrtcGetPTX\0")),
            cubin: (get!(b"nvrtcGetCUBINSize\0"), get!(b"nvrtcGetCUBIN\0")),
        })
    }

    /// Major and minor version; zeros if the library does not say.
    pub(super) fn version(&self) -> (i32, i32) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two places for one int each.
        let _ = unsafe { (self.version)(&raw mut major, &raw mut minor) };
        (major, minor)
    }

    /// Architectures that the library compiles for; empty if it does not say.
    pub(super) fn architectures(&self) -> Vec<u32> {
        let mut n = 0;
        // SAFETY: a place for one int.
        if unsafe { (self.count_archs)(&raw mut n) } != 0 {
            return Vec::new();
        }
        let mut known = vec![0_i32; usize::try_from(n).unwrap_or_default()];
        // SAFETY: as many places as NVRTC just said.
        if unsafe { (self.archs)(known.as_mut_ptr()) } != 0 {
            return Vec::new();
        }
        known.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect()
    }

    /// Compiles a program's text; `exact` asks for device code too.
    ///
    /// # Errors
    /// The compiler's log, or NVRTC's text for the error.
    pub(super) fn compile(
        &self,
        name: &str,
        text: &str,
        options: &[&str],
        exact: bool,
    ) -> Result<Compiled, String> {
        let c_text = |text: &str| CString::new(text).map_err(|e| e.to_string());
        let (text, name) = (c_text(text)?, c_text(&format!("{name}.cu"))?);
        let options = options.iter().map(|o| c_text(o)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let n_options = c_int::try_from(pointers.len()).map_err(|e| e.to_string())?;

        let mut made = Made { program: std::ptr::null_mut(), nvrtc: self };
        let (none, program) = (std::ptr::null(), &raw mut made.program);
        // SAFETY: a place for a program, two texts that end in 0, and no headers.
        let created =
            unsafe { (self.create)(program, text.as_ptr(), name.as_ptr(), 0, none, none) };
        self.check(created)?;
        // SAFETY: the program was just made; the options are texts that end in 0, as many as said.
        let compiled = unsafe { (self.compile)(made.program, n_options, pointers.as_ptr()) };
        if compiled != 0 {
            return Err(c_bytes_text(&self.bytes(&made, self.log)?));
        }
        let ptx = c_bytes_text(&self.bytes(&made, self.ptx)?);
        let cubin = if exact { Some(self.bytes(&made, self.cubin)?) } else { None };
        Ok(Compiled { cubin, ptx })
    }

    fn bytes(&self, made: &Made<'_>, (length, read): (Length, Bytes)) -> Result<Vec<u8>, String> {
        let mut len = 0;
        // SAFETY: the program lives, and here is a place for one size.
        self.check(unsafe { length(made.program, &raw mut len) })?;
        let mut bytes = vec![0_u8; len];
        // SAFETY: the buffer has the length that NVRTC just gave.
        self.check(unsafe { read(made.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    fn check(&self, outcome: Outcome) -> Result<(), String> {
        if outcome == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC has a constant text, which ends in 0, for every number.
        let said = unsafe { CStr::from_ptr((self.explain)(outcome)) };
        Err(said.to_string_lossy().into_owned())
    }
}

/// A program that goes when this does.
struct Made<'a> {
    program: Program,
    nvrtc: &'a Nvrtc,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: made by `create`, and destroyed only here. A failure leaks it, no more.
            let _ = unsafe { (self.nvrtc.destroy)(&raw mut self.program) };
        }
    }
}

/// Text up to its 0.
fn c_bytes_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
