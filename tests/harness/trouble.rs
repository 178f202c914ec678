//! Seeded schedules of mixed trouble: processes that are killed, asked to end or stopped, one or
//! all at once, and calls to the disk that fail. Where the processes are apart, as on several
//! machines: cables that go dead or reset, loaders that lie or are late, certificates that expire.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::apart::Apart;
use crate::cluster::shards;
use crate::erring_disk::ErringDisk;
use crate::liar::{Lie, half, honest, reversed};
use crate::process::{Up, sleep};
use crate::schedule::{CHECKPOINT_EVERY, HUNG, Process, STEPS, after, draws, steps, until};

/// Stream of random numbers that no synthetic picture and no other schedule uses.
const STREAM: u32 = 0x7e0b_1e5d;

/// Exit code of a process that SIGTERM ended before it could end in its own way.
pub(crate) const TERMINATED: i32 = 128 + 15;

/// Something that happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// SIGKILL to one process.
    Kill(Process),
    /// SIGTERM to one process.
    Terminate(Process),
    /// SIGTERM to every process at once, as when a machine shuts down.
    TerminateAll,
    /// SIGSTOP to one process for this time.
    Stop(Process, Duration),
    /// A random share of the coordinator's calls to its disk fails for this time.
    Disk(String, Duration),
    /// No byte arrives at or leaves a process for this time.
    Hole(Process, Duration),
    /// All connections of a process end at once.
    Reset(Process),
    /// One more loader takes part for this time: late with each minibatch, or lying.
    BadLoader(Badness, Duration),
    /// All certificates expire, and are renewed after this time; meanwhile a process is killed.
    Expiry(Process, Duration),
}

/// Fault of a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Badness {
    /// Each minibatch takes it 400 ms.
    Late,
    /// Half of the pictures are missing.
    Half,
    /// The pictures are in another order.
    Reversed,
}

impl Badness {
    const ALL: [Self; 3] = [Self::Late, Self::Half, Self::Reversed];

    /// Change that such a loader makes to a minibatch, and its time for it.
    pub(crate) fn lie(self) -> (Lie, Duration) {
        match self {
            Self::Late => (honest, Duration::from_millis(400)),
            Self::Half => (half, Duration::ZERO),
            Self::Reversed => (reversed, Duration::ZERO),
        }
    }
}

/// A trouble, some time after a step was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blow {
    /// The step; 0 is the start of the run.
    pub step: u64,
    /// Time between the record of the step and the trouble.
    pub after: Duration,
    /// Kind of trouble.
    pub trouble: Trouble,
}

/// A schedule of troubles for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubles {
    /// Seed that determines the troubles.
    pub seed: u64,
    /// True if the processes are started one by one, as on several machines; otherwise by `up`.
    pub apart: bool,
    /// Blows in the order of their steps.
    pub blows: Vec<Blow>,
}

/// The outcome of a run under a schedule.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For each blow the time until the next step was completed; after a blow that ended the run,
    /// counted from its next start.
    pub recoveries: Vec<(Trouble, Duration)>,
    /// Number of times that the run ended and was started again.
    pub starts: usize,
    /// Number of calls to the disk that failed.
    pub failed_calls: usize,
    /// True if the final weights are those of the undisturbed run.
    pub equal: bool,
}

impl Troubles {
    /// One to four blows, each at a random instant; every other schedule is for processes apart.
    pub fn new(seed: u64) -> Self {
        let mut draw = draws(seed, STREAM);
        let apart = seed % 2 == 1;
        let steps = steps(4, &mut draw);
        let blow = |step: u64| {
            // Where the processes are apart there is no `up`.
            let process = Process::ALL[draw(if apart { 4 } else { 5 }) as usize];
            let millis = Duration::from_millis((100 + draw(1_400)).into());
            let trouble = match draw(if apart { 14 } else { 6 }) {
                0 => Trouble::Kill(process),
                1 => Trouble::Terminate(process),
                2 => Trouble::TerminateAll,
                3 => Trouble::Stop(process, millis),
                4 | 5 => {
                    let (share, error) = (20 + draw(400), ["EIO", "ENOSPC"][draw(2) as usize]);
                    let calls = if error == "EIO" { "any" } else { "open,write,mkdir,rename" };
                    let rule = format!("{calls} random:{share}:{seed} {error} * coordinator");
                    Trouble::Disk(rule, millis)
                }
                // From what nobody notices to what counts as a failure.
                6 | 7 => Trouble::Hole(process, 4 * millis),
                8 | 9 => Trouble::Reset(process),
                10 | 11 => Trouble::BadLoader(Badness::ALL[draw(3) as usize], 2 * millis),
                _ => Trouble::Expiry(process, millis),
            };
            let after = after(step, &mut draw);
            Blow { step, after, trouble }
        };
        Self { seed, apart, blows: steps.into_iter().map(blow).collect() }
    }

    /// Trains the small network under this schedule, starts it again whenever it ends early, and
    /// compares its shards with `undisturbed`.
    ///
    /// # Errors
    /// A sentence that says what hung, what was lost, or which end had no reason.
    pub fn play(
        &self,
        program: &str,
        folder: &Path,
        undisturbed: &[Vec<u8>],
    ) -> Result<Outcome, String> {
        match self.apart {
            true => self.play_apart(program, folder, undisturbed),
            false => self.play_up(program, folder, undisturbed),
        }
    }

