//! The settings that an operator chooses: data, addresses, threads.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use net::{Health, Trust};

use crate::Error;
use crate::synthetic::Spec;

/// The settings of a loader.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pictures to serve.
    pub data: DataSpec,
    /// `host:port` of the coordinator to register with; a loader without one only serves.
    pub coordinator: Option<String>,
    /// `host:port` under which workers find this loader; None: found as [`net::advertised`] says.
    pub advertise: Option<String>,
    /// Certificates for connections, or none for plain connections.
    pub trust: Trust,
    /// Name of this build of the program, which must be the coordinator's.
    pub version: &'static str,
    /// Threads that decode; 0 = one per core.
    pub threads: usize,
    /// True if the loader joins again after the end of the run, once a coordinator answers.
    pub rejoins: bool,
    /// Told whether this loader has joined the run.
    pub health: Health,
}

impl Config {
    /// Settings for `data` with all others at their defaults: no coordinator, all cores.
    pub fn new(data: DataSpec) -> Self {
        Self {
            data,
            coordinator: None,
            advertise: None,
            trust: Trust::default(),
            version: proto::VERSION,
            threads: 0,
            rejoins: false,
            health: Health::default(),
        }
    }
}

/// A choice of pictures: a prepared folder, or `synthetic[:side[:train[:val[:seed]]]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSpec {
    /// A folder made by [`prepare`](crate::prepare()).
    Folder(PathBuf),
    /// Synthetic pictures.
    Synthetic(Spec),
}

impl Default for DataSpec {
    fn default() -> Self {
        Self::Synthetic(Spec::default())
    }
}

impl FromStr for DataSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // A folder of that name can be written as ./synthetic.
        match text.strip_prefix("synthetic") {
            Some("") => Ok(Self::Synthetic(Spec::default())),
            Some(rest) if rest.starts_with(':') => synthetic(&rest[1..]).map(Self::Synthetic),
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

fn synthetic(numbers: &str) -> Result<Spec, Error> {
    let why =
        |why: String| Error::Setting { setting: "synthetic[:side[:train[:val[:seed]]]]", why };
    let mut given = [None; 4];
    for (i, word) in numbers.split(':').enumerate() {
        let slot = given.get_mut(i).ok_or_else(|| why(format!("too many numbers in {numbers}")))?;
        *slot = Some(word.parse::<u64>().map_err(|e| why(format!("{word:?}: {e}")))?);
    }
    let default = Spec::default();
    Spec {
        side: given[0].map_or(default.side, |n| n as usize),
        n_train: given[1].unwrap_or(default.n_train),
        n_val: given[2].unwrap_or(default.n_val),
        seed: given[3].unwrap_or(default.seed),
    }
    .checked()
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Synthetic(Spec { side, n_train, n_val, seed }) => {
                write!(f, "synthetic:{side}:{n_train}:{n_val}:{seed}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_spec_is_the_same_after_writing_and_reading() {
        for text in ["synthetic:72:4000:1000:2012", "/data/imagenet", "./synthetic"] {
            assert_eq!(text.parse::<DataSpec>().unwrap().to_string(), text);
        }
        let short = "synthetic:256".parse::<DataSpec>().unwrap();
        assert_eq!(short, DataSpec::Synthetic(Spec { side: 256, ..Spec::default() }));
    }

    #[test]
    fn a_synthetic_spec_that_makes_no_sense_is_refused() {
        for text in ["synthetic:0", "synthetic:x", "synthetic:72:0", "synthetic:1:2:3:4:5"] {
            assert!(text.parse::<DataSpec>().is_err(), "{text}");
        }
    }
}
