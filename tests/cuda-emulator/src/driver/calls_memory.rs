//! Calls that take, give back, fill and copy memory.

use super::calls_device::give;
use super::queue::Work;
use super::{Code, Driver, Result, code, in_context};
use crate::memory::Place;
use std::ffi::{c_int, c_uint, c_void};

impl Driver {
    fn allocate(&mut self, device: usize, len: usize) -> Result<u64> {
        if len == 0 {
            return Err(code::INVALID_VALUE);
        }
        let fits = |driver: &Self| {
            let taken = driver
                .settings
                .used
                .saturating_add(driver.memory.taken(device))
                .saturating_add(len);
            taken <= driver.settings.memory
        };
        if !fits(self) {
            // What is freed in a queue becomes free before memory counts as out.
            self.finish_all(Some(device))?;
        }
        if !fits(self) {
            return Err(code::OUT_OF_MEMORY);
        }
        Ok(self.memory.allocate(device, len).ok_or(code::OUT_OF_MEMORY)?.start)
    }

    /// Whether `len` bytes at `at` are memory known here.
    fn known(&self, at: u64, len: usize) -> Result<Place> {
        self.memory.holding(at, len).map(|allocation| allocation.place).ok_or(code::INVALID_VALUE)
    }

    fn pinned(&self, at: u64, len: usize) -> bool {
        self.known(at, len) == Ok(Place::Host)
    }

    fn upload(&mut self, stream: usize, to: u64, from: *const c_void, len: usize) -> Result<u64> {
        self.known(to, len)?;
        let source = from.addr() as u64;
        if self.pinned(source, len) {
            return Ok(self.issue(
                stream,
                "copy to the device",
                Work::Copy { to, from: source, len },
            ));
        }
        // SAFETY: the caller of the copy promises `len` bytes there.
        let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) }.to_vec();
        Ok(self.issue(stream, "copy to the device", Work::Upload { to, bytes }))
    }

    fn download(
        &mut self,
        stream: usize,
        to: *mut c_void,
        from: u64,
        len: usize,
        wait: bool,
    ) -> Result<()> {
        self.known(from, len)?;
        let target = to.addr() as u64;
        let name = "copy to the host";
        if self.pinned(target, len) {
            let number = self.issue(stream, name, Work::Copy { to: target, from, len });
            return if wait { self.finish(stream, number) } else { Ok(()) };
        }
        let number = self.issue(stream, name, Work::Download { to: target, from, len });
        self.finish(stream, number)
    }

    fn set(&mut self, stream: usize, to: u64, pattern: &[u8], len: usize) -> Result<u64> {
        let device = self.streams[stream].device;
        match self.known(to, len)? {
            Place::Device(other) if other != device => Err(code::INVALID_VALUE),
            _ => Ok(self.issue(stream, "memset", Work::Set { to, len, pattern: pattern.to_vec() })),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    in_context(|driver, device| {
        let taken = driver.settings.used + driver.memory.taken(device);
        // SAFETY: the caller's promise.
        unsafe {
            give(free, driver.settings.memory.saturating_sub(taken))?;
            give(total, driver.settings.memory)
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(to: *mut u64, len: usize) -> Code {
    in_context(|driver, device| {
        let at = driver.allocate(device, len)?;
        // SAFETY: the caller's promise.
        unsafe { give(to, at) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(to: *mut u64, len: usize, stream: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        let at = driver.allocate(driver.streams[stream].device, len)?;
        driver.issue(stream, "allocation", Work::Allocate { at });
        // SAFETY: the caller's promise.
        unsafe { give(to, at) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(at: u64) -> Code {
    in_context(|driver, device| {
        if at == 0 {
            return Ok(());
        }
        driver.finish_all(Some(device))?;
        driver.records.remove(&at);
        driver.memory.free(at).map(drop).ok_or(code::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(at: u64, stream: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        match driver.memory.holding(at, 0) {
            Some(allocation) if allocation.start == at => {}
            _ => return Err(code::INVALID_VALUE),
        }
        driver.issue(stream, "free", Work::Free { at });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(to: *mut *mut c_void, len: usize, _flags: c_uint) -> Code {
    in_context(|driver, _| {
        let allocation = driver.memory.allocate_host(len).ok_or(code::OUT_OF_MEMORY)?;
        // SAFETY: the caller's promise.
        unsafe { give(to, allocation.start as *mut c_void) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(at: *mut c_void) -> Code {
    in_context(|driver, _| {
        // Copies under way still need it.
        driver.finish_all(None)?;
        driver.records.remove(&(at.addr() as u64));
        driver.memory.free(at.addr() as u64).map(drop).ok_or(code::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostGetDevicePointer_v2(
    to: *mut u64,
    at: *mut c_void,
    _flags: c_uint,
) -> Code {
    // SAFETY: the caller's promise.
    in_context(|_, _| unsafe { give(to, at.addr() as u64) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    len: usize,
    stream: *mut c_void,
) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        driver.upload(stream, to, from, len).map(drop)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, len: usize) -> Code {
    in_context(|driver, device| {
        let number = driver.upload(device, to, from, len)?;
        driver.finish(device, number)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    len: usize,
    stream: *mut c_void,
) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        driver.download(stream, to, from, len, false)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, len: usize) -> Code {
    in_context(|driver, device| driver.download(device, to, from, len, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        driver.known(to, len)?;
        driver.known(from, len)?;
        driver.issue(stream, "copy on the device", Work::Copy { to, from, len });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, len: usize) -> Code {
    cuMemcpyDtoDAsync_v2(to, from, len, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _to_context: *mut c_void,
    from: u64,
    _from_context: *mut c_void,
    len: usize,
    stream: *mut c_void,
) -> Code {
    cuMemcpyDtoDAsync_v2(to, from, len, stream)
}

fn memset(to: u64, pattern: &[u8], n: usize, stream: *mut c_void) -> Code {
    in_context(|driver, device| {
        let stream = driver.stream(stream, device)?;
        driver.set(stream, to, pattern, n * pattern.len()).map(drop)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: u8, n: usize, stream: *mut c_void) -> Code {
    memset(to, &[value], n, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(to: u64, value: c_uint, n: usize, stream: *mut c_void) -> Code {
    memset(to, &value.to_le_bytes(), n, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(to: u64, value: u8, n: usize) -> Code {
    memset(to, &[value], n, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(to: u64, value: c_uint, n: usize) -> Code {
    memset(to, &value.to_le_bytes(), n, std::ptr::null_mut())
}

/// Only what cudarc and its like ask: the kind of memory and its device.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuPointerGetAttribute(to: *mut c_void, attribute: c_int, at: u64) -> Code {
    in_context(|driver, _| {
        let place = driver.known(at, 1)?;
        let value: c_int = match (attribute, place) {
            (2, Place::Host) => 1,
            (2, Place::Device(_)) => 2,
            (9, Place::Device(device)) => device as c_int,
            (9, Place::Host) => 0,
            _ => return Err(code::INVALID_VALUE),
        };
        // SAFETY: the caller's promise.
        unsafe { give(to.cast::<c_int>(), value) }
    })
}
