//! Processes together.

mod resume; // the same bits, whatever happens
mod step; // the step is right: against PyTorch, halves against the whole
