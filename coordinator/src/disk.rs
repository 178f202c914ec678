//! Files of a run that must survive a crash: the run directory, its checkpoints, and the shards
//! that workers store and fetch.

pub mod run_dir; // recipe, record and mean image of a run; its lock
pub mod checkpoint; // shards and manifest of one step
pub(crate) mod data_set; // what a run knows of its pictures
pub(crate) mod store; // shards in and out, over gRPC
pub mod format; // the number of each file's format
pub(crate) mod durable; // files that are whole or absent
