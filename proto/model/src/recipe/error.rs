//! Why a recipe can't be used.

use crate::shape::ShapeError;

/// Why a recipe can't be used; every form says what would do instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// Text that isn't TOML.
    #[error("not a recipe: {0}")]
    Toml(String),
    /// A name that no built-in recipe has.
    #[error("no built-in recipe is called {name:?}; there are {}", known.join(", "))]
    NoSuchRecipe {
        /// What was asked for.
        name: String,
        /// Those there are, the nearest first.
        known: Vec<&'static str>,
    },
    /// A key that recipes don't have.
    #[error("a recipe has no key {key:?}: did you mean {nearest:?}?")]
    UnknownKey {
        /// What was written.
        key: String,
        /// The one most like it.
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
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A layer that the recipe's network doesn't have.
    #[error("{key}.{layer}: the network has no layer {layer:?}; its layers are {}", layers.join(", "))]
    NoSuchLayer {
        /// `weight_stds` or `biases`.
        key: &'static str,
        /// What was written.
        layer: String,
        /// Those there are.
        layers: Vec<&'static str>,
    },
    /// Sizes that make no network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
