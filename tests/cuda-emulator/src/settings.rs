//! The settings of the emulated driver, and their form in the environment.

use std::fmt;
use std::path::PathBuf;

/// The environment variable that the emulated driver reads at `cuInit`.
pub const NAME: &str = "CUDA_EMULATOR";

/// The settings of the emulated machine; their `Display` is a value of the variable [`NAME`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of devices; with 0, `cuInit` returns `CUDA_ERROR_NO_DEVICE`.
    pub devices: usize,
    /// Bytes of memory per device.
    pub memory: usize,
    /// Bytes of each device taken by "another process".
    pub used: usize,
    /// Compute capability, as in `sm_80`.
    pub arch: u32,
    /// Version that `cuDriverGetVersion` returns.
    pub driver: i32,
    /// Seed of the order of warps, blocks and streams.
    pub seed: u64,
    /// The n-th `cuStreamWaitEvent` of the process is ignored, counted from 1; 0 for none.
    pub drop_wait: u64,
    /// The n-th launch of the process meets an illegal address, counted from 1; 0 for none.
    pub fault: u64,
    /// The n-th launch of the process never ends, counted from 1; 0 for none.
    pub hang: u64,
    /// The n-th launch of the process leaves one bit of its results flipped, counted from 1; 0 for
    /// none.
    pub flip: u64,
    /// File that limits the fault, hang or flip to once: it happens only while this file does not
    /// exist, and creates it.
    pub fault_file: Option<PathBuf>,
    /// File to which one JSON line per launch is appended.
    pub counters: Option<PathBuf>,
    /// Newest PTX version accepted, ten times the major and the minor number.
    pub ptx_version: u32,
    /// Whether races between blocks of one launch on global memory are detected.
    pub strict: bool,
    /// Number of threads that run the blocks of a launch; 0 = one per core.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            devices: 2,
            memory: 16 << 30,
            used: 0,
            arch: 80,
            driver: 12090,
            seed: 0,
            drop_wait: 0,
            fault: 0,
            hang: 0,
            flip: 0,
            fault_file: None,
            counters: None,
            ptx_version: 88,
            strict: true,
            threads: 0,
        }
    }
}

impl Settings {
    /// Parses `key=value,…`; missing keys have their defaults.
    ///
    /// # Errors
    /// A sentence that names the unknown key or the invalid value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("{NAME}: {pair:?} is not key=value"))?;
            settings.set(key, value).map_err(|why| format!("{NAME}: {key}: {why}"))?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "devices" => self.devices = number(value)?,
            "memory" => self.memory = number(value)?,
            "used" => self.used = number(value)?,
            "arch" => self.arch = number(value)?,
            "driver" => self.driver = number(value)?,
            "seed" => self.seed = number(value)?,
            "drop_wait" => self.drop_wait = number(value)?,
            "fault" => self.fault = number(value)?,
            "hang" => self.hang = number(value)?,
            "flip" => self.flip = number(value)?,
            "fault_file" => self.fault_file = Some(value.into()),
            "counters" => self.counters = Some(value.into()),
            "ptx_version" => self.ptx_version = number(value)?,
            "strict" => self.strict = yes_or_no(value)?,
            "threads" => self.threads = number(value)?,
            "accept_cubin" if value == "no" => {}
            "accept_cubin" => return Err("machine code cannot be run here; only \"no\"".into()),
            _ => return Err("unknown key".into()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number that fits"))
}

fn yes_or_no(value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{value:?} is neither yes nor no")),
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, memory, used, arch, driver, seed, .. } = self;
        write!(f, "devices={devices},memory={memory},used={used},arch={arch},driver={driver}")?;
        let Self { drop_wait, fault, hang, flip, .. } = self;
        write!(f, ",seed={seed},drop_wait={drop_wait},fault={fault},hang={hang},flip={flip}")?;
        for (key, path) in [("fault_file", &self.fault_file), ("counters", &self.counters)] {
            if let Some(path) = path {
                write!(f, ",{key}={}", path.display())?;
            }
        }
        let strict = if self.strict { "yes" } else { "no" };
        write!(f, ",ptx_version={},strict={strict},threads={}", self.ptx_version, self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_the_same_after_writing_and_reading() {
        let said = Settings {
            fault: 3,
            hang: 4,
            fault_file: Some("/tmp/x".into()),
            ..Settings::default()
        };
        assert_eq!(Settings::parse(&said.to_string()), Ok(said));
    }

    #[test]
    fn an_invalid_value_is_refused_by_key_and_value() {
        for (said, why) in [
            ("devices=two", "devices: \"two\" is not a number that fits"),
            ("devices=-1", "devices: \"-1\" is not a number that fits"),
            ("arch=99999999999", "arch: \"99999999999\" is not a number that fits"),
            ("strict=maybe", "strict: \"maybe\" is neither yes nor no"),
            ("accept_cubin=yes", "accept_cubin: machine code cannot be run here"),
            ("devices", "\"devices\" is not key=value"),
        ] {
            let refused = Settings::parse(said).unwrap_err();
            assert!(refused.starts_with("CUDA_EMULATOR: ") && refused.contains(why), "{refused}");
        }
        assert_eq!(Settings::parse(" , accept_cubin=no,"), Ok(Settings::default()));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        assert!(Settings::parse("devices=1,color=red").unwrap_err().contains("color"));
    }
}
