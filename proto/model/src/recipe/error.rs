//! The errors of recipes.

use crate::shape::ShapeError;

/// A recipe that can't be used; every message says what is allowed instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// Text that isn't TOML.
    #[error("not a recipe: {0}")]
    Toml(String),
    /// A name that no built-in recipe has.
    #[error("no built-in recipe is called {name:?}; there are {}", known.join(", "))]
    NoSuchRecipe {
        /// The requested name.
        name: String,
        /// All built-in names, the nearest first.
        known: Vec<&'static str>,
    },
    /// A key that recipes don't have.
    #[error("a recipe has no key {key:?}: did you mean {nearest:?}?")]
    UnknownKey {
        /// The unknown key.
        key: String,
        /// The most similar key.
        nearest: String,
    },
    /// A `--set` that isn't `key=value`.
    #[error("{0:?} changes nothing: write key=value, such as dropout=0")]
    NotAnAssignment(String),
    /// A value of the wrong type, or outside what is possible.
    #[error("{key} = {value} is impossible: it must be {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The value that was given.
        value: String,
        /// The values that are allowed, in words.
        allowed: String,
    },
    /// A layer that the recipe's network doesn't have.
    #[error(
        "{key}.{layer}: the network has no layer {layer:?}; its layers are {}",
        layers.join(", ")
    )]
    NoSuchLayer {
        /// A key whose value is a table, such as `biases`.
        key: &'static str,
        /// The unknown layer.
        layer: String,
        /// All layers of the network.
        layers: Vec<&'static str>,
    },
    /// Sizes that make no network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
