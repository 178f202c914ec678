//! Doing what is queued, and judging whether its order was enforced.

use super::clock::Record;
use super::queue::{Launching, Operation, Work};
use super::{Code, Driver, Result, code, report};
use crate::memory::{Allocation, POISON, Place, Touched};
use crate::run::{self, FaultKind};
use std::sync::Arc;

/// An allocation, and what of it an operation touched.
type Touches = Vec<(Arc<Allocation>, Touched)>;

impl Driver {
    /// Runs one operation of `stream`.
    pub(crate) fn operate(&mut self, stream: usize, operation: &Operation) -> Result<()> {
        let touches = match &operation.work {
            Work::Launch(launching) => self.launch(stream, launching)?,
            Work::Record { event } => {
                if let Some(event) = self.events.get_mut(event)
                    && event.recorded == Some((stream, operation.number))
                {
                    event.at = Some(std::time::Instant::now());
                }
                Vec::new()
            }
            Work::Allocate { at } => self.whole(*at).into_iter().collect(),
            Work::Free { at } => {
                let touched = self.whole(*at).ok_or_else(|| gone(operation))?;
                self.judge(stream, operation, vec![touched])?;
                self.records.remove(at);
                self.memory.free(*at);
                Vec::new()
            }
            Work::Upload { to, bytes } => {
                let (allocation, offset) = self.place(*to, bytes.len(), operation)?;
                // SAFETY: `place` found so many bytes there in a live allocation.
                unsafe {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), *to as *mut u8, bytes.len())
                };
                allocation.set_written(offset, bytes.len());
                vec![touching(allocation, offset, bytes.len(), true)]
            }
            Work::Set { to, len, pattern } => {
                let (allocation, offset) = self.place(*to, *len, operation)?;
                for i in 0..*len {
                    // SAFETY: `place` found `len` bytes there in a live allocation.
                    unsafe { (*to as *mut u8).add(i).write(pattern[i % pattern.len()]) };
                }
                allocation.set_written(offset, *len);
                vec![touching(allocation, offset, *len, true)]
            }
            Work::Copy { to, from, len } => {
                let (source, at) = self.place(*from, *len, operation)?;
                let (allocation, offset) = self.place(*to, *len, operation)?;
                self.copy(*to, &source, at, *len);
                allocation.copy_written(offset, &source, at, *len);
                vec![touching(source, at, *len, false), touching(allocation, offset, *len, true)]
            }
            Work::Download { to, from, len } => {
                let (source, at) = self.place(*from, *len, operation)?;
                self.copy(*to, &source, at, *len);
                vec![touching(source, at, *len, false)]
            }
        };
        self.judge(stream, operation, touches)
    }

    /// Copies bytes; those never written arrive as poison where the host will read them.
    fn copy(&self, to: u64, source: &Allocation, at: usize, len: usize) {
        let from = source.start + at as u64;
        // SAFETY: the source is live and that long; the destination was found so by the caller, or
        // is memory the program gave to the call that waits for this.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, len) };
        if !source.is_written(at, len) {
            for byte in (0..len).filter(|byte| !source.is_written(at + byte, 1)) {
                // SAFETY: as above.
                unsafe { (to as *mut u8).add(byte).write(POISON[(at + byte) % 4]) };
            }
        }
    }

    fn whole(&self, at: u64) -> Option<(Arc<Allocation>, Touched)> {
        let allocation = self.memory.holding(at, 0)?.clone();
        let len = allocation.len;
        Some(touching(allocation, 0, len, true))
    }

    fn place(
        &self,
        at: u64,
        len: usize,
        operation: &Operation,
    ) -> Result<(Arc<Allocation>, usize)> {
        let allocation = self.memory.holding(at, len).ok_or_else(|| {
            report::say(&format!(
                "{}: {len} bytes at {at:#x}: {}",
                operation.name,
                self.memory.describe(at)
            ));
            code::ILLEGAL_ADDRESS
        })?;
        Ok((allocation.clone(), (at - allocation.start) as usize))
    }

    fn launch(&mut self, stream: usize, launching: &Launching) -> Result<Touches> {
        let device = self.streams[stream].device;
        let settings = &self.settings;
        if settings.fault == launching.number && fault_is_due(settings.fault_file.as_deref()) {
            report::say(&format!(
                "{}: an illegal address, as asked for",
                launching.function.program.name
            ));
            return Err(code::ILLEGAL_ADDRESS);
        }
        if settings.hang == launching.number && fault_is_due(settings.fault_file.as_deref()) {
            let name = &launching.function.program.name;
            report::say(&format!("{name}: never ends, as asked for"));
            loop {
                std::thread::park();
            }
        }
        let view = self.memory.view(device);
        let cores = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let n_threads =
            launching.grid.iter().chain(&launching.block).map(|n| *n as usize).product::<usize>();
        // One block has no other to race with; of very many not all have a stamp.
        let n_blocks = launching.grid.iter().map(|n| u64::from(*n)).product::<u64>();
        let launch = run::Launch {
            program: &launching.function.program,
            params: &launching.params,
            grid: launching.grid,
            block: launching.block,
            dynamic_shared: launching.dynamic_shared,
            view: &view,
            seed: settings.seed.wrapping_add(launching.number << 32),
            number: launching.number,
            strict: settings.strict && (2..1 << 23).contains(&n_blocks),
            counting: settings.counters.is_some(),
            // A thread costs more than a few warps do.
            threads: cores.min(n_threads / 2048).max(1),
        };
        let (counts, fault) = run::run(&launch);
        if let Some(fault) = fault {
            report::fault(launching, &fault, &self.memory);
            return Err(code_of(fault.kind));
        }
        if let Some(path) = &settings.counters {
            report::counters(path, launching, &counts, self.waits, device);
        }
        let touched = view
            .seen
            .into_iter()
            .filter_map(|seen| Some((seen.allocation, seen.touched.into_inner()?)));
        let touches: Touches = touched.collect();
        if settings.flip == launching.number && fault_is_due(settings.fault_file.as_deref()) {
            let flipped = touches.iter().any(|(at, touched)| flip(at, touched));
            let name = &launching.function.program.name;
            let what = if flipped { "one bit is flipped" } else { "there is no bit to flip" };
            report::say(&format!("{name}: {what}, as asked for"));
        }
        Ok(touches)
    }

    /// Finds unordered operations that touch the same memory, and keeps what this one touched.
    fn judge(&mut self, stream: usize, operation: &Operation, touches: Touches) -> Result<()> {
        for (allocation, touched) in touches {
            // The host touches pinned memory unseen, but copies and kernels are judged there too.
            let records = self.records.entry(allocation.start).or_default();
            let unordered = |record: &&Record| {
                record.stream != stream && operation.clock.get(record.stream) < record.number
            };
            if let Some(record) =
                records.iter().filter(unordered).find(|record| record.conflicts(&touched))
            {
                let place = if allocation.place == Place::Host {
                    "pinned host memory"
                } else {
                    "device memory"
                };
                report::say(&format!(
                    "{} on stream {stream} and {} on stream {} touch the same {place} ({} bytes at {:#x}) and \
                     nothing orders them: an event or a synchronization is missing",
                    operation.name, record.name, record.stream, allocation.len, allocation.start
                ));
                return Err(code::ILLEGAL_ADDRESS);
            }
            records.retain(|record| record.stream != stream || !record.within(&touched));
            records.push(Record {
                stream,
                number: operation.number,
                name: operation.name.clone(),
                touched,
            });
        }
        Ok(())
    }
}

