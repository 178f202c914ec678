//! Processes together.

mod failure; // something is lost in mid-run
mod processes; // `alexnet` as a person runs it
mod resume; // the same bits, whatever happens
mod step; // the step is right: against PyTorch, halves against the whole
