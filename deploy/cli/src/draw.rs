//! Drawings as SVG and PNG.

pub(crate) mod canvas; // files and the embedded font
pub(crate) mod confusion; // the confusion matrix
pub(crate) mod curves; // loss, errors and speed over steps
pub(crate) mod sheet; // pictures with captions
pub(crate) mod step; // one timed step, layer by layer
