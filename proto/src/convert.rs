//! The only conversions between wire types and the model's, in both directions, checked.

use model::halves::{Half, Partition};
use model::recipe::Recipe;

use crate::wire;

/// A message that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A required field is missing.
    #[error("{message} without its {field}")]
    Missing {
        /// Name of the message.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// A value is outside its range.
    #[error("{message}.{field}: {why}")]
    Invalid {
        /// Name of the message.
        message: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Reason for the refusal.
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
/// [`ConvertError`] if the number names no partition.
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

/// The recipe that a `Begin` carries.
///
/// # Errors
/// [`ConvertError`] if the text is no valid recipe.
pub fn recipe(toml: &str) -> Result<Recipe, ConvertError> {
    Recipe::from_toml(toml).map_err(|e| ConvertError::Invalid {
        message: "Begin",
        field: "recipe",
        why: e.to_string(),
    })
}
