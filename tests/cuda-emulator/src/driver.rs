//! The driver's state: devices, contexts, streams, events, modules; and how a call gets at it.
//!
//! One lock guards all of it. Work is only queued; it runs, in an order the seed chooses among
//! those that events and streams allow, when a call has to wait for it.

mod calls_device;
mod calls_memory;
mod calls_module;
mod calls_stream;
mod clock;
mod operate;
mod queue;
mod report;

use crate::memory::{Allocation, Memory};
use crate::program::Program;
use crate::settings::Settings;
use clock::{Clock, Record};
use queue::Stream;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// `CUresult`.
pub(crate) type Code = i32;

/// The results given here, under the driver's names.
pub(crate) mod code {
    use super::Code;
    pub(crate) const SUCCESS: Code = 0;
    pub(crate) const INVALID_VALUE: Code = 1;
    pub(crate) const OUT_OF_MEMORY: Code = 2;
    pub(crate) const NOT_INITIALIZED: Code = 3;
    pub(crate) const NO_DEVICE: Code = 100;
    pub(crate) const INVALID_DEVICE: Code = 101;
    pub(crate) const INVALID_IMAGE: Code = 200;
    pub(crate) const INVALID_CONTEXT: Code = 201;
    pub(crate) const INVALID_PTX: Code = 218;
    pub(crate) const UNSUPPORTED_PTX_VERSION: Code = 222;
    pub(crate) const FILE_NOT_FOUND: Code = 301;
    pub(crate) const INVALID_HANDLE: Code = 400;
    pub(crate) const NOT_FOUND: Code = 500;
    pub(crate) const NOT_READY: Code = 600;
    pub(crate) const ILLEGAL_ADDRESS: Code = 700;
    pub(crate) const LAUNCH_OUT_OF_RESOURCES: Code = 701;
    pub(crate) const LAUNCH_TIMEOUT: Code = 702;
    pub(crate) const MISALIGNED_ADDRESS: Code = 716;
    pub(crate) const LAUNCH_FAILED: Code = 719;
}

/// A call's result on the way.
pub(crate) type Result<T> = std::result::Result<T, Code>;

/// Everything.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) settings: Settings,
    pub(crate) memory: Memory,
    pub(crate) streams: Vec<Stream>,
    pub(crate) events: HashMap<u64, Event>,
    pub(crate) modules: HashMap<u64, Module>,
    pub(crate) functions: HashMap<u64, Function>,
    /// For each device the error every later call gets.
    pub(crate) broken: Vec<Option<Code>>,
    /// Clock of the work that the host knows to be done.
    pub(crate) host: Clock,
    /// Accesses to each allocation, by its start address.
    pub(crate) records: HashMap<u64, Vec<Record>>,
    pub(crate) random: u64,
    pub(crate) launches: u64,
    pub(crate) waits: u64,
    handles: u64,
}

/// An event, and where it was last recorded.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) timing: bool,
    /// Stream and position of the record.
    pub(crate) recorded: Option<(usize, u64)>,
    pub(crate) clock: Clock,
    pub(crate) at: Option<std::time::Instant>,
}

/// A loaded module.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) programs: HashMap<String, Arc<Program>>,
    pub(crate) globals: HashMap<String, Arc<Allocation>>,
    /// PTX text, by line, for reports.
    pub(crate) text: Arc<str>,
}

/// A kernel's handle.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) program: Arc<Program>,
    pub(crate) text: Arc<str>,
    pub(crate) device: usize,
    /// Upper bound of dynamic shared memory, in bytes.
    pub(crate) dynamic_shared: usize,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

thread_local! {
    /// The device whose context is current in this thread.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The device of this thread's context.
pub(crate) fn current() -> Option<usize> {
    CURRENT.get()
}

pub(crate) fn set_current(device: Option<usize>) {
    CURRENT.set(device);
}

pub(crate) fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs a call that needs `cuInit`.
pub(crate) fn initialized(call: impl FnOnce(&mut Driver) -> Result<()>) -> Code {
    match lock().as_mut().map(call) {
        None => code::NOT_INITIALIZED,
        Some(Ok(())) => code::SUCCESS,
        Some(Err(code)) => code,
    }
}

/// Runs a call that needs a context which is not broken.
pub(crate) fn in_context(call: impl FnOnce(&mut Driver, usize) -> Result<()>) -> Code {
    initialized(|driver| {
        let device = current().ok_or(code::INVALID_CONTEXT)?;
        driver.check(device)?;
        call(driver, device)?;
        Ok(())
    })
}

impl Driver {
    pub(crate) fn new(settings: Settings) -> Self {
        let streams = (0..settings.devices).map(|device| Stream::new(device, true)).collect();
        Self {
            memory: Memory::default(),
            streams,
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            broken: vec![None; settings.devices],
            host: Clock::default(),
            records: HashMap::new(),
            random: settings.seed,
            launches: 0,
            waits: 0,
            handles: 0x1000,
            settings,
        }
    }

    /// Fails if the device's context is broken.
    pub(crate) fn check(&self, device: usize) -> Result<()> {
        self.broken[device].map_or(Ok(()), Err)
    }

    /// A handle never given before.
    pub(crate) fn handle(&mut self) -> u64 {
        self.handles += 0x10;
        self.handles
    }

    pub(crate) fn chance(&mut self, of: usize) -> usize {
        self.random = crate::run::next_random(self.random);
        (self.random >> 33) as usize % of.max(1)
    }
}
