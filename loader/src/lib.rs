//! Disk to minibatches: prepares data sets, streams augmented minibatches.
//!
//! Any loader that has the data set answers any request, and always with the same bytes: which
//! picture is where in the endless stream, its crop, flip and color shift are functions of numbers
//! in the request. The loader does not know that the network has halves.
//!
//! ```text
//!   picture files ──prepare──▶ data set ─┐
//!                             synthetic ─┴─▶ source ──shuffle, augment──▶ batch ──serve──▶ worker
//! ```

pub mod batch; // a request → a minibatch; the last few kept, the next one made ahead: start here
pub mod description; // the properties of a data set that a network depends on
pub mod source; // a prepared data set or synthetic pictures, behind one interface
pub mod dataset; // shards on disk, read at random and checked
mod files; // files of a folder, few of them open at a time
pub mod synthetic; // pictures drawn by the program, for machines without data
pub mod statistics; // mean image and color components
pub mod prepare; // picture files in any known layout → a data set
pub mod serve; // the gRPC service, and the loader's membership in a run
pub mod config; // the settings that an operator chooses
mod file_pool; // a bounded number of open files
mod doubt; // reasons to refuse a source
mod error;

pub use config::{Config, DataSpec};
pub use description::{Description, Split};
pub use error::Error;
pub use prepare::prepare;
pub use serve::run;
pub use source::Source;