    fn play_apart(
        &self,
        program: &str,
        folder: &Path,
        undisturbed: &[Vec<u8>],
    ) -> Result<Outcome, String> {
        let mut run = Apart::start(program, folder)?;
        let mut outcome = Outcome::default();
        for Blow { step, after, trouble } in &self.blows {
            if !run.until(|run| run.is_over() || run.last_step() >= *step)? {
                return Err(format!("no step {step} within {HUNG:?}: {}", run.logs()));
            }
            run.wait(*after)?;
            if run.is_over() {
                break;
            }
            let at = Instant::now();
            run.strike(trouble).map_err(|why| format!("{why} during {trouble:?}"))?;
            let length = run.metrics_bytes();
            // Cut by a rollback, or longer by a step: either way, the run has come on.
            if !run.until(|run| run.is_over() || run.metrics_bytes() != length)? {
                let logs = run.logs();
                return Err(format!("no step and no end within {HUNG:?} of {trouble:?}: {logs}"));
            }
            outcome.recoveries.push((trouble.clone(), at.elapsed()));
        }
        if !run.until(|run| run.is_over())? {
            return Err(format!("no end within {HUNG:?}: {}", run.logs()));
        }
        (outcome.starts, outcome.failed_calls) = run.end()?;
        outcome.equal = shards(&folder.join("run"), STEPS) == undisturbed;
        Ok(outcome)
    }

    fn play_up(
        &self,
        program: &str,
        folder: &Path,
        undisturbed: &[Vec<u8>],
    ) -> Result<Outcome, String> {
        let disk = ErringDisk::new(&folder.join("run"), folder);
        let more = ["--steps", &STEPS.to_string(), "--checkpoint-every", CHECKPOINT_EVERY];
        let start = || Up::start_with(program, folder, &more, &disk.environment());
        let mut outcome = Outcome::default();
        let mut up = start();
        'blows: for Blow { step, after, trouble } in &self.blows {
            if !until(|| up.is_over() || up.last_step() >= *step) {
                return Err(format!("no step {step} within {HUNG:?}"));
            }
            sleep(*after);
            let mut at = Instant::now();
            strike(&up, &disk, trouble);
            // Only who is killed can't say why it ends.
            let silent = *trouble == Trouble::Kill(Process::Up);
            let length = up.metrics_bytes();
            // Cut by a rollback, or longer by a step: either way, the run has come on.
            if !until(|| up.is_over() || up.metrics_bytes() != length) {
                return Err(format!("no step and no end within {HUNG:?} after {trouble:?}"));
            }
            while up.is_over() {
                let run = up.run_dir();
                let (output, step) = (up.end(), kept(&run));
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                let asked = output.status.code() == Some(TERMINATED);
                check_end(&said, output.status.success() || silent || asked, step)
                    .map_err(|why| format!("{why} after {trouble:?}: {said}"))?;
                disk.rules(&[]);
                up = start();
                if step == Some(STEPS) {
                    break 'blows; // this start says that nothing is left to do
                }
                outcome.starts += 1;
                at = Instant::now();
                let length = up.metrics_bytes();
                if !until(|| up.is_over() || up.metrics_bytes() != length) {
                    return Err(format!("no step within {HUNG:?} of another start: {said}"));
                }
            }
            outcome.recoveries.push((trouble.clone(), at.elapsed()));
        }
        let run = up.run_dir();
        loop {
            if !until(|| up.is_over()) {
                return Err(format!("no end within {HUNG:?}"));
            }
            let output = up.end();
            let step = kept(&run);
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            let asked = output.status.code() == Some(TERMINATED);
            check_end(&said, output.status.success() || asked, step)
                .map_err(|why| format!("{why}: {said}"))?;
            if step == Some(STEPS) {
                break;
            }
            if outcome.starts > 2 * self.blows.len() {
                return Err(format!("it ends again and again: {said}"));
            }
            up = start(); // asked to stop by the last blow, a little later
            outcome.starts += 1;
        }
        outcome.failed_calls = disk.hits();
        outcome.equal = shards(&run, STEPS) == undisturbed;
        Ok(outcome)
    }
}

fn strike(up: &Up, disk: &ErringDisk, trouble: &Trouble) {
    match trouble {
        Trouble::Kill(who) => drop(up.send(*who, "KILL")),
        Trouble::Terminate(who) => drop(up.send(*who, "TERM")),
        Trouble::TerminateAll => up.send_to_all("TERM"),
        Trouble::Stop(who, length) => {
            up.send(*who, "STOP");
            sleep(*length);
            up.send(*who, "CONT");
        }
        Trouble::Disk(rule, length) => {
            disk.rules(&[rule]);
            sleep(*length);
            disk.rules(&[]);
        }
        Trouble::Hole(..) | Trouble::Reset(_) | Trouble::BadLoader(..) | Trouble::Expiry(..) => {
            unreachable!("only for processes apart")
        }
    }
}

/// Step of the newest complete checkpoint.
pub(crate) fn kept(run: &Path) -> Option<u64> {
    let folders = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let complete = folders.flatten().filter(|f| f.path().join("manifest.json").is_file());
    let step = |f: std::fs::DirEntry| f.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
    complete.filter_map(step).max()
}

/// Checks that an early end has a reason, and that the step it reports is kept.
fn check_end(said: &str, success: bool, kept: Option<u64>) -> Result<(), String> {
    if !success && !said.contains("error") {
        return Err("an end without a reason".into());
    }
    let reported = said.split("stopped after ").skip(1);
    let reported = reported.filter_map(|rest| {
        let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        digits.replace(',', "").parse::<u64>().ok()
    });
    match reported.max() {
        Some(step) if kept.unwrap_or(0) < step => {
            Err(format!("step {step} was reported as kept, the newest checkpoint is {kept:?}"))
        }
        _ => Ok(()),
    }
}
