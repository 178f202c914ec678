//! A CUDA driver (`libcuda.so`) without a GPU, for tests: it runs PTX on the CPU and judges what it
//! runs.
//!
//! Programs need no change: they load this library as their driver, by [`install`] in a test's own
//! process or through the [`folder`] that child processes have in `LD_LIBRARY_PATH`. The variable
//! [`NAME`] holds the [`Settings`], such as the number of devices and the seed of all orders.
//!
//! The emulator reports accesses out of bounds, reads of memory that was never written, races
//! (between threads, blocks and streams), barriers that not all threads reach, and code that it
//! does not understand. Each report names kernel, block, thread and line of PTX. Results are
//! bitwise those of a GPU except for NaN payloads and approximations; times mean nothing. README.md
//! has the details.

#![expect(unsafe_code, reason = "a driver is called through C and reads the memory it is told to")]

mod settings; // settings, and their form in the environment
mod ptx; // PTX text → statements
mod program; // the form of a kernel that the interpreter runs
mod lower; // statements → program
mod lanes; // registers, and operations over 32 lanes
mod operations; // the function of each opcode on a lane
mod memory; // allocations, and the accesses to them
mod shared; // shared memory and its races
mod run; // the interpreter
mod driver; // the calls of the driver API
mod library; // installing the driver, for tests
mod places; // paths that tests use
mod tools; // NVRTC for tests

pub use library::{folder, install, library};
pub use places::{kernel_cache, program, root, scratch};
pub use settings::{NAME, Settings};
pub use tools::{Nvrtc, is_real, nvrtc, only_emulated, tools, tools_13};
