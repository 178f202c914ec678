//! Calls about modules and kernels.

use super::calls_device::{give, most_shared};
use super::queue::{Launching, Work};
use super::{Code, Driver, Function, Module, Result, code, in_context, report};
use crate::lower::{Symbols, lower};
use crate::ptx::{Space, module};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

/// Dynamic shared memory a kernel may have without asking for more.
const UNASKED_SHARED: usize = 49_152;

impl Driver {
    fn load(&mut self, text: &str, device: usize) -> Result<u64> {
        let refuse = |why: String| {
            report::say(&format!("module refused: {why}"));
            code::INVALID_PTX
        };
        // First of all: what is newer need not be understood.
        let (version, newest) =
            (module::version_of(text).map_err(refuse)?, self.settings.ptx_version);
        if version > newest {
            report::say(&format!("module refused: PTX version {version}, {newest} is the newest"));
            return Err(code::UNSUPPORTED_PTX_VERSION);
        }
        let parsed = module::parse(text).map_err(refuse)?;
        if parsed.arch > self.settings.arch {
            return Err(refuse(format!(
                "it is for sm_{}, this is sm_{}",
                parsed.arch, self.settings.arch
            )));
        }
        let mut symbols = Symbols::new();
        let mut globals = HashMap::new();
        for variable in &parsed.variables {
            let mut at = 0;
            if matches!(variable.space, Space::Global | Space::Const) {
                let allocation =
                    self.memory.allocate(device, variable.size).ok_or(code::OUT_OF_MEMORY)?;
                at = allocation.start;
                for (i, byte) in variable.initial.iter().take(variable.size).enumerate() {
                    // SAFETY: just allocated with `size` bytes; what is not given stays zero.
                    unsafe { (at as *mut u8).add(i).write(*byte) };
                }
                allocation.set_written(0, variable.size);
                globals.insert(variable.name.clone(), allocation);
            } else if variable.space == Space::Shared {
                return Err(refuse(format!(
                    "{}: shared memory outside of a kernel",
                    variable.name
                )));
            }
            symbols.insert(variable.name.clone(), (variable.space, at));
        }
        let lowered = parsed.kernels.iter().map(|kernel| {
            lower(kernel, &symbols).map(|program| (kernel.name.clone(), Arc::new(program)))
        });
        let programs = lowered.collect::<std::result::Result<_, String>>().map_err(refuse)?;
        let handle = self.handle();
        self.modules.insert(handle, Module { programs, globals, text: text.into() });
        Ok(handle)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(to: *mut *mut c_void, image: *const c_void) -> Code {
    in_context(|driver, device| {
        if image.is_null() {
            return Err(code::INVALID_VALUE);
        }
        // SAFETY: an image has at least four bytes, PTX ends with a zero.
        let head = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), 1) };
        if head[0] == 0x7F || head[0] == 0x50 {
            // Machine code, alone or in a fat binary: nothing here could run it.
            return Err(code::INVALID_IMAGE);
        }
        // SAFETY: the caller gives PTX as text that ends with a zero.
        let text =
            unsafe { CStr::from_ptr(image.cast()) }.to_str().map_err(|_| code::INVALID_IMAGE)?;
        let handle = driver.load(text, device)?;
        // SAFETY: the caller's promise.
        unsafe { give(to, std::ptr::without_provenance_mut(handle as usize)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    to: *mut *mut c_void,
    image: *const c_void,
    _n_options: c_uint,
    _options: *mut c_int,
    _values: *mut *mut c_void,
) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuModuleLoadData(to, image) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoad(to: *mut *mut c_void, path: *const c_char) -> Code {
    in_context(|driver, device| {
        // SAFETY: the caller gives a path that ends with a zero.
        let path = unsafe { CStr::from_ptr(path) }.to_str().map_err(|_| code::INVALID_VALUE)?;
        let bytes = std::fs::read(path).map_err(|_| code::FILE_NOT_FOUND)?;
        let text = String::from_utf8(bytes).map_err(|_| code::INVALID_IMAGE)?;
        let handle = driver.load(&text, device)?;
        // SAFETY: the caller's promise.
        unsafe { give(to, std::ptr::without_provenance_mut(handle as usize)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: *mut c_void) -> Code {
    in_context(|driver, device| {
        driver.finish_all(Some(device))?;
        let module = driver.modules.remove(&(module.addr() as u64)).ok_or(code::INVALID_HANDLE)?;
        for allocation in module.globals.values() {
            driver.records.remove(&allocation.start);
            driver.memory.free(allocation.start);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    to: *mut *mut c_void,
    module: *mut c_void,
    name: *const c_char,
) -> Code {
    in_context(|driver, device| {
        let module = driver.modules.get(&(module.addr() as u64)).ok_or(code::INVALID_HANDLE)?;
        // SAFETY: the caller gives a name that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| code::NOT_FOUND)?;
        let program = module.programs.get(name).ok_or(code::NOT_FOUND)?.clone();
        let function =
            Function { program, text: module.text.clone(), device, dynamic_shared: UNASKED_SHARED };
        let handle = driver.handle();
        driver.functions.insert(handle, function);
        // SAFETY: the caller's promise.
        unsafe { give(to, std::ptr::without_provenance_mut(handle as usize)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetGlobal_v2(
    to: *mut u64,
    len: *mut usize,
    module: *mut c_void,
    name: *const c_char,
) -> Code {
    in_context(|driver, _| {
        let module = driver.modules.get(&(module.addr() as u64)).ok_or(code::INVALID_HANDLE)?;
        // SAFETY: the caller gives a name that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| code::NOT_FOUND)?;
        let allocation = module.globals.get(name).ok_or(code::NOT_FOUND)?;
        for (wanted, value) in [(to, allocation.start), (len.cast(), allocation.len as u64)] {
            if !wanted.is_null() {
                // SAFETY: the caller's promise; a usize has 64 bits where this driver runs.
                unsafe { give(wanted, value)? };
            }
        }
        Ok(())
    })
}

fn with_function(
    function: *mut c_void,
    call: impl FnOnce(&mut Function, u32) -> Result<()>,
) -> Code {
    in_context(|driver, _| {
        let arch = driver.settings.arch;
        call(driver.functions.get_mut(&(function.addr() as u64)).ok_or(code::INVALID_HANDLE)?, arch)
    })
}

fn most_threads(function: &Function) -> u32 {
    if function.program.max_threads == 0 { 1024 } else { function.program.max_threads }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(
    to: *mut c_int,
    attribute: c_int,
    function: *mut c_void,
) -> Code {
    with_function(function, |function, arch| {
        let value = match attribute {
            0 => most_threads(function) as c_int,
            1 => function.program.static_shared as c_int,
            3 => function.program.local as c_int,
            // Registers are given out by ptxas, which is not here; a number that never limits.
            4 => 32,
            2 | 7 | 9 => 0,
            5 | 6 => arch as c_int,
            8 => function.dynamic_shared as c_int,
            _ => return Err(code::INVALID_VALUE),
        };
        // SAFETY: the caller's promise.
        unsafe { give(to, value) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(function: *mut c_void, attribute: c_int, value: c_int) -> Code {
    with_function(function, |function, arch| {
        let value = usize::try_from(value).map_err(|_| code::INVALID_VALUE)?;
        match attribute {
            8 if value + function.program.static_shared <= most_shared(arch) => {
                function.dynamic_shared = value
            }
            9 => {}
            _ => return Err(code::INVALID_VALUE),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(function: *mut c_void, _config: c_int) -> Code {
    with_function(function, |_, _| Ok(()))
}

/// Limited by threads and shared memory, as on hardware; by registers only there.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    to: *mut c_int,
    function: *mut c_void,
    block: c_int,
    dynamic_shared: usize,
) -> Code {
    with_function(function, |function, arch| {
        let threads = usize::try_from(block).ok().filter(|n| *n > 0).ok_or(code::INVALID_VALUE)?;
        let shared = function.program.static_shared + dynamic_shared + 1024;
        let blocks =
            (2048 / threads.next_multiple_of(32)).min((most_shared(arch) + 1024) / shared).min(32);
        // SAFETY: the caller's promise.
        unsafe { give(to, blocks as c_int) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    dynamic_shared: c_uint,
    stream: *mut c_void,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Code {
    in_context(|driver, device| {
        let function =
            driver.functions.get(&(function.addr() as u64)).ok_or(code::INVALID_HANDLE)?.clone();
        let stream = driver.stream(stream, device)?;
        if function.device != driver.streams[stream].device {
            return Err(code::INVALID_HANDLE);
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let dynamic_shared = dynamic_shared as usize;
        check_shape(&function, grid, block, dynamic_shared)?;
        if !extra.is_null() || params.is_null() && !function.program.params.is_empty() {
            return Err(code::INVALID_VALUE);
        }
        let mut bytes = vec![0; function.program.param_bytes];
        for (i, param) in function.program.params.iter().enumerate() {
            // SAFETY: the caller gives one pointer a parameter, each to as many bytes as it has.
            let from =
                unsafe { std::slice::from_raw_parts((*params.add(i)).cast::<u8>(), param.size) };
            bytes[param.offset..param.offset + param.size].copy_from_slice(from);
        }
        driver.launches += 1;
        let name: Arc<str> =
            format!("{} (launch {})", function.program.name, driver.launches).into();
        let number = driver.launches;
        let launching = Launching { function, params: bytes, grid, block, dynamic_shared, number };
        driver.issue(stream, name, Work::Launch(Box::new(launching)));
        Ok(())
    })
}

fn check_shape(
    function: &Function,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: usize,
) -> Result<()> {
    let threads = block.iter().map(|n| u64::from(*n)).product::<u64>();
    let empty = grid.iter().chain(&block).any(|n| *n == 0);
    let large = grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 || block[2] > 64;
    if empty || large || threads > 1024 || dynamic_shared > function.dynamic_shared {
        return Err(code::INVALID_VALUE);
    }
    if threads > most_threads(function).into() {
        return Err(code::LAUNCH_OUT_OF_RESOURCES);
    }
    if function.dynamic_shared == UNASKED_SHARED
        && function.program.static_shared + dynamic_shared > UNASKED_SHARED
    {
        return Err(code::INVALID_VALUE);
    }
    Ok(())
}
