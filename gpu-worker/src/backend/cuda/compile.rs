//! Compiles CUDA C to code for one architecture, with NVRTC.

use super::choice::{Candidate, Needs, target};
use super::libraries;
use super::nvrtc::Nvrtc;
use super::search::Search;
use crate::error::{Error, Result};

pub use super::choice::OLDEST;
pub use super::nvrtc::Compiled;

/// NVRTC, set to one architecture.
#[derive(Debug, Clone)]
pub struct Compiler {
    nvrtc: Nvrtc,
    taken: Candidate,
    option: String,
    exact: bool,
}

impl Compiler {
    /// A compiler for compute capability `arch` (major × 10 + minor), with the NVRTC that is taken
    /// of those that `search` finds.
    ///
    /// # Errors
    /// [`Error::DeviceUnusable`] if the architecture is older than supported, or no NVRTC is there
    /// that knows it.
    pub fn new(device: &str, arch: u32, search: &Search) -> Result<Self> {
        if arch < OLDEST {
            return Err(Error::DeviceUnusable {
                device: device.into(),
                why: format!(
                    "its compute capability is {}.{}, the kernels need 7.5 (Turing, 2018) or later; \
                     use cpu",
                    arch / 10,
                    arch % 10
                ),
            });
        }
        let needs = Needs { driver: libraries::driver_version(), capability: Some(arch) };
        let (nvrtc, taken) = libraries::nvrtc(device, search, needs)?;
        let newest = target(&taken.architectures, arch).expect("what is taken knows the card");
        let exact = newest == arch;
        let kind = if exact { "sm" } else { "compute" };
        let option = format!("--gpu-architecture={kind}_{newest}");
        Ok(Self { nvrtc, taken, option, exact })
    }

    /// The NVRTC that is used, and why it was taken.
    pub fn taken(&self) -> &Candidate {
        &self.taken
    }

    /// NVRTC's version.
    pub fn version(&self) -> String {
        self.taken.version.map(|version| version.to_string()).unwrap_or_default()
    }

    /// Everything besides the text that decides the compiled bytes.
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
