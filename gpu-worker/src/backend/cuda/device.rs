//! Which GPUs are here, and the one a worker is pinned to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUresult};
use cudarc::driver::{CudaContext, DriverError, result};

use super::{explain, libraries};
use crate::error::{Error, Result};

/// Which GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpu {
    /// The driver's number; `CUDA_VISIBLE_DEVICES` renumbers.
    Ordinal(usize),
    /// Its UUID as `nvidia-smi -L` prints it, or the beginning of it: `GPU-8f6d…`.
    Uuid(String),
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordinal(n) => write!(f, "cuda:{n}"),
            Self::Uuid(uuid) => write!(f, "cuda:{uuid}"),
        }
    }
}

impl FromStr for Gpu {
    type Err = String;

    /// What stands after `cuda:`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(ordinal) => Ok(Self::Ordinal(ordinal)),
            Err(_) if text.starts_with("GPU-") && text.len() > 4 => Ok(Self::Uuid(text.into())),
            Err(_) => {
                Err("cuda:N needs the number of a GPU, or its UUID as nvidia-smi -L prints it"
                    .into())
            }
        }
    }
}

/// A GPU that the driver shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The driver's number.
    pub ordinal: usize,
    /// The card's name.
    pub name: String,
    /// `GPU-…`.
    pub uuid: String,
    /// Major × 10 + minor.
    pub capability: u32,
    /// Bytes.
    pub memory: usize,
}

/// All GPUs that the driver shows; never empty.
///
/// # Errors
/// [`Error::NoGpu`] without a driver or without a GPU, [`Error::Device`] if the driver fails.
pub fn list(device: &str) -> Result<Vec<Found>> {
    libraries::driver(device)?;
    let refused = |why: String| Error::Device { device: device.into(), why };
    let none = || Error::NoGpu {
        device: device.into(),
        why:
            "the driver shows no GPU; see nvidia-smi -L and CUDA_VISIBLE_DEVICES (in a container: \
              run it with --gpus)"
                .into(),
    };
    let failed = |why: DriverError| match why.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => none(),
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUresult::CUDA_ERROR_STUB_LIBRARY => {
            refused(format!(
                "{}; the driver's library and its kernel module don't fit together: reinstall the driver, or restart",
                explain(why)
            ))
        }
        _ => refused(format!("the driver failed: {}; see nvidia-smi", explain(why))),
    };
    result::init().map_err(failed)?;
    let n = result::device::get_count().map_err(failed)?;
    if n == 0 {
        return Err(none());
    }
    (0..n).map(|ordinal| describe(ordinal).map_err(failed)).collect()
}

fn describe(ordinal: i32) -> std::result::Result<Found, DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the handle is one that the driver just gave, in this and the next two calls.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let uuid = result::device::get_uuid(device)?;
    Ok(Found {
        ordinal: ordinal.unsigned_abs() as usize,
        name: result::device::get_name(device)?,
        uuid: uuid_text(uuid.bytes.map(|byte| byte.cast_unsigned())),
        capability: major.unsigned_abs() * 10 + minor.unsigned_abs(),
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }?,
    })
}

/// As nvidia-smi prints it.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The GPU that is meant.
///
/// # Errors
/// As [`list`]; and if it is not among them, with those that are.
pub fn find(gpu: &Gpu) -> Result<Found> {
    let device = gpu.to_string();
    let mut found = list(&device)?;
    let meant = |here: &Found| match gpu {
        Gpu::Ordinal(ordinal) => here.ordinal == *ordinal,
        Gpu::Uuid(uuid) => here.uuid.starts_with(uuid.as_str()),
    };
    let matching = found.iter().filter(|here| meant(here)).count();
    if matching > 1 {
        return Err(Error::Device { device, why: "more than one GPU's UUID begins so".into() });
    }
    if let Some(at) = found.iter().position(meant) {
        return Ok(found.swap_remove(at));
    }
    let here: Vec<String> =
        found.iter().map(|f| format!("cuda:{} ({}, {})", f.ordinal, f.name, f.uuid)).collect();
    Err(Error::Device { device, why: format!("no such GPU; here is {}", here.join(", ")) })
}

/// Opens it: its context in this process.
///
/// # Errors
/// [`Error::DeviceFull`] if not even the context has room; [`Error::Device`] if it is in use
/// exclusively or broken.
pub(super) fn open(found: &Found, label: &str) -> Result<Arc<CudaContext>> {
    CudaContext::new(found.ordinal).map_err(|why| match why.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::DeviceFull {
            device: label.into(),
            tensor: "the driver's own context",
            mb: 0.0,
            free_mb: 0.0,
            total_mb: found.memory as f64 / 1e6,
        },
        CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => Error::Device {
            device: label.into(),
            why: "another process has it exclusively (nvidia-smi -c shows and sets the mode)"
                .into(),
        },
        _ => Error::Device {
            device: label.into(),
            why: format!("it cannot be opened: {}", explain(why)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_by_number_or_uuid() {
        assert_eq!("1".parse(), Ok(Gpu::Ordinal(1)));
        assert_eq!("GPU-8f".parse(), Ok(Gpu::Uuid("GPU-8f".into())));
        assert!("".parse::<Gpu>().is_err() && "-1".parse::<Gpu>().is_err());
        assert!("GPU-".parse::<Gpu>().is_err());
    }

    #[test]
    fn a_uuid_reads_as_nvidia_smi_prints_it() {
        let bytes = std::array::from_fn(|i| i as u8 * 17);
        assert_eq!(uuid_text(bytes), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }
}
