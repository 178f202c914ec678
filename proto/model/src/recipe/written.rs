//! Changes of a recipe written into its text, so that the comments stay.

use toml::{Table, Value};

use super::Recipe;

impl Recipe {
    /// The text of a recipe file with this recipe's values in it; reading it gives this recipe.
    ///
    /// The lines of keys that have other values in `text` are replaced, and keys that `text` does
    /// not have are added at its end. All other lines, comments among them, stay. If `text` is laid
    /// out in a way that makes this impossible, the result has all keys and no comments.
    pub fn written_into(&self, text: &str) -> String {
        let written = self.edited(text);
        match Self::from_toml(&written) {
            Ok(read) if read == *self => written,
            _ => self.to_toml(),
        }
    }

    fn edited(&self, text: &str) -> String {
        let Ok(before) = Self::from_toml(text) else { return String::new() };
        let (old, new) = (before.values(), self.values());
        let mut changed: Table = new.into_iter().filter(|(k, v)| old.get(k) != Some(v)).collect();
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines() {
            let key = line.split_once('=').map(|(key, _)| key.trim().to_owned());
            match key.and_then(|key| Some((changed.remove(&key)?, key))) {
                Some((value, key)) => lines.push(format!("{key} = {}", inline(&value))),
                None => lines.push(line.to_owned()),
            }
        }
        if !changed.is_empty() {
            lines.push("\n# Changed.".into());
        }
        lines.extend(changed.iter().map(|(key, value)| format!("{key} = {}", inline(value))));
        lines.join("\n") + "\n"
    }

    fn values(&self) -> Table {
        Table::try_from(self).expect("numbers that TOML has")
    }
}

/// A value on one line, as the built-in recipes write it.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(by_layer) if !by_layer.is_empty() => {
            let pairs = by_layer.iter().map(|(layer, value)| format!("{layer} = {value}"));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> &'static str {
        Recipe::builtin_text(name).unwrap()
    }

    #[test]
    fn every_builtin_recipe_is_printed_as_it_is_and_reads_as_itself() {
        for name in Recipe::builtin_names() {
            let recipe = Recipe::builtin(name).unwrap();
            let written = recipe.written_into(text(name));
            assert_eq!(written.trim_end(), text(name).trim_end());
            assert_eq!(Recipe::from_toml(&written).unwrap(), recipe, "{name}");
        }
    }

    #[test]
    fn changes_of_every_kind_of_value_are_in_the_text_and_the_comments_stay() {
        let changes = [
            "name=mine",
            "dropout=0",
            "lrn=none",
            "flip=false",
            "batch=64",
            "rate_epochs=[3, 5]",
            "weight_stds.conv3=0.03",
            "biases={}",
            "schedule=epochs",
            "init=fan-in",
        ];
        for name in Recipe::builtin_names().filter(|name| !name.starts_with("cifar10")) {
            let mut recipe = Recipe::builtin(name).unwrap();
            recipe.set_all(changes).unwrap();
            let written = recipe.written_into(text(name));
            assert_eq!(Recipe::from_toml(&written).unwrap(), recipe, "{name}:\n{written}");
            assert!(written.starts_with(text(name).lines().next().unwrap()), "{name}");
            let comments = |text: &str| text.lines().filter(|l| l.starts_with('#')).count();
            assert!(comments(&written) >= comments(text(name)), "{name}:\n{written}");
        }
    }

    #[test]
    fn a_layout_that_lines_cannot_change_gives_all_keys() {
        let own = "name = \"mine\"\nrate_epochs = [\n  3,\n  5,\n]\nschedule = \"epochs\"\n";
        let mut recipe = Recipe::from_toml(own).unwrap();
        assert_eq!(recipe.written_into(own), own);
        recipe.set_all(["rate_epochs=[7]"]).unwrap();
        let written = recipe.written_into(own);
        assert_eq!(Recipe::from_toml(&written).unwrap(), recipe);
        let table = "name = \"mine\"\n[biases]\nconv2 = 0.5\n";
        let mut recipe = Recipe::from_toml(table).unwrap();
        recipe.set_all(["biases.conv2=0.25", "batch=7"]).unwrap();
        assert_eq!(Recipe::from_toml(&recipe.written_into(table)).unwrap(), recipe);
    }
}
