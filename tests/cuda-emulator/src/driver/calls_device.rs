//! Calls about the driver, devices and contexts.

use super::{Code, Driver, code, current, in_context, initialized, lock, report, set_current};
use crate::settings::{NAME, Settings};
use std::ffi::{c_char, c_int, c_uint, c_void};

/// Writes a result where the caller wants it.
///
/// # Safety
/// `to` is null or can be written.
pub(super) unsafe fn give<T>(to: *mut T, value: T) -> super::Result<()> {
    if to.is_null() {
        return Err(code::INVALID_VALUE);
    }
    // SAFETY: not null, so writable by the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a driver has no main; this is its one setting")]
fn settings() -> Result<Settings, String> {
    Settings::parse(&std::env::var(NAME).unwrap_or_default())
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Code {
    let mut driver = lock();
    if driver.is_none() {
        match settings() {
            Ok(settings) => *driver = Some(Driver::new(settings)),
            Err(why) => {
                report::say(&why);
                return code::INVALID_VALUE;
            }
        }
    }
    match driver.as_ref().map_or(0, |driver| driver.settings.devices) {
        0 => code::NO_DEVICE,
        _ => code::SUCCESS,
    }
}

/// # Safety
/// As for all calls here: what the CUDA driver asks of its callers.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    // Also before `cuInit`, which then says what is wrong with the settings.
    let known = lock().as_ref().map(|driver| driver.settings.driver);
    let known = known.unwrap_or_else(|| settings().unwrap_or_default().driver);
    // SAFETY: the caller's promise.
    unsafe { give(version, known) }.map_or_else(|code| code, |()| code::SUCCESS)
}

/// NVRTC looks for undocumented tables; there are none.
#[unsafe(no_mangle)]
extern "C" fn cuGetExportTable(_table: *mut *const c_void, _id: *const c_void) -> Code {
    code::NOT_FOUND
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    initialized(|driver| unsafe { give(count, driver.settings.devices as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    with_device(ordinal, |_, ordinal| {
        // SAFETY: the caller's promise.
        unsafe { give(device, ordinal as c_int) }
    })
}

fn with_device(device: c_int, call: impl FnOnce(&mut Driver, usize) -> super::Result<()>) -> Code {
    initialized(|driver| {
        let known = usize::try_from(device).ok().filter(|device| *device < driver.settings.devices);
        call(driver, known.ok_or(code::INVALID_DEVICE)?)
    })
}

/// Copies text with a closing zero into the caller's `len` bytes.
///
/// # Safety
/// `to` is null or has `len` bytes.
unsafe fn give_text(text: &str, to: *mut c_char, len: c_int) -> super::Result<()> {
    if to.is_null() || len < 1 {
        return Err(code::INVALID_VALUE);
    }
    let kept = &text.as_bytes()[..text.len().min(len as usize - 1)];
    for (i, byte) in kept.iter().chain(&[0]).enumerate() {
        // SAFETY: at most `len` bytes are written.
        unsafe { to.add(i).write(*byte as c_char) };
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) -> Code {
    with_device(device, |driver, device| {
        let text = format!("Emulated GPU {device} (sm_{})", driver.settings.arch);
        // SAFETY: the caller's promise.
        unsafe { give_text(&text, name, len) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetPCIBusId(id: *mut c_char, len: c_int, device: c_int) -> Code {
    // SAFETY: the caller's promise.
    with_device(device, |_, device| unsafe {
        give_text(&format!("0000:{:02x}:00.0", device + 1), id, len)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Code {
    with_device(device, |_, device| {
        let mut bytes = *b"emulated-device\0";
        bytes[15] = device as u8;
        // SAFETY: the caller's promise.
        unsafe { give(uuid, bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuDeviceGetUuid_v2(uuid, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Code {
    // SAFETY: the caller's promise.
    with_device(device, |driver, _| unsafe { give(bytes, driver.settings.memory) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    device: c_int,
) -> Code {
    with_device(device, |driver, device| {
        // SAFETY: the caller's promise.
        unsafe { give(value, attribute_of(driver.settings.arch, attribute, device)) }
    })
}

/// Shared memory a block may have when it asks for more than 48 KiB.
pub(super) fn most_shared(arch: u32) -> usize {
    match arch {
        0..80 => 65_536,
        80 | 87 => 166_912,
        90..120 => 232_448,
        _ => 101_376,
    }
}

/// Numbers of an A100, but for what the architecture decides; 0 for what is not asked here.
fn attribute_of(arch: u32, attribute: c_int, device: usize) -> c_int {
    match attribute {
        1..=3 => 1024 >> if attribute == 3 { 4 } else { 0 },
        4 => 64,
        5 => c_int::MAX,
        6 | 7 => 65_535,
        8 => 49_152,
        9 => 65_536,
        10 => 32,
        11 => c_int::MAX,
        12 | 82 => 65_536,
        13 => 1_410_000,
        14 => 512,
        15 | 19 | 31 | 41 | 78 | 79 | 80 | 115 => 1,
        16 => 108,
        33 => device as c_int + 1,
        36 => 1_215_000,
        37 => 5120,
        38 => 40 << 20,
        39 => 2048,
        40 => 3,
        75 => (arch / 10) as c_int,
        76 => (arch % 10) as c_int,
        81 => most_shared(arch) as c_int + 1024,
        97 => most_shared(arch) as c_int,
        106 => 32,
        111 => 1024,
        _ => 0,
    }
}

/// Each device reaches the memory of every other one, and none counts as its own peer.
///
/// # Safety
/// `reaches` is null or can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceCanAccessPeer(
    reaches: *mut c_int,
    device: c_int,
    peer: c_int,
) -> Code {
    with_device(device, |driver, device| {
        let known = usize::try_from(peer).ok().filter(|peer| *peer < driver.settings.devices);
        let peer = known.ok_or(code::INVALID_DEVICE)?;
        // SAFETY: the caller's promise.
        unsafe { give(reaches, c_int::from(peer != device)) }
    })
}

/// A context is its device's number, shifted away from null.
fn context(device: usize) -> *mut c_void {
    std::ptr::without_provenance_mut((device + 1) << 8)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(to: *mut *mut c_void, device: c_int) -> Code {
    with_device(device, |driver, device| {
        driver.check(device)?;
        // SAFETY: the caller's promise.
        unsafe { give(to, context(device)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Code {
    with_device(device, |_, _| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(to: *mut *mut c_void) -> Code {
    let now = current().map_or(std::ptr::null_mut(), context);
    // SAFETY: the caller's promise.
    initialized(|_| unsafe { give(to, now) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> Code {
    if context.is_null() {
        set_current(None);
        return code::SUCCESS;
    }
    with_device((context.addr() >> 8) as c_int - 1, |_, device| {
        set_current(Some(device));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    in_context(|_, current| unsafe { give(device, current as c_int) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Code {
    in_context(|driver, device| driver.finish_all(Some(device)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Code {
    in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    in_context(|_, _| unsafe {
        give(least, 0)?;
        give(greatest, -5)
    })
}

/// Name and sentence of each result given here.
const RESULTS: [(Code, &std::ffi::CStr, &std::ffi::CStr); 20] = [
    (code::SUCCESS, c"CUDA_SUCCESS", c"no error"),
    (code::INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    (code::OUT_OF_MEMORY, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    (code::NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
    (code::NO_DEVICE, c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
    (code::INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    (code::INVALID_IMAGE, c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
    (code::INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    (
        209,
        c"CUDA_ERROR_NO_BINARY_FOR_GPU",
        c"no kernel image is available for execution on the device",
    ),
    (code::INVALID_PTX, c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
    (
        code::UNSUPPORTED_PTX_VERSION,
        c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        c"the provided PTX was compiled with an unsupported toolchain.",
    ),
    (code::FILE_NOT_FOUND, c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found"),
    (code::INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    (code::NOT_FOUND, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
    (code::NOT_READY, c"CUDA_ERROR_NOT_READY", c"device not ready"),
    (
        code::ILLEGAL_ADDRESS,
        c"CUDA_ERROR_ILLEGAL_ADDRESS",
        c"an illegal memory access was encountered",
    ),
    (
        code::LAUNCH_OUT_OF_RESOURCES,
        c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        c"too many resources requested for launch",
    ),
    (
        code::LAUNCH_TIMEOUT,
        c"CUDA_ERROR_LAUNCH_TIMEOUT",
        c"the launch timed out and was terminated",
    ),
    (code::MISALIGNED_ADDRESS, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
    (code::LAUNCH_FAILED, c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
];

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { give_result(error, text, |(_, name, _)| name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { give_result(error, text, |(_, _, sentence)| sentence) }
}

type Named = (Code, &'static std::ffi::CStr, &'static std::ffi::CStr);

/// # Safety
/// `text` is null or can be written.
unsafe fn give_result(
    error: Code,
    text: *mut *const c_char,
    pick: impl Fn(Named) -> &'static std::ffi::CStr,
) -> Code {
    let found = RESULTS.into_iter().find(|(code, ..)| *code == error).map(pick);
    // SAFETY: the caller's promise.
    let given = unsafe { give(text, found.map_or(std::ptr::null(), |found| found.as_ptr())) };
    match (given, found) {
        (Ok(()), Some(_)) => code::SUCCESS,
        _ => code::INVALID_VALUE,
    }
}
