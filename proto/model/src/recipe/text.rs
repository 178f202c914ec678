//! Conversion between recipes and text: TOML, and `key=value` assignments.

use toml::{Table, Value};

use super::{Recipe, RecipeError};

/// Names that other programs use, for hints: by spelling alone, `lr` would be nearest to `lrn`.
const FOREIGN_NAMES: [(&str, &str); 4] =
    [("lr", "rate"), ("wd", "decay"), ("mirror", "flip"), ("norm", "lrn")];

/// Keys whose value is a list of layers. The other lists are of whole numbers.
const LISTS_OF_LAYERS: [&str; 2] = ["without", "unlinked"];

impl Recipe {
    /// Reads a recipe; missing keys have the paper's values, a missing name is `custom`.
    ///
    /// A table (`biases`, `weight_stds`) replaces the paper's as a whole.
    ///
    /// # Errors
    /// [`RecipeError`] on unknown keys and impossible values.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let written: Table = text.parse().map_err(|e| RecipeError::Toml(format!("{e}")))?;
        let mut recipe = Self { name: "custom".into(), ..Self::default() };
        for (key, value) in written {
            recipe.put(&key, value)?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Writes all keys, so that [`Recipe::from_toml`] returns the same recipe.
    ///
    /// # Panics
    /// If an integer is above 2⁶³ − 1, the largest of TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers that TOML has")
    }

    /// Applies `key=value` assignments in order, then checks the whole recipe.
    ///
    /// # Errors
    /// [`RecipeError`] on unknown keys and impossible values; the recipe must not be used then.
    pub fn set_all<S: AsRef<str>>(
        &mut self,
        assignments: impl IntoIterator<Item = S>,
    ) -> Result<(), RecipeError> {
        for assignment in assignments {
            self.set(assignment.as_ref())?;
        }
        self.check()
    }

    /// Changes one value: `batch=64`, `lrn=none`, `rate_epochs=[25, 51]`, `weight_stds.conv3=0.03`.
    ///
    /// Text needs no quotes, and a list of one layer no brackets: `without=conv4`. Only key and
    /// type are checked, because `schedule=epochs` makes sense only with `rate_epochs`: call
    /// [`Recipe::check`] after the last assignment.
    ///
    /// # Errors
    /// [`RecipeError`] on text that isn't an assignment, unknown keys and values of a wrong type.
    pub fn set(&mut self, assignment: &str) -> Result<(), RecipeError> {
        let (key, value) = assignment
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| RecipeError::NotAnAssignment(assignment.into()))?;
        self.put(
            key,
            parsed(value, matches!(self.table_of_keys().get(key), Some(Value::String(_)))),
        )
    }

    fn put(&mut self, key: &str, value: Value) -> Result<(), RecipeError> {
        let mut keys = self.table_of_keys();
        let written = value.to_string();
        let layers = LISTS_OF_LAYERS.contains(&key);
        let value = if layers { list_of_words(value) } else { value };
        let wrong = |allowed: &str| RecipeError::Value {
            key: key.into(),
            value: written.clone(),
            allowed: allowed.into(),
        };
        let slot = match key.split_once('.') {
            None => keys.get_mut(key),
            Some((of, layer)) => keys
                .get_mut(of)
                .and_then(Value::as_table_mut)
                .map(|by_layer| by_layer.entry(layer).or_insert(Value::Float(0.0))),
        };
        let Some(slot) = slot else {
            let nearest = nearest(key, &self.table_of_keys());
            return Err(RecipeError::UnknownKey { key: key.into(), nearest });
        };
        let allowed = if layers { not_layers(&value) } else { type_mismatch(slot, &value) };
        if let Some(allowed) = allowed {
            return Err(wrong(allowed));
        }
        *slot = value;
        *self = keys.try_into().map_err(|e: toml::de::Error| wrong(&words_of(e.message())))?;
        Ok(())
    }

    /// The recipe as a TOML table, which also lists all keys and their types.
    fn table_of_keys(&self) -> Table {
        Table::try_from(self).expect("numbers that TOML has")
    }
}

/// Parses the value of an assignment: TOML, or otherwise plain text.
fn parsed(value: &str, as_text: bool) -> Value {
    match value.parse::<Value>() {
        Ok(text @ Value::String(_)) => text,
        Ok(other) if !as_text => other,
        // `.5` and `5.` are not valid TOML, but people type them.
        Err(_) if !as_text && value.parse().is_ok_and(f64::is_finite) => {
            Value::Float(value.parse().unwrap_or_default())
        }
        _ => Value::String(value.into()),
    }
}

/// The list in text such as `conv4` or `[conv3, conv4]`; other values as they are.
fn list_of_words(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
            let words = inner.split(',').map(|word| Value::String(word.trim().into()));
            Value::Array(words.collect())
        }
        other => other,
    }
}

/// Describes the type that a list of layers must have, if `value` has another one.
fn not_layers(value: &Value) -> Option<&'static str> {
    let layers = value.as_array().is_some_and(|words| words.iter().all(Value::is_str));
    (!layers).then_some("a list of layers, such as [conv3, conv4]")
}

/// Describes the type that is needed in place of `old`, if `new` has another one.
fn type_mismatch(old: &Value, new: &Value) -> Option<&'static str> {
    let number = |v: &Value| v.is_float() || v.is_integer();
    let count = |v: &Value| v.as_integer().is_some_and(|n| n >= 0);
    let (fits, allowed) = match old {
        Value::Float(_) => (number(new), "a number"),
        Value::Integer(_) => (count(new), "a whole number, 0 or more"),
        Value::Boolean(_) => (new.is_bool(), "true or false"),
        Value::String(_) | Value::Datetime(_) => (new.is_str(), "a word"),
        Value::Array(_) => (
            new.as_array().is_some_and(|numbers| numbers.iter().all(count)),
            "a list of whole numbers, such as [25, 51]",
        ),
        Value::Table(_) => (
            new.as_table().is_some_and(|by_layer| by_layer.values().all(number)),
            "numbers by layer, such as {conv2 = 1.0, fc6 = 0.1}",
        ),
    };
    (!fits).then_some(allowed)
}

/// The choices in the parser's "unknown variant `x`, expected one of `a`, `b`".
fn words_of(message: &str) -> String {
    message.split_once("expected ").map_or(message, |(_, choices)| choices).replace('`', "")
}

/// The known key that is most similar to `key`; a key with a dot names a layer in a table.
fn nearest(key: &str, known: &Table) -> String {
    let key = key.to_lowercase();
    let (key, dotted) = key.split_once('.').map_or((key.as_str(), false), |(of, _)| (of, true));
    if let Some((_, ours)) = FOREIGN_NAMES.iter().find(|(theirs, _)| *theirs == key) {
        return (*ours).into();
    }
    // A known key inside the unknown one (`batch_size`, `learning_rate`) beats any similarity.
    let similarity = |known: &str| match key.contains(known) {
        true => 1.0 + known.len() as f64,
        false => strsim::normalized_damerau_levenshtein(known, key),
    };
    let candidates = known.iter().filter(|(_, value)| !dotted || value.is_table());
    candidates
        .map(|(known, _)| known)
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
