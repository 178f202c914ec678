//! A libcuda that runs PTX on the CPU and judges what it runs; for tests only.

#![expect(unsafe_code, reason = "a driver is called through C and reads the memory it is told to")]

mod settings; // what a test may ask for
mod ptx; // text into statements
mod program; // what the interpreter runs
mod lower; // statements into a program
mod lanes; // registers, and operations over 32 lanes
mod operations; // what each opcode does to a lane
mod memory; // allocations and who touched them
mod shared; // shared memory and its races
mod run; // the interpreter
mod driver; // what programs call
mod library; // how a test gets it
mod tools; // NVRTC for tests

pub use library::{folder, install, library};
pub use settings::{NAME, Settings};
pub use tools::{is_real, tools, tools_13};
