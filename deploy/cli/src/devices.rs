//! The devices of a run: one per half, as typed or chosen.

use anyhow::{Result, bail};
use gpu_worker::Device;
use gpu_worker::backend::cuda::{self, Search};

use crate::print;

/// The devices of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Devices {
    /// One per half, in the form of a worker's `--device`.
    pub names: Vec<String>,
    /// Reason for the choice, if it was made here.
    pub why: Option<String>,
}

/// One device per half. `auto` takes the GPUs if driver and NVRTC work; otherwise the halves share
/// the CPU's cores.
///
/// # Errors
/// If the list can't be understood, does not fit the recipe, or names a GPU that can't be used.
pub(crate) fn devices(typed: &str, columns: usize, search: &Search) -> Result<Devices> {
    if typed == "auto" {
        return Ok(auto(columns, cuda::usable(search)));
    }
    let names: Vec<String> = typed.split(',').map(|device| device.trim().to_owned()).collect();
    if names.len() != columns {
        bail!(
            "--devices {typed} names {}, but the recipe has {}: name one device per column, such \
             as {}",
            print::count(names.len() as u64, "device", "devices"),
            print::count(columns as u64, "column", "columns"),
            vec!["cpu"; columns].join(",")
        );
    }
    for device in &names {
        // A missing GPU is better reported here than after ten restarts of a worker.
        if let Device::Cuda(wanted) = device.parse()? {
            cuda::check(&wanted, search)?;
        }
    }
    Ok(Devices { names, why: None })
}

fn auto(columns: usize, found: gpu_worker::Result<Vec<cuda::Found>>) -> Devices {
    match found {
        Ok(gpus) => {
            // With fewer GPUs than halves, the halves share: slower than two, faster than a CPU.
            let taken = (0..columns).map(|i| &gpus[i % gpus.len()]);
            let here = print::count(gpus.len() as u64, "GPU", "GPUs");
            let first = &gpus[0].name;
            let shared = if gpus.len() < columns { ", which the halves share" } else { "" };
            Devices {
                names: taken.map(|gpu| format!("cuda:{}", gpu.ordinal)).collect(),
                why: Some(format!("found {here} ({first}){shared}")),
            }
        }
        Err(error) => {
            let why = match error {
                gpu_worker::Error::NoGpu { why, .. }
                | gpu_worker::Error::Device { why, .. }
                | gpu_worker::Error::DeviceUnusable { why, .. } => why,
                other => other.to_string(),
            };
            Devices { names: vec![cpu(columns).to_string(); columns], why: Some(why) }
        }
    }
}

/// The CPU for one of several halves that share its cores.
pub(crate) fn cpu(columns: usize) -> Device {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Device::Cpu { threads: (cores / columns.max(1)).clamp(1, Device::MOST_THREADS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: usize) -> gpu_worker::Result<Vec<cuda::Found>> {
        let gpu = |ordinal| cuda::Found {
            ordinal,
            name: "H".into(),
            uuid: "GPU-0".into(),
            capability: 90,
            memory: 1 << 34,
        };
        Ok((0..n).map(gpu).collect())
    }

    #[test]
    fn every_column_has_its_device() {
        let devices = |typed, columns| devices(typed, columns, &Search::default());
        assert_eq!(devices("cpu,cpu:2", 2).unwrap().names, ["cpu", "cpu:2"]);
        let said = devices("cpu", 2).unwrap_err().to_string();
        assert!(said.contains("1 device") && said.contains("cpu,cpu"), "{said}");
        assert!(devices("tpu,cpu", 2).is_err());
    }

    #[test]
    fn auto_takes_gpus_where_they_are_and_says_why_not_where_they_are_not() {
        assert_eq!(auto(2, found(3)).names, ["cuda:0", "cuda:1"]);
        let shared = auto(2, found(1));
        assert_eq!(shared.names, ["cuda:0", "cuda:0"]);
        assert!(shared.why.unwrap().contains("share"));
        let why = "no driver; install it".to_owned();
        let error = gpu_worker::Error::NoGpu { device: "auto".into(), why };
        assert!(error.to_string().ends_with("install it, or use cpu"));
        let none = auto(2, Err(error));
        assert!(none.names.iter().all(|name| name.starts_with("cpu:")));
        assert_eq!(none.why.unwrap(), "no driver; install it");
    }
}
