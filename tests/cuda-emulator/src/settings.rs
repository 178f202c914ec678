//! What a test may ask of the emulated driver, and how it is said in the environment.

use std::fmt;
use std::path::PathBuf;

/// The environment variable the emulated driver reads at `cuInit`.
pub const NAME: &str = "CUDA_EMULATOR";

/// What the machine under the emulated driver is like; its `Display` is the value of [`NAME`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of devices; none makes `cuInit` say `CUDA_ERROR_NO_DEVICE`.
    pub devices: usize,
    /// Bytes of memory a device.
    pub memory: usize,
    /// Bytes of each device taken by "another process".
    pub used: usize,
    /// Compute capability, as in `sm_80`.
    pub arch: u32,
    /// What `cuDriverGetVersion` says.
    pub driver: i32,
    /// Chooses the order of warps, blocks and streams.
    pub seed: u64,
    /// The n-th `cuStreamWaitEvent` of the process is ignored, counted from 1; 0 for none.
    pub drop_wait: u64,
    /// The n-th launch of the process meets an illegal address, counted from 1; 0 for none.
    pub fault: u64,
    /// The n-th launch of the process never ends, counted from 1; 0 for none.
    pub hang: u64,
    /// The fault, or hang, comes only while this file does not exist, and makes it.
    pub fault_file: Option<PathBuf>,
    /// One JSON line a launch is appended here.
    pub counters: Option<PathBuf>,
    /// Newest PTX version accepted, ten times the major and the minor number.
    pub ptx_version: u32,
    /// Whether blocks of one launch are watched for races on global memory.
    pub strict: bool,
    /// Threads that run the blocks of a launch; 0 for as many as there are cores.
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
            fault_file: None,
            counters: None,
            ptx_version: 88,
            strict: true,
            threads: 0,
        }
    }
}

impl Settings {
    /// Reads `key=value,…`; what is not said keeps its default.
    ///
    /// # Errors
    /// A sentence naming the unknown key or the value that is none.
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
        let Self { drop_wait, fault, hang, .. } = self;
        write!(f, ",seed={seed},drop_wait={drop_wait},fault={fault},hang={hang}")?;
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
    fn what_settings_say_is_what_they_read() {
        let said = Settings {
            fault: 3,
            hang: 4,
            fault_file: Some("/tmp/x".into()),
            ..Settings::default()
        };
        assert_eq!(Settings::parse(&said.to_string()), Ok(said));
    }

    #[test]
    fn a_value_that_is_none_is_refused_by_key_and_value() {
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