/// Flips the highest bit of the fraction of the first number that was written and is not zero.
fn flip(allocation: &Allocation, touched: &Touched) -> bool {
    for from in touched.written_parts() {
        let part = from..(from + touched.part()).min(allocation.len);
        for offset in part.step_by(4).filter(|offset| offset + 4 <= allocation.len) {
            let word = (allocation.start + offset as u64) as *mut u32;
            // SAFETY: the word lies in a live allocation, and no launch runs now.
            let value = unsafe { word.read() };
            if value != 0 && allocation.is_written(offset, 4) {
                // SAFETY: as above.
                unsafe { word.write(value ^ 1 << 22) };
                return true;
            }
        }
    }
    false
}

fn touching(
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    writes: bool,
) -> (Arc<Allocation>, Touched) {
    let touched = Touched::of_range(allocation.len, offset, offset + len, writes);
    (allocation, touched)
}

fn gone(operation: &Operation) -> Code {
    report::say(&format!("{}: not an allocation", operation.name));
    code::INVALID_VALUE
}

/// Whether the fault comes: always, or once for all processes that share the file.
fn fault_is_due(file: Option<&std::path::Path>) -> bool {
    file.is_none_or(|file| {
        std::fs::OpenOptions::new().write(true).create_new(true).open(file).is_ok()
    })
}

fn code_of(kind: FaultKind) -> Code {
    match kind {
        FaultKind::IllegalAddress => code::ILLEGAL_ADDRESS,
        FaultKind::Misaligned => code::MISALIGNED_ADDRESS,
        FaultKind::Trap => code::LAUNCH_FAILED,
        FaultKind::Endless => code::LAUNCH_TIMEOUT,
    }
}
