//! Chooses one of several NVRTCs, and says why, from versions and architectures alone.

use std::fmt;
use std::path::PathBuf;

use super::nvrtc::Nvrtc;
use super::search::Place;

/// Oldest supported architecture: Turing, compute capability 7.5.
pub const OLDEST: u32 = 75;

/// The oldest NVRTC that the kernels are compiled with.
pub(super) const OLDEST_VERSION: Version = Version { major: 12, minor: 0 };

/// A version of CUDA: of NVRTC, or the newest that a driver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 12 of 12.9.
    pub major: i32,
    /// 9 of 12.9.
    pub minor: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Driver and card that an NVRTC must fit. None means not known; every NVRTC fits then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The CUDA version of the driver, which loads what NVRTC makes.
    pub driver: Option<Version>,
    /// The card's compute capability, major × 10 + minor.
    pub capability: Option<u32>,
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.map(|v| format!("is not newer than the driver (CUDA {v})"));
        let card = self
            .capability
            .map(|arch| format!("knows the card (compute capability {}.{})", arch / 10, arch % 10));
        match (driver, card) {
            (Some(driver), Some(card)) => write!(f, "{driver} and {card}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(&one),
            (None, None) => f.write_str("was found"),
        }
    }
}

/// An NVRTC, or another file with its name, and whether it is taken.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The file; links are followed.
    pub path: PathBuf,
    /// The kind of place in which the file was found.
    pub place: Place,
    /// NVRTC's version; None if the file is something else, or was found before in another way.
    pub version: Option<Version>,
    /// The compute capabilities that it compiles for, major × 10 + minor.
    pub architectures: Vec<u32>,
    /// Whether it is taken, and why.
    pub verdict: Verdict,
    /// NVRTC's functions; None where there is no version.
    pub(super) library: Option<Nvrtc>,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "NVRTC {version} ")?,
            None => f.write_str("a file ")?,
        }
        write!(f, "{} ({}): {}", self.place, self.path.display(), self.verdict)
    }
}

/// Whether an NVRTC is taken, and why; its `Display` ends a sentence that begins with the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken: the newest of those that fit.
    Best(Needs),
    /// Taken although it is newer than the driver: none that knows the card is older.
    LastResort(Needs),
    /// Not needed: a newer one fits too, or one of the same version was found before.
    Spare,
    /// Newer than the driver, which may refuse the code.
    NewerThanDriver(Version),
    /// Unable to compile for the card of this compute capability.
    UnknownCard(u32),
    /// Older than the kernels need.
    TooOld,
    /// The file is not NVRTC, for this reason.
    NotNvrtc(String),
    /// The same file was found before, in another way.
    Duplicate,
}

impl Verdict {
    /// Whether this is the one to compile with.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Best(_) | Self::LastResort(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best(needs) => write!(f, "taken, the newest that {needs}"),
            Self::LastResort(needs) => {
                write!(f, "taken for lack of one that {needs}: the driver may refuse its kernels")
            }
            Self::Spare => f.write_str(
                "not taken, it fits but a newer one, or the same version, was found elsewhere",
            ),
            Self::NewerThanDriver(driver) => {
                write!(f, "not taken, it is newer than the driver (CUDA {driver})")
            }
            Self::UnknownCard(arch) => write!(
                f,
                "not taken, it does not know the card (compute capability {}.{})",
                arch / 10,
                arch % 10
            ),
            Self::TooOld => {
                write!(f, "not taken, it is older than {OLDEST_VERSION}, which the kernels need")
            }
            Self::NotNvrtc(why) => write!(f, "not taken, this is not NVRTC ({why})"),
            Self::Duplicate => f.write_str("the same file as above"),
        }
    }
}

/// Writes every candidate's verdict; those without a version keep theirs.
///
/// The newest that is not newer than the driver and knows the card is taken, of two equal ones the
/// first. If there is none, the oldest that knows the card is: a driver loads code of a later
/// minor version of its own CUDA, so the closest to it has the best chance.
pub(super) fn judge(candidates: &mut [Candidate], needs: Needs) {
    for candidate in &mut *candidates {
        if let Some(version) = candidate.version {
            candidate.verdict = fit(version, &candidate.architectures, needs);
        }
    }
    // Of equal ones `max_by_key` takes the last, `min_by_key` the first.
    let fitting = candidates.iter_mut().rev().filter(|c| c.verdict == Verdict::Spare);
    if let Some(best) = fitting.max_by_key(|c| c.version) {
        best.verdict = Verdict::Best(needs);
        return;
    }
    let is_newer = |c: &&mut Candidate| matches!(c.verdict, Verdict::NewerThanDriver(_));
    if let Some(closest) = candidates.iter_mut().filter(is_newer).min_by_key(|c| c.version) {
        closest.verdict = Verdict::LastResort(needs);
    }
}

