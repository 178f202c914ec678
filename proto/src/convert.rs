//! Wire ⇄ model, both ways, checked; nowhere else.

use model::halves::{Half, Partition};
use model::recipe::Recipe;

use crate::wire;

/// A message that doesn't mean anything here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there.
    #[error("{message} without its {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A value outside its range.
    #[error("{message}.{field}: {why}")]
    Invalid {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl From<Partition> for wire::Partition {
    fn from(partition: Partition) -> Self {
        match partition {
            Partition::Whole => wire::Partition::Whole,
            Partition::Half(Half::A) => wire::Partition::HalfA,
            Partition::Half(Half::B) => wire::Partition::HalfB,
        }
    }
}

/// The partition that a message names.
///
/// # Errors
/// [`ConvertError`] if it names none.
pub fn partition(number: i32) -> Result<Partition, ConvertError> {
    match wire::Partition::try_from(number) {
        Ok(wire::Partition::Whole) => Ok(Partition::Whole),
        Ok(wire::Partition::HalfA) => Ok(Partition::Half(Half::A)),
        Ok(wire::Partition::HalfB) => Ok(Partition::Half(Half::B)),
        Ok(wire::Partition::Unspecified) => {
            Err(ConvertError::Missing { message: "Begin", field: "partition" })
        }
        Err(_) => Err(ConvertError::Invalid {
            message: "Begin",
            field: "partition",
            why: format!("no partition has the number {number}"),
        }),
    }
}

/// The recipe an order carries.
///
/// # Errors
/// [`ConvertError`] if it isn't one.
pub fn recipe(toml: &str) -> Result<Recipe, ConvertError> {
    Recipe::from_toml(toml).map_err(|e| ConvertError::Invalid {
        message: "Begin",
        field: "recipe",
        why: e.to_string(),
    })
}
