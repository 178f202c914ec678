//! AlexNet as tables, and everything that follows from them: shapes, parameters, halves, recipes.
//!
//! No I/O, no async, no tensors: what two processes must agree on as *numbers* is here.

pub mod alexnet; // the network as a table, eight layers, top to bottom: start here
pub mod cifar; // the paper's network for CIFAR-10, as a table
pub mod layer; // the vocabulary of the tables
pub mod pass; // forward, backward, update
pub mod shape; // the size of every activation
pub mod params; // name, shape and initial values of weights and biases
pub mod halves; // the network cut in two: one plan per process
pub mod recipe; // the numbers of a training run
pub mod random; // random numbers without state
pub mod shuffle; // which picture is n-th in the endless stream
pub mod augment; // crop, flip and color shift of a picture
pub mod images; // the pictures of a minibatch and their crops
