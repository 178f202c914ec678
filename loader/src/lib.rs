//! Disk to minibatches: prepares data sets, streams augmented minibatches.
//!
//! Any loader that has the data set answers any request, and always with the same bytes: which
//! picture is where in the endless stream, its crop, flip and color are functions of numbers in
//! the request. Whether there are halves, and how many, is not known here.
//!
//! ```text
//!   people's pictures ──prepare──▶ data set ─┐
//!                                  synthetic ─┴─▶ source ──order, augment──▶ batch ──serve──▶ worker
//! ```

pub mod batch; // a request → a minibatch; the last few kept, the next one made ahead: start here
pub mod order; // which picture is n-th in the endless stream
pub mod augment; // its crop, flip and color shift
pub mod description; // what a network must know about its pictures
pub mod source; // where pictures come from: a prepared data set or made-up ones
pub mod dataset; // shards on disk, read at random and checked
pub mod synthetic; // the same, made up, for machines without pictures
pub mod statistics; // mean image and color components
pub mod picture; // any picture file → a square of pixels
pub mod prepare; // what people have → a data set
pub mod serve; // the service, and its place in a run
pub mod config; // what an operator chooses
mod error;

pub use config::{Config, DataSpec};
pub use description::{Description, Split};
pub use error::Error;
pub use picture::image_file_to_stored;
pub use prepare::prepare;
pub use serve::run;
pub use source::Source;