/// The objection to one NVRTC by itself; [`Verdict::Spare`] if there is none.
fn fit(version: Version, architectures: &[u32], needs: Needs) -> Verdict {
    if version < OLDEST_VERSION {
        return Verdict::TooOld;
    }
    if let Some(arch) = needs.capability.filter(|arch| target(architectures, *arch).is_none()) {
        return Verdict::UnknownCard(arch);
    }
    match needs.driver {
        Some(driver) if version > driver => Verdict::NewerThanDriver(driver),
        _ => Verdict::Spare,
    }
}

/// The architecture to compile for: a card newer than NVRTC runs PTX of the newest older one of
/// its generation.
pub(super) fn target(architectures: &[u32], arch: u32) -> Option<u32> {
    let newest = architectures.iter().copied().filter(|known| *known <= arch).max()?;
    (newest >= OLDEST && newest / 10 == arch / 10).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        let (major, minor) = text.split_once('.').unwrap();
        Version { major: major.parse().unwrap(), minor: minor.parse().unwrap() }
    }

    /// Versions with what they know, judged: the one taken, and everyone's verdict.
    fn judged(found: &[(&str, &[u32])], driver: &str, arch: u32) -> (Option<usize>, Vec<Verdict>) {
        let candidate = |(text, architectures): &(&str, &[u32])| Candidate {
            path: PathBuf::from(text),
            place: Place::Wheel,
            version: Some(version(text)),
            architectures: architectures.to_vec(),
            verdict: Verdict::Spare,
            library: None,
        };
        let mut candidates: Vec<_> = found.iter().map(candidate).collect();
        judge(&mut candidates, Needs { driver: Some(version(driver)), capability: Some(arch) });
        let taken = candidates.iter().position(|c| c.verdict.is_taken());
        (taken, candidates.into_iter().map(|c| c.verdict).collect())
    }

    const OLD: &[u32] = &[70, 75, 80, 86, 89, 90];
    const NEW: &[u32] = &[75, 80, 86, 89, 90, 100, 120];

    #[test]
    fn the_newest_that_is_not_newer_than_the_driver_is_taken() {
        let found = [("12.4", OLD), ("13.1", NEW), ("12.9", NEW), ("13.5", NEW)];
        for (driver, taken) in [("12.9", 2), ("13.0", 2), ("13.1", 1), ("13.4", 1), ("14.0", 3)] {
            assert_eq!(judged(&found, driver, 80).0, Some(taken), "driver {driver}");
        }
        let (_, verdicts) = judged(&found, "12.9", 80);
        assert_eq!(verdicts[0], Verdict::Spare);
        assert_eq!(verdicts[1], Verdict::NewerThanDriver(version("12.9")));
        let why = verdicts[2].to_string();
        assert!(why.contains("newest") && why.contains("driver (CUDA 12.9)"), "{why}");
        assert!(why.contains("compute capability 8.0"), "{why}");
    }

    #[test]
    fn one_that_does_not_know_the_card_is_never_taken() {
        let found = [("12.9", OLD), ("12.8", NEW), ("11.8", NEW)];
        let (taken, verdicts) = judged(&found, "12.9", 120);
        assert_eq!(taken, Some(1));
        assert_eq!((&verdicts[0], &verdicts[2]), (&Verdict::UnknownCard(120), &Verdict::TooOld));
        assert_eq!(judged(&found, "12.9", 135).0, None);
    }

    #[test]
    fn where_all_are_newer_than_the_driver_the_closest_is_taken_as_a_last_resort() {
        let (taken, verdicts) = judged(&[("13.5", NEW), ("12.9", NEW), ("12.9", NEW)], "12.4", 80);
        assert_eq!(taken, Some(1));
        let why = verdicts[1].to_string();
        assert!(why.contains("lack of one that is not newer than the driver (CUDA 12.4)"), "{why}");
    }

    #[test]
    fn of_two_equal_ones_the_first_is_taken() {
        assert_eq!(judged(&[("12.9", NEW), ("12.9", NEW)], "13.0", 80).0, Some(0));
    }

    #[test]
    fn what_is_not_known_excludes_nothing() {
        assert_eq!(fit(version("13.5"), &[], Needs::default()), Verdict::Spare);
        assert_eq!(Needs::default().to_string(), "was found");
    }

    #[test]
    fn a_card_newer_than_nvrtc_runs_code_of_its_own_generation() {
        assert_eq!(target(OLD, 87), Some(86));
        assert_eq!(target(NEW, 121), Some(120));
        assert_eq!(target(OLD, 100), None);
        assert_eq!(target(OLD, 72), None);
    }
}
