//! What the system tests stand on: small recipes, made-up minibatches, golden data.

pub mod cluster; // all roles in this process, over real sockets
pub mod docker; // images and compose projects
pub mod gpu; // the emulated driver, or a real one
pub mod golden; // what an independent implementation computed, and how close is close
pub mod machine_code; // what NVRTC makes of the kernels
pub mod process; // `alexnet up` in real processes
pub mod small; // small networks and pictures
