//! The emulated driver under the unmodified cudarc, and everything it must catch: each fault in a
//! kernel that is wrong in one place, and silence about the same kernel put right.
#![expect(unsafe_code, reason = "a launch is a promise about its arguments")]

mod device; // a driver with chosen settings, kernels compiled or written by hand
mod loading;
mod machine;
mod global;
mod shared;
mod copies;
mod streams;
mod blocks;
mod warps;
mod counters;
mod order;
mod tensor;
mod fronts;
mod opcodes;
mod floats;
mod convert;
mod arithmetic;
