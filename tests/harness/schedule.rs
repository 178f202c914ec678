//! Seeded schedules that kill processes of a run at random times.

use std::path::Path;
use std::time::{Duration, Instant};

use model::random::{Purpose, Random};

use crate::cluster::shards;
use crate::process::{Up, sleep};

/// Steps of a run under a schedule.
pub const STEPS: u64 = 120;
pub(crate) const CHECKPOINT_EVERY: &str = "15";
/// Stream of random numbers that no synthetic picture uses.
const STREAM: u32 = 0x5c4e_d01e;
/// Time after which a run counts as hung.
pub(crate) const HUNG: Duration = Duration::from_secs(60);

/// Interval of polling, and so the precision of measured recoveries.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A process of `alexnet up`, or `up` itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The worker that was started first.
    FirstWorker,
    /// The other worker.
    SecondWorker,
    /// The only loader.
    Loader,
    /// The coordinator, which owns the run directory.
    Coordinator,
    /// `up` itself, whose end takes all processes with it.
    Up,
}

impl Process {
    /// All processes.
    pub const ALL: [Self; 5] =
        [Self::FirstWorker, Self::SecondWorker, Self::Loader, Self::Coordinator, Self::Up];
}

/// The kill of one or two processes at once, some time after a step was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The step; 0 is the start of the run.
    pub step: u64,
    /// Time between the record of the step and the kill.
    pub after: Duration,
    /// The processes to kill.
    pub processes: Vec<Process>,
}

/// A schedule of kills for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Seed that determines the kills.
    pub seed: u64,
    /// Kills in the order of their steps.
    pub kills: Vec<Kill>,
}

/// The outcome of a run under a schedule.
#[derive(Debug)]
pub struct Outcome {
    /// For each kill: the processes that died, and the time until the next step was completed.
    pub recoveries: Vec<(Vec<Process>, Duration)>,
    /// Whether the final weights are those of the undisturbed run.
    pub equal: bool,
}

impl Schedule {
    /// One to three kills, half of them at two processes at once, each at a random instant.
    pub fn new(seed: u64) -> Self {
        let mut draw = draws(seed, STREAM);
        let steps = steps(3, &mut draw);
        let kills = steps.into_iter().map(|step| {
            let first = draw(5) as usize;
            let second = (first + 1 + draw(4) as usize) % 5;
            let both = draw(2) == 0;
            let processes = [first, second].into_iter().take(1 + usize::from(both));
            let after = after(step, &mut draw);
            Kill { step, after, processes: processes.map(|i| Process::ALL[i]).collect() }
        });
        Self { seed, kills: kills.collect() }
    }

    /// Trains the small network under this schedule and compares its shards with `undisturbed`.
    ///
    /// # Errors
    /// A sentence that says what hung, or why the run failed.
    pub fn play(
        &self,
        program: &str,
        folder: &Path,
        undisturbed: &[Vec<u8>],
    ) -> Result<Outcome, String> {
        let more = ["--steps", &STEPS.to_string(), "--checkpoint-every", CHECKPOINT_EVERY];
        let mut up = Up::start(program, folder, &more);
        let mut recoveries = Vec::new();
        for kill in &self.kills {
            if !until(|| up.is_over() || up.last_step() >= kill.step) {
                return Err(format!("no step {} within {HUNG:?}", kill.step));
            }
            sleep(kill.after);
            if up.is_over() {
                break;
            }
            let (before, at) = (up.incarnation(), Instant::now());
            let mut died: Vec<_> =
                kill.processes.iter().filter(|who| up.kill(**who)).copied().collect();
            if kill.processes.contains(&Process::Up) {
                up.signal("KILL");
                up.end();
                up = Up::start(program, folder, &more);
                died.push(Process::Up);
            }
            if died.is_empty() {
                continue; // the processes were just being restarted
            }
            let returns = died != [Process::Loader];
            let mut length = u64::MAX;
            let next_step = || {
                let now = up.metrics_bytes();
                let grows = now > std::mem::replace(&mut length, now);
                up.is_over() || (grows && (!returns || up.incarnation() > before))
            };
            if !until(next_step) {
                return Err(format!("no step within {HUNG:?} after {died:?} at {}", kill.step));
            }
            recoveries.push((died, at.elapsed()));
        }
        let run = up.run_dir();
        if !until(|| up.is_over()) {
            return Err(format!("no end within {HUNG:?}"));
        }
        let output = up.end();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Outcome { recoveries, equal: shards(&run, STEPS) == undisturbed })
    }
}

/// Random numbers below a limit, from a seed and a stream of its own.
pub(crate) fn draws(seed: u64, stream: u32) -> impl FnMut(u32) -> u32 {
    let (random, mut drawn) = (Random::new(seed, Purpose::Synthetic), 0);
    move |below| {
        drawn += 1;
        random.below(stream, drawn, below)
    }
}

/// One to `most` steps in the first five sixths of a run, in order.
pub(crate) fn steps(most: u32, draw: &mut impl FnMut(u32) -> u32) -> Vec<u64> {
    let n = 1 + draw(most);
    let last = STEPS as u32 * 5 / 6;
    let mut steps: Vec<u64> = (0..n).map(|_| draw(last).into()).collect();
    steps.sort_unstable();
    steps
}

/// A random time after a step was recorded, at which something happens.
pub(crate) fn after(step: u64, draw: &mut impl FnMut(u32) -> u32) -> Duration {
    // A start takes half a second, a step of this network some milliseconds.
    Duration::from_micros(draw(if step == 0 { 800_000 } else { 60_000 }).into())
}

/// Waits for a condition; false if the run counts as hung before.
pub(crate) fn until(is: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    let mut is = is;
    while !is() {
        if since.elapsed() > HUNG {
            return false;
        }
        sleep(LOOK_EVERY);
    }
    true
}
