//! CUDA C in, code for one architecture out, by NVRTC.

use super::libraries::{self, Search};
use super::nvrtc::Nvrtc;
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
#[derive(Debug, Clone)]
pub struct Compiler {
    nvrtc: Nvrtc,
    version: (i32, i32),
    option: String,
    exact: bool,
}

impl Compiler {
    /// For compute capability `arch` (major × 10 + minor), with the NVRTC that `search` finds: one
    /// that knows the architecture, if there is one.
    ///
    /// # Errors
    /// [`Error::Device`] if the architecture is older than supported, or NVRTC is not there or too
    /// old for it.
    pub fn new(device: &str, arch: u32, search: &Search) -> Result<Self> {
        let refused = |why: String| Error::Device { device: device.into(), why };
        if arch < OLDEST {
            return Err(refused(format!(
                "its compute capability is {}.{}, the kernels need 7.5 (Turing, 2018) or later; use cpu",
                arch / 10,
                arch % 10
            )));
        }
        let nvrtc = libraries::nvrtc(device, search, |nvrtc| target(nvrtc, arch).is_some())?;
        let version = nvrtc.version();
        if let Some(newest) = target(&nvrtc, arch) {
            let exact = newest == arch;
            let kind = if exact { "sm" } else { "compute" };
            let option = format!("--gpu-architecture={kind}_{newest}");
            return Ok(Self { nvrtc, version, option, exact });
        }
        let known: Vec<_> = nvrtc.architectures().iter().map(u32::to_string).collect();
        Err(refused(format!(
            "NVRTC {}.{} is too old for compute capability {}.{} (it knows {}); install a newer one (pip install nvidia-cuda-nvrtc-cu12) or name it with --nvrtc",
            version.0,
            version.1,
            arch / 10,
            arch % 10,
            known.join(", ")
        )))
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
        self.nvrtc.compile(name, text, &self.options(), self.exact).map_err(|log| Error::Kernel {
            program: name.into(),
            compiler: self.key(),
            log,
        })
    }
}

/// The architecture to compile for: one newer than NVRTC runs PTX of the newest older one of its
/// generation.
fn target(nvrtc: &Nvrtc, arch: u32) -> Option<u32> {
    let newest = nvrtc.architectures().into_iter().filter(|known| *known <= arch).max()?;
    (newest >= OLDEST && newest / 10 == arch / 10).then_some(newest)
}
