//! Whoever is killed, and whenever: the run ends with the same bits.
//!
//! A few schedules as a rule; `SCHEDULES=0..100 cargo test -p system-tests --test system schedules::
//! -- --nocapture` plays a hundred and prints how long each recovery took.

use std::ops::Range;
use std::time::Duration;

use crate::program;
use coordinator::Until;
use harness::cluster::Cluster;
use harness::schedule::{Process, STEPS, Schedule};

/// From the last death to the next step, starting processes included.
const LONGEST: Duration = Duration::from_secs(15);
const USUAL: Duration = Duration::from_secs(3);

#[expect(clippy::disallowed_methods, reason = "a test's own switch; the program doesn't see it")]
fn seeds() -> Range<u64> {
    let Some(given) = std::env::var("SCHEDULES").ok() else { return 0..6 };
    let (from, to) = given.split_once("..").expect("SCHEDULES=FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn a_run_ends_with_the_same_bits_under_any_schedule_of_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut calm = Cluster::small(&folder.path().join("undisturbed"));
    calm.until = Until::Steps(STEPS);
    calm.run();
    let undisturbed = calm.shards(STEPS);
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
