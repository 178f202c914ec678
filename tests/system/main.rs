//! Processes together.

mod step; // the step is right: against PyTorch, halves against the whole
