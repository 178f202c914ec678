//! The emulated driver under the unmodified cudarc, and everything it must catch: each fault in a
//! kernel that is wrong in one place, and silence about the same kernel put right.
#![expect(unsafe_code, reason = "a launch is a promise about its arguments")]
#![expect(clippy::unwrap_used, reason = "what tests call is as much a test as they are")]

mod device; // a driver with chosen settings, kernels compiled or written by hand
mod loading;
mod machine;
mod global;
mod shared;
mod granted; // how much shared memory
mod copies; // cp.async
mod streams;
mod lifetimes; // of memory, over streams
mod events;
mod blocks; // races between them, and atomics
mod warps;
mod paths; // divergence
mod counters;
mod order; // seeds
mod tensor;
mod fronts; // of the compiler
mod opcodes;
mod floats;
mod convert;
mod arithmetic;
