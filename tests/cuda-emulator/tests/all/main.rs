//! The emulated driver under the unmodified cudarc, and everything it must catch.
#![expect(unsafe_code, reason = "a launch is a promise about its arguments")]

mod device; // a driver with chosen settings, kernels compiled or written by hand
mod arithmetic;
