//! AlexNet as tables, and everything that follows from them: shapes, parameters, halves, recipes.
//!
//! No I/O, no async, no tensors: what two processes must agree on as *numbers* is here.

pub mod alexnet; // the network as a table, eight layers, top to bottom: start here
pub mod cifar;
pub mod layer;
pub mod shape;
pub mod params;
pub mod halves;
pub mod recipe;
pub mod random;
