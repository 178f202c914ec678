//! Wire ⇄ model, both ways, checked; nowhere else.

use model::halves::{Cut, Half};
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

impl From<Cut> for wire::Part {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Whole => wire::Part::Whole,
            Cut::Half(Half::A) => wire::Part::HalfA,
            Cut::Half(Half::B) => wire::Part::HalfB,
        }
    }
}

/// The part of the network a message names.
///
/// # Errors
/// [`ConvertError`] if it names none.
pub fn cut(part: i32) -> Result<Cut, ConvertError> {
    match wire::Part::try_from(part) {
        Ok(wire::Part::Whole) => Ok(Cut::Whole),
        Ok(wire::Part::HalfA) => Ok(Cut::Half(Half::A)),
        Ok(wire::Part::HalfB) => Ok(Cut::Half(Half::B)),
        Ok(wire::Part::Unspecified) => {
            Err(ConvertError::Missing { message: "Begin", field: "part" })
        }
        Err(_) => Err(ConvertError::Invalid {
            message: "Begin",
            field: "part",
            why: format!("no part has the number {part}"),
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
