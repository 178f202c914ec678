//! Gives nearly valid bytes to decoders; notices panics, too much memory and too much time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::memory;
use crate::mutate::{Dice, Shape, mutated};

/// Time limit for one input; the fastest of three tries counts, since the machine may be busy.
const MAX_TIME: Duration = Duration::from_secs(2);
/// Time after which an input counts as endless.
const ENDLESS: Duration = Duration::from_secs(60);
/// Number of crashes after which a target is not tried further.
const MAX_CRASHES: usize = 5;

type Seal = fn(&mut Vec<u8>);
type Decode = Box<dyn FnMut(&[u8]) -> bool>;

/// A decoder of bytes from outside, with its valid inputs.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Upper bound of memory for one input, in bytes.
    memory: usize,
    shape: Shape,
    /// Valid inputs.
    seeds: Vec<Vec<u8>>,
    seal: Seal,
    decode: Decode,
}

impl Target {
    /// Creates a target; `decode` returns whether an input is accepted, and panics if a property
    /// does not hold.
    pub(crate) fn new(
        name: &'static str,
        memory: usize,
        shape: Shape,
        seeds: Vec<Vec<u8>>,
        decode: impl FnMut(&[u8]) -> bool + 'static,
    ) -> Self {
        Self { name, memory, shape, seeds, seal: |_| {}, decode: Box::new(decode) }
    }

    /// With a way to make checksums right again, so that changes reach what lies behind them.
    pub(crate) fn sealed(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// The input of a number; the first ones are the valid ones.
    fn input(&self, seed: u64) -> Vec<u8> {
        if let Some(valid) = self.seeds.get(seed as usize) {
            return valid.clone();
        }
        let mut dice = Dice::new(self.name, seed);
        let mut bytes = mutated(&mut dice, &self.seeds, self.shape);
        if !dice.one_in(4) {
            (self.seal)(&mut bytes);
        }
        bytes
    }

    /// Whether an input is accepted, or what is wrong with the decoder.
    fn judge(&mut self, seed: u64, input: &[u8], outcome: &mut Outcome) -> Result<bool, String> {
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let (before, began) = (memory::begin(), Instant::now());
            let decoded = catch_unwind(AssertUnwindSafe(|| (self.decode)(input)));
            fastest = fastest.min(began.elapsed());
            let most = memory::most_since(before);
            outcome.most_bytes = outcome.most_bytes.max(most);
            let accepted = decoded.map_err(|_| PANIC.take())?;
            if most > self.memory {
                return Err(format!("{most} bytes of memory, at most {} are allowed", self.memory));
            }
            if !accepted && (seed as usize) < self.seeds.len() {
                return Err("a valid input is refused".into());
            }
            if fastest <= MAX_TIME {
                outcome.slowest = outcome.slowest.max(fastest);
                return Ok(accepted);
            }
        }
        Err(format!("{fastest:?}, at most {MAX_TIME:?} are allowed"))
    }
}

/// The outcome of fuzzing a target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) inputs: u64,
    pub(crate) accepted: u64,
    /// A line each.
    pub(crate) crashes: Vec<String>,
    pub(crate) most_bytes: usize,
    pub(crate) slowest: Duration,
}

/// One input again, or all from the first for some time.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seed: Option<u64>,
    pub(crate) time: Duration,
    /// Folder for inputs that crash.
    pub(crate) folder: PathBuf,
}

/// Runs a target.
pub(crate) fn fuzz(target: &mut Target, options: &Options) -> Outcome {
    let quiet = Quiet::new();
    let mut outcome = Outcome { name: target.name, ..Outcome::default() };
    let (started, first) = (Instant::now(), options.seed.unwrap_or(0));
    for seed in first.. {
        let input = target.input(seed);
        quiet.begins(target.name, seed);
        match target.judge(seed, &input, &mut outcome) {
            Ok(accepted) => outcome.accepted += u64::from(accepted),
            Err(why) => {
                let name = target.name;
                let file = options.folder.join(format!("{name}-{seed}"));
                std::fs::create_dir_all(&options.folder).unwrap();
                std::fs::write(&file, &input).unwrap();
                let file = file.display();
                let again = again(name, seed);
                outcome.crashes.push(format!("{name} {seed}: {why}\n  {file}; again: {again}"));
            }
        }
        outcome.inputs += 1;
        let over = outcome.inputs >= 50 && started.elapsed() >= options.time;
        if options.seed.is_some() || over || outcome.crashes.len() >= MAX_CRASHES {
            break;
        }
    }
    outcome
}

fn again(target: &str, seed: u64) -> String {
    format!("FUZZ_TARGET={target} FUZZ_SEED={seed} cargo test -p system-tests --test fuzz")
}

/// The message of the last panic.
static PANIC: Said = Said(Mutex::new(String::new()));
static SILENT: AtomicBool = AtomicBool::new(false);
/// Memory is counted for the whole program: one target at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Said(Mutex<String>);

impl Said {
    fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// While this lives panics are kept and not printed, and an input that never ends ends the program.
struct Quiet {
    begun: mpsc::Sender<(&'static str, u64)>,
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl Quiet {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let loud = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !SILENT.load(Ordering::Relaxed) {
                    return loud(panic);
                }
                *PANIC.0.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
            }));
        });
        SILENT.store(true, Ordering::Relaxed);
        let (begun, inputs) = mpsc::channel();
        std::thread::spawn(move || watch(&inputs));
        Self { begun, _alone: alone }
    }

    fn begins(&self, target: &'static str, seed: u64) {
        self.begun.send((target, seed)).expect("the watch ends after this");
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        SILENT.store(false, Ordering::Relaxed);
    }
}

/// Nobody can stop a thread that hangs: the program ends and says which input it was.
fn watch(inputs: &mpsc::Receiver<(&'static str, u64)>) {
    let mut last = ("nothing", 0);
    loop {
        match inputs.recv_timeout(ENDLESS) {
            Ok(input) => last = input,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("{} {} has no end; again: {}", last.0, last.1, again(last.0, last.1));
                std::process::exit(101);
            }
        }
    }
}
