//! Whoever is killed, and whenever: the run ends with the same bits.
//!
//! A few schedules as a rule; `SCHEDULES=0..100 cargo test -p system-tests --test system
//! schedules::
//! -- --nocapture` plays a hundred and prints how long each recovery took.

use std::ops::Range;
use std::time::Duration;

use crate::program;
use coordinator::Until;
use harness::cluster::Cluster;
use harness::schedule::{Process, STEPS, Schedule};
use harness::trouble::{Trouble, Troubles};

/// From the last death to the next step, starting processes included.
const LONGEST: Duration = Duration::from_secs(15);
const USUAL: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "a test's own switch; the program doesn't see it")]
fn seeds() -> Range<u64> {
    let Some(given) = std::env::var("SCHEDULES").ok() else { return 0..6 };
    let (from, to) = given.split_once("..").expect("SCHEDULES=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// The shards of a run to which nothing happens.
fn undisturbed() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut calm = Cluster::small(&folder.path().join("undisturbed"));
    calm.until = Until::Steps(STEPS);
    calm.run();
    calm.shards(STEPS)
}

#[test]
fn a_run_ends_with_the_same_bits_under_any_schedule_of_kills() {
    let undisturbed = undisturbed();
    let (mut times, mut wrong, mut doubles) = (Vec::new(), Vec::new(), 0);
    let seeds = seeds();
    for seed in seeds.clone() {
        let schedule = Schedule::new(seed);
        let folder = tempfile::tempdir().unwrap();
        match schedule.play(program(), folder.path(), &undisturbed) {
            Ok(outcome) => {
                eprintln!("schedule {seed}: {:?}, equal: {}", outcome.recoveries, outcome.equal);
                doubles += usize::from(outcome.recoveries.iter().any(|(who, _)| who.len() > 1));
                times.extend(outcome.recoveries.into_iter().map(|(_, time)| time));
                if !outcome.equal {
                    wrong.push(format!("schedule {seed}: other bits"));
                }
            }
            Err(why) => wrong.push(format!("schedule {seed}: {why}; {schedule:?}")),
        }
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{} schedules, {doubles} with two deaths at once, {} recoveries: median {median:.2?}, worst \
         {worst:.2?}; {} wrong",
        seeds.count(),
        times.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(worst <= LONGEST, "a recovery took {worst:?}");
    assert!(median <= USUAL, "half of the recoveries took over {median:?}");
}

#[test]
fn a_run_loses_nothing_under_any_schedule_of_mixed_trouble() {
    let undisturbed = undisturbed();
    let (mut times, mut wrong, mut starts, mut failed) = (Vec::new(), Vec::new(), 0, 0);
    let seeds = seeds();
    for seed in seeds.clone() {
        let troubles = Troubles::new(seed);
        let folder = tempfile::tempdir().unwrap();
        match troubles.play(program(), folder.path(), &undisturbed) {
            Ok(outcome) => {
                eprintln!("trouble {seed}: {outcome:?}");
                starts += outcome.starts;
                failed += outcome.failed_calls;
                times.extend(outcome.recoveries.into_iter().map(|(_, time)| time));
                if !outcome.equal {
                    wrong.push(format!("trouble {seed}: other bits"));
                }
            }
            Err(why) => wrong.push(format!("trouble {seed}: {why}; {troubles:?}")),
        }
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "{} schedules, {} blows, {starts} further starts, {failed} failed calls to the disk: median \
         {median:.2?}, worst {worst:.2?} to the next step; {} wrong",
        seeds.count(),
        times.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn two_hundred_schedules_have_every_kind_of_trouble() {
    let schedules: Vec<_> = (0..200).map(Troubles::new).collect();
    let blows = || schedules.iter().flat_map(|s| &s.blows).map(|blow| &blow.trouble);
    let kinds: [fn(&Trouble) -> bool; 9] = [
        |t| matches!(t, Trouble::Kill(_)),
        |t| matches!(t, Trouble::Terminate(_)),
        |t| matches!(t, Trouble::TerminateAll),
        |t| matches!(t, Trouble::Stop(..)),
        |t| matches!(t, Trouble::Disk(..)),
        |t| matches!(t, Trouble::Hole(..)),
        |t| matches!(t, Trouble::Reset(_)),
        |t| matches!(t, Trouble::BadLoader(..)),
        |t| matches!(t, Trouble::Expiry(..)),
    ];
    for kind in kinds {
        let n = blows().filter(|trouble| kind(trouble)).count();
        assert!(n >= 25, "{n} of a kind");
    }
}

/// The hundred schedules of the documentation kill every process, and often two at once.
#[test]
fn a_hundred_schedules_kill_every_process_and_often_two_at_once() {
    let schedules: Vec<_> = (0..100).map(Schedule::new).collect();
    let kills = || schedules.iter().flat_map(|schedule| &schedule.kills);
    for process in Process::ALL {
        let deaths = kills().filter(|kill| kill.processes.contains(&process)).count();
        assert!(deaths >= 30, "{process:?} dies {deaths} times");
    }
    let doubles =
        schedules.iter().filter(|s| s.kills.iter().any(|b| b.processes.len() > 1)).count();
    assert!(doubles > 33, "{doubles} with two at once");
}
