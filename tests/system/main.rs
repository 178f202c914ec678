//! Processes together.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed; its helpers too")]

mod deploy; // the image and the compose files
mod stalled; // who is slow, asleep or cut off
mod doctor; // what it says of machines with something amiss
mod disks; // full, read-only, damaged
mod numbers; // a run that blows up
mod failure; // something is lost in mid-run
mod cuda; // workers on GPUs, emulated or real
mod nvrtc; // every way to have it, which is taken, and what it makes
mod kernels; // what their machine code says of speed
mod schedules; // a hundred ways to die
mod processes; // `alexnet` as a person runs it
mod resume; // the same bits, whatever happens
mod step; // the step is right: against PyTorch, halves against the whole
mod hosts; // two hosts train as one
mod strangers; // hostile clients while a run trains
mod frames; // damaged tensors between the halves
mod trust; // who is let in, and what the others are told
mod timing; // where steps go
mod tidy; // the words around the code are true
mod watching; // who watches a run sees what it does

/// The program that these tests start.
fn program() -> &'static str {
    cuda_emulator::program(env!("CARGO_BIN_EXE_alexnet-under-test"))
}
