//! Streams as queues, and which operation runs next.

use super::clock::Clock;
use super::{Driver, Function, Result, code};
use std::collections::VecDeque;
use std::sync::Arc;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) device: usize,
    /// Whether it takes turns with the device's default stream.
    pub(crate) blocking: bool,
    pub(crate) alive: bool,
    pub(crate) queue: VecDeque<Operation>,
    /// Clock of the operations that precede the next one.
    pub(crate) clock: Clock,
    /// Operations of other streams the next one waits for.
    waits: Vec<(usize, u64)>,
    pub(crate) issued: u64,
    pub(crate) done: u64,
}

impl Stream {
    pub(crate) fn new(device: usize, blocking: bool) -> Self {
        Self {
            device,
            blocking,
            alive: true,
            queue: VecDeque::new(),
            clock: Clock::default(),
            waits: Vec::new(),
            issued: 0,
            done: 0,
        }
    }
}

/// Something a stream does.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    pub(crate) clock: Clock,
    waits: Vec<(usize, u64)>,
    pub(crate) work: Work,
}

/// One operation of a stream.
#[derive(Debug)]
pub(crate) enum Work {
    Launch(Box<Launching>),
    /// From bytes taken when the call was made.
    Upload {
        to: u64,
        bytes: Vec<u8>,
    },
    /// Between memories both of which are known here.
    Copy {
        to: u64,
        from: u64,
        len: usize,
    },
    /// To memory only the caller knows, while the caller waits.
    Download {
        to: u64,
        from: u64,
        len: usize,
    },
    Set {
        to: u64,
        len: usize,
        pattern: Vec<u8>,
    },
    Allocate {
        at: u64,
    },
    Free {
        at: u64,
    },
    Record {
        event: u64,
    },
}

/// A launch in a queue.
#[derive(Debug)]
pub(crate) struct Launching {
    pub(crate) function: Function,
    pub(crate) params: Vec<u8>,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: usize,
    pub(crate) number: u64,
}

impl Driver {
    /// Puts work at the end of a stream; returns its number there.
    pub(crate) fn issue(&mut self, stream: usize, name: impl Into<Arc<str>>, work: Work) -> u64 {
        let default = self.streams[stream].device;
        if stream == default {
            // The default stream waits for all that take turns with it …
            for other in 0..self.streams.len() {
                if self.takes_turns(other, default) {
                    self.wait_for(stream, other, self.streams[other].issued);
                }
            }
        } else if self.takes_turns(stream, default) {
            // … and they for it.
            self.wait_for(stream, default, self.streams[default].issued);
        }
        let host = self.host.clone();
        let s = &mut self.streams[stream];
        s.issued += 1;
        s.clock.join(&host);
        s.clock.set(stream, s.issued);
        let (number, clock) = (s.issued, s.clock.clone());
        let waits = std::mem::take(&mut s.waits);
        s.queue.push_back(Operation { name: name.into(), number, clock, waits, work });
        number
    }

    fn takes_turns(&self, stream: usize, default: usize) -> bool {
        let s = &self.streams[stream];
        stream != default && s.blocking && s.device == default
    }

    /// Makes the next operation of `stream` wait for one of `other`, and all that one waited for.
    fn wait_for(&mut self, stream: usize, other: usize, number: u64) {
        let clock = self.streams[other].clock.clone();
        self.wait_for_clock(stream, other, number, &clock);
    }

    /// As `wait_for`, where `clock` is what the operation waited for came after.
    pub(crate) fn wait_for_clock(
        &mut self,
        stream: usize,
        other: usize,
        number: u64,
        clock: &Clock,
    ) {
        let s = &mut self.streams[stream];
        s.clock.join(clock);
        if number > 0 && other != stream {
            s.waits.push((other, number));
        }
    }

    /// Runs until operation `number` of `stream` is done, and perhaps more.
    pub(crate) fn finish(&mut self, stream: usize, number: u64) -> Result<()> {
        while self.streams[stream].done < number {
            let next = if self.chance(2) == 0 { self.needed(stream) } else { self.any_ready() };
            self.run_next(next)?;
        }
        let clock = self.streams[stream].clock.clone();
        // Up to the last issued, the stream's clock is what the host now knows to be done.
        if number == self.streams[stream].issued {
            self.host.join(&clock);
        }
        self.forget();
        self.check(self.streams[stream].device)
    }

    /// Runs everything.
    pub(crate) fn finish_all(&mut self, device: Option<usize>) -> Result<()> {
        for stream in 0..self.streams.len() {
            if device.is_none_or(|device| self.streams[stream].device == device) {
                self.finish(stream, self.streams[stream].issued)?;
            }
        }
        Ok(())
    }

    fn ready(&self, stream: usize) -> Option<std::result::Result<(), usize>> {
        let head = self.streams[stream].queue.front()?;
        let open = head.waits.iter().find(|(other, number)| self.streams[*other].done < *number);
        Some(open.map_or(Ok(()), |(other, _)| Err(*other)))
    }

    /// The stream whose next operation `stream` cannot do without.
    pub(crate) fn needed(&self, stream: usize) -> usize {
        match self.ready(stream) {
            Some(Err(other)) => self.needed(other),
            _ => stream,
        }
    }

    /// Any stream that has something to run.
    fn any_ready(&mut self) -> usize {
        let ready: Vec<usize> =
            (0..self.streams.len()).filter(|stream| self.ready(*stream) == Some(Ok(()))).collect();
        ready[self.chance(ready.len())]
    }

    /// Runs the next operation of `stream`, which must be ready.
    pub(crate) fn run_next(&mut self, stream: usize) -> Result<()> {
        let operation = self.streams[stream].queue.pop_front().ok_or(code::INVALID_HANDLE)?;
        self.streams[stream].done = operation.number;
        let device = self.streams[stream].device;
        // A broken context runs nothing more; what only keeps order still counts as done.
        if self.broken[device].is_none()
            && let Err(code) = self.operate(stream, &operation)
        {
            self.broken[device] = Some(code);
        }
        Ok(())
    }

    /// Drops records every later operation is known to come after.
    fn forget(&mut self) {
        if self.streams.iter().all(|stream| stream.queue.is_empty()) {
            let host = &self.host;
            for records in self.records.values_mut() {
                records.retain(|record| record.number > host.get(record.stream));
            }
            self.records.retain(|_, records| !records.is_empty());
        }
    }
}
