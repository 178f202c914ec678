//! Notices for people: anything out of the ordinary, such as a damaged checkpoint or a rollback.

/// Number of notices that are kept.
const KEPT: usize = 50;
/// Number of notices, from the first on, that newer ones never displace: they are about the start.
const FIRST: usize = 10;
/// Longest notice, in bytes. An error may quote anything.
const LONGEST: usize = 2000;

/// The first notices of a run and the newest ones. All of them together fit into a message, however
/// long a run lasts.
#[derive(Debug, Default)]
pub(super) struct Notices {
    kept: Vec<String>,
    left_out: u64,
}

impl Notices {
    /// Adds a notice.
    pub(super) fn push(&mut self, mut notice: String) {
        if notice.len() > LONGEST {
            notice.truncate(notice.floor_char_boundary(LONGEST));
            notice.push('…');
        }
        if self.kept.len() == KEPT {
            self.kept.remove(FIRST);
            self.left_out += 1;
        }
        self.kept.push(notice);
    }

    /// The notices, oldest first; a sentence stands for those that were left out.
    pub(super) fn list(&self) -> Vec<String> {
        let mut list = self.kept.clone();
        if self.left_out > 0 {
            let n = self.left_out;
            list.insert(FIRST, format!("{n} more notices are in the coordinator's log"));
        }
        list
    }
}

impl From<Vec<String>> for Notices {
    fn from(notices: Vec<String>) -> Self {
        let mut new = Self::default();
        notices.into_iter().for_each(|notice| new.push(notice));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_fails_again_and_again_keeps_its_first_and_its_newest_notices() {
        let mut notices = Notices::from(vec!["the start".to_owned()]);
        for i in 0..=5000 {
            notices.push(format!("rollback {i}: {}", "ü".repeat(i)));
        }
        let list = notices.list();
        assert_eq!((list.len(), &*list[0]), (KEPT + 1, "the start"));
        assert!(list[1].starts_with("rollback 0") && list[KEPT].starts_with("rollback 5000"));
        assert_eq!(list[FIRST], "4952 more notices are in the coordinator's log");
        let bytes: usize = list.iter().map(String::len).sum();
        assert!(bytes < 110_000, "{bytes} bytes fit into a message");
    }
}
