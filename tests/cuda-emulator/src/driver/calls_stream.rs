//! Calls about streams and events.

use super::calls_device::give;
use super::clock::Clock;
use super::queue::{Stream, Work};
use super::{Code, Driver, Event, Result, code, in_context, report};
use std::ffi::{c_int, c_uint, c_void};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;
/// Stream handles begin here; below are the names of the default stream.
const FIRST_HANDLE: usize = 0x100;

impl Driver {
    /// The stream of a handle.
    pub(super) fn stream(&self, handle: *mut c_void, device: usize) -> Result<usize> {
        // Null, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
        if handle.addr() <= 2 {
            return Ok(device);
        }
        let number = handle.addr().checked_sub(FIRST_HANDLE).ok_or(code::INVALID_HANDLE)?;
        match self.streams.get(number) {
            Some(stream) if stream.alive => {
                self.check(stream.device)?;
                Ok(number)
            }
            _ => Err(code::INVALID_HANDLE),
        }
    }

    fn event(&mut self, handle: *mut c_void) -> Result<&mut Event> {
        self.events.get_mut(&(handle.addr() as u64)).ok_or(code::INVALID_HANDLE)
    }

    /// Lets some work run, then tells whether operation `number` of `stream` is done.
    fn ask(&mut self, stream: usize, number: u64) -> Result<bool> {
        if self.streams[stream].done < number {
            let next = self.needed(stream);
            self.run_next(next)?;
        }
        self.check(self.streams[stream].device)?;
        Ok(self.streams[stream].done >= number)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(to: *mut *mut c_void, flags: c_uint) -> Code {
    in_context(|driver, device| {
        driver.streams.push(Stream::new(device, flags & NON_BLOCKING == 0));
        let handle = driver.streams.len() - 1 + FIRST_HANDLE;
        // SAFETY: the caller's promise.
        unsafe { give(to, std::ptr::without_provenance_mut(handle)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(
    to: *mut *mut c_void,
    flags: c_uint,
    _priority: c_int,
) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuStreamCreate(to, flags) }
}

/// Destroys a stream; work that is queued on it still runs, as on hardware.
#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(handle: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(handle, device)?;
        if stream == device {
            return Err(code::INVALID_HANDLE);
        }
        driver.streams[stream].alive = false;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(handle: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(handle, device)?;
        driver.finish(stream, driver.streams[stream].issued)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(handle: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(handle, device)?;
        let issued = driver.streams[stream].issued;
        if !driver.ask(stream, issued)? {
            return Err(code::NOT_READY);
        }
        driver.finish(stream, issued)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(handle: *mut c_void, event: *mut c_void, _flags: c_uint) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(handle, device)?;
        let Event { recorded, clock, .. } = driver.event(event)?;
        let (recorded, clock) = (*recorded, clock.clone());
        driver.waits += 1;
        if driver.waits == driver.settings.drop_wait {
            report::say(&format!("wait {} is left out, as asked for", driver.waits));
            return Ok(());
        }
        // An event never recorded holds nothing up.
        if let Some((other, number)) = recorded {
            driver.wait_for_clock(stream, other, number, &clock);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(to: *mut *mut c_void, flags: c_uint) -> Code {
    in_context(|driver, _| {
        let handle = driver.handle();
        let timing = flags & DISABLE_TIMING == 0;
        let event = Event { timing, recorded: None, clock: Clock::default(), at: None };
        driver.events.insert(handle, event);
        // SAFETY: the caller's promise.
        unsafe { give(to, std::ptr::without_provenance_mut(handle as usize)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> Code {
    in_context(|driver, _| {
        driver.events.remove(&(event.addr() as u64)).map(drop).ok_or(code::INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: *mut c_void, handle: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(handle, device)?;
        driver.event(event)?;
        let number = driver.issue(stream, "event", Work::Record { event: event.addr() as u64 });
        let clock = driver.streams[stream].clock.clone();
        let event = driver.event(event)?;
        (event.recorded, event.clock, event.at) = (Some((stream, number)), clock, None);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: *mut c_void) -> Code {
    in_context(|driver, _| {
        let Event { recorded, clock, .. } = driver.event(event)?;
        if let Some((stream, number)) = *recorded {
            let clock = clock.clone();
            driver.finish(stream, number)?;
            driver.host.join(&clock);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: *mut c_void) -> Code {
    in_context(|driver, _| {
        let Event { recorded, clock, .. } = driver.event(event)?;
        if let Some((stream, number)) = *recorded {
            let clock = clock.clone();
            if !driver.ask(stream, number)? {
                return Err(code::NOT_READY);
            }
            driver.host.join(&clock);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(
    to: *mut f32,
    start: *mut c_void,
    end: *mut c_void,
) -> Code {
    in_context(|driver, _| {
        let mut at = |event| {
            let event = driver.event(event)?;
            match (event.timing, event.recorded, event.at) {
                (true, Some(_), Some(at)) => Ok(at),
                (true, Some(_), None) => Err(code::NOT_READY),
                _ => Err(code::INVALID_HANDLE),
            }
        };
        let (start, end) = (at(start)?, at(end)?);
        let elapsed = end.saturating_duration_since(start).as_secs_f64() * 1000.0;
        // SAFETY: the caller's promise.
        unsafe { give(to, elapsed as f32) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(
    to: *mut f32,
    start: *mut c_void,
    end: *mut c_void,
) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuEventElapsedTime(to, start, end) }
}
