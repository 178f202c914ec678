//! Every NVRTC that is found, and the one that compiles the kernels.

use gpu_worker::backend::cuda::{self, Candidate, Needs, Search, Version, install_nvrtc};

use super::check::Check;

/// The NVRTCs for one kind of card.
#[derive(Debug, Clone)]
pub(super) struct Compilers {
    /// The card's compute capability, major × 10 + minor; None where there is no card.
    capability: Option<u32>,
    /// Package to install if no NVRTC fits.
    install: String,
    found: Vec<Compiler>,
}

/// A file with the name of NVRTC.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compiler {
    version: Option<String>,
    /// Path, and the reason why it is used or not.
    said: String,
    use_: Use,
}

/// Whether an NVRTC compiles the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Taken,
    /// Taken for lack of a better one.
    LastResort,
    No,
}

impl Compilers {
    /// Looks for them, once for each kind of card.
    pub(super) fn probe(search: &Search, driver: Option<Version>, cards: &[u32]) -> Vec<Self> {
        let mut kinds: Vec<_> = cards.iter().copied().map(Some).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            kinds.push(None);
        }
        let of = |capability| {
            let found = cuda::survey(search, Needs { driver, capability });
            let first = |one: &Candidate| one.verdict != cuda::Verdict::Duplicate;
            let found = found.iter().filter(|one| first(one)).map(Compiler::of).collect();
            Self { capability, install: install_nvrtc(driver), found }
        };
        kinds.into_iter().map(of).collect()
    }

    /// Judges them.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = self.found.iter().map(|one| self.line(one)).collect();
        checks.push(self.judge_taken());
        checks
    }

    fn line(&self, one: &Compiler) -> Check {
        let check = Check::ok("nvrtc.found", one.said.clone());
        match &one.version {
            Some(version) => check.about(version.clone()),
            None => check,
        }
    }

    fn judge_taken(&self) -> Check {
        let taken = self.found.iter().find(|one| one.use_ != Use::No);
        let text = match taken.and_then(|taken| taken.version.as_ref()) {
            Some(version) => format!("NVRTC {version} compiles the kernels"),
            None if self.found.is_empty() => "no NVRTC was found".to_owned(),
            None => "none of these compiles the kernels".to_owned(),
        };
        let check = Check::ok("nvrtc.taken", text);
        let Some(capability) = self.capability else {
            let text = format!("{}; only GPUs need it", check.measured);
            return Check { measured: text, ..check };
        };
        let card = format!("{}.{}", capability / 10, capability % 10);
        let text = format!("{} for compute capability {card}", check.measured);
        let check = Check { measured: text, ..check.about(card) };
        match taken.map(|taken| taken.use_) {
            Some(Use::Taken) => check,
            Some(_) => check.look(format!(
                "The driver may refuse the kernels that it compiles. Install a newer driver, or a \
                 fitting NVRTC: {}.",
                self.install
            )),
            None => check.look(format!("Without NVRTC the GPU cannot be used: {}.", self.install)),
        }
    }
}

impl Compiler {
    fn of(found: &Candidate) -> Self {
        let use_ = match found.verdict {
            cuda::Verdict::Best(_) => Use::Taken,
            cuda::Verdict::LastResort(_) => Use::LastResort,
            _ => Use::No,
        };
        let version = found.version.map(|version| version.to_string());
        let said = format!("{}, {}: {}", found.path.display(), found.place, found.verdict);
        Self { version, said, use_ }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn compilers(capability: Option<u32>, uses: &[Use]) -> Compilers {
        let found = uses.iter().map(|use_| Compiler {
            version: Some("12.9".into()),
            said: "/a/libnvrtc.so.12, in a toolkit".into(),
            use_: *use_,
        });
        Compilers { capability, install: "pip install it".into(), found: found.collect() }
    }

    fn taken(compilers: &Compilers) -> Check {
        compilers.checks().pop().expect("a last line")
    }

    #[test]
    fn each_is_told_and_the_taken_one_named_by_the_card() {
        let compilers = compilers(Some(90), &[Use::No, Use::Taken]);
        let checks = compilers.checks();
        let names: Vec<_> = checks.iter().map(Check::name).collect();
        assert_eq!(names, ["found 12.9", "found 12.9", "taken 9.0"]);
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok), "{checks:?}");
    }

    #[test]
    fn a_gpu_without_a_fitting_nvrtc_is_looked_at_and_the_remedy_says_what_to_install() {
        for uses in [&[][..], &[Use::No]] {
            let check = taken(&compilers(Some(90), uses));
            assert_eq!(check.verdict, Verdict::Look);
            assert!(check.remedy.is_some_and(|said| said.contains("pip install it")));
        }
    }

    #[test]
    fn one_taken_for_lack_of_a_better_one_is_looked_at() {
        let check = taken(&compilers(Some(90), &[Use::LastResort]));
        assert_eq!(check.verdict, Verdict::Look);
        assert!(check.remedy.is_some_and(|said| said.contains("may refuse")));
    }

    #[test]
    fn without_a_gpu_nothing_is_missing() {
        let check = taken(&compilers(None, &[]));
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(check.measured, "no NVRTC was found; only GPUs need it");
    }
}
