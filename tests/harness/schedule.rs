//! Seeded schedules of deaths: which processes of a run are killed, and when.

use std::path::Path;
use std::time::{Duration, Instant};

use model::random::{Purpose, Random};

use crate::cluster::shards;
use crate::process::{Up, rest};

/// Steps of a run under a schedule.
pub const STEPS: u64 = 120;
const CHECKPOINT_EVERY: &str = "15";
/// Of the random numbers: no made-up picture uses it.
const STREAM: u32 = 0x5c4e_d01e;
/// Nothing takes so long: a run that does has hung.
const HUNG: Duration = Duration::from_secs(60);

/// Recoveries are measured as exactly.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A process of `alexnet up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Of two, the one that was started first.
    FirstWorker,
    /// The other one.
    SecondWorker,
    /// The only one.
    Loader,
    /// Owner of the run directory.
    Coordinator,
    /// The parent of all, and with it everyone.
    Up,
}

impl Process {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FirstWorker, Self::SecondWorker, Self::Loader, Self::Coordinator, Self::Up];
}

/// Kills, all at once, so long after a step was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// The step; 0: the start of the run.
    pub step: u64,
    /// How long after it.
    pub later: Duration,
    /// Who dies.
    pub who: Vec<Process>,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Everything below follows from it.
    pub seed: u64,
    /// In order.
    pub blows: Vec<Blow>,
}

/// How a run under a schedule went.
#[derive(Debug)]
pub struct Told {
    /// For each blow that fell: who died, and how long until the next step was completed.
    pub recoveries: Vec<(Vec<Process>, Duration)>,
    /// Whether the final weights are those of the undisturbed run.
    pub equal: bool,
}

impl Schedule {
    /// One to three blows, half of them at two processes at once, each at a random instant.
    pub fn new(seed: u64) -> Self {
        let (random, mut drawn) = (Random::new(seed, Purpose::Synthetic), 0);
        let mut draw = |below: u32| {
            drawn += 1;
            random.below(STREAM, drawn, below)
        };
        let n = 1 + draw(3);
        let last = STEPS as u32 * 5 / 6;
        let mut steps: Vec<u64> = (0..n).map(|_| draw(last).into()).collect();
        steps.sort_unstable();
        let blows = steps.into_iter().map(|step| {
            let first = draw(5) as usize;
            let second = (first + 1 + draw(4) as usize) % 5;
            let both = draw(2) == 0;
            let who = [first, second].into_iter().take(1 + usize::from(both));
            // A start takes half a second, a step of this network some milliseconds.
            let later =
                Duration::from_micros(draw(if step == 0 { 800_000 } else { 60_000 }).into());
            Blow { step, later, who: who.map(|i| Process::ALL[i]).collect() }
        });
        Self { seed, blows: blows.collect() }
    }

    /// Trains the small network under this schedule; `undisturbed`: the shards to end with.
    ///
    /// # Errors
    /// What hung, or how the run ended instead.
    pub fn play(
        &self,
        program: &str,
        folder: &Path,
        undisturbed: &[Vec<u8>],
    ) -> Result<Told, String> {
        let more = ["--steps", &STEPS.to_string(), "--checkpoint-every", CHECKPOINT_EVERY];
        let mut up = Up::start(program, folder, &more);
        let mut recoveries = Vec::new();
        for blow in &self.blows {
            if !until(|| up.is_over() || up.last_step() >= blow.step) {
                return Err(format!("no step {} within {HUNG:?}", blow.step));
            }
            rest(blow.later);
            if up.is_over() {
                break;
            }
            let (before, at) = (up.incarnation(), Instant::now());
            let mut died: Vec<_> = blow.who.iter().filter(|who| up.kill(**who)).copied().collect();
            if blow.who.contains(&Process::Up) {
                up.signal("KILL");
                up.end();
                up = Up::start(program, folder, &more);
                died.push(Process::Up);
            }
            if died.is_empty() {
                continue; // they were being started again
            }
            let returns = died != [Process::Loader];
            let mut length = u64::MAX;
            let next_step = || {
                let now = up.metrics_bytes();
                let grows = now > std::mem::replace(&mut length, now);
                up.is_over() || (grows && (!returns || up.incarnation() > before))
            };
            if !until(next_step) {
                return Err(format!("no step within {HUNG:?} after {died:?} at {}", blow.step));
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
        Ok(Told { recoveries, equal: shards(&run, STEPS) == undisturbed })
    }
}

/// Whether it comes to be before the run counts as hung.
fn until(is: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    let mut is = is;
    while !is() {
        if since.elapsed() > HUNG {
            return false;
        }
        rest(LOOK_EVERY);
    }
    true
}
