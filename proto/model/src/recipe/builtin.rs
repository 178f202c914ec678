//! The recipes that come with the program.

use super::{Recipe, RecipeError};

/// Names and texts; the paper's recipe comes first and has every key, the others only those that
/// differ. The first line of a text says in a few words what the recipe is.
const RECIPES: [(&str, &str); 7] = [
    ("paper", include_str!("../../recipes/paper.toml")),
    ("original", include_str!("../../recipes/original.toml")),
    ("seed", include_str!("../../recipes/seed.toml")),
    ("caffe", include_str!("../../recipes/caffe.toml")),
    ("demo", include_str!("../../recipes/demo.toml")),
    ("cifar10-relu", include_str!("../../recipes/cifar10-relu.toml")),
    ("cifar10-tanh", include_str!("../../recipes/cifar10-tanh.toml")),
];

impl Recipe {
    /// The names of the built-in recipes, the paper's first.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        RECIPES.iter().map(|(name, _)| *name)
    }

    /// One of the built-in recipes.
    ///
    /// # Errors
    /// [`RecipeError::NoSuchRecipe`] with the names there are, the nearest first.
    pub fn builtin(name: &str) -> Result<Self, RecipeError> {
        Self::from_toml(Self::builtin_text(name)?)
    }

    /// The file of a built-in recipe, with the comments that say where its numbers come from.
    ///
    /// # Errors
    /// [`RecipeError::NoSuchRecipe`] with the names there are, the nearest first.
    pub fn builtin_text(name: &str) -> Result<&'static str, RecipeError> {
        let Some((_, text)) = RECIPES.iter().find(|(known, _)| *known == name) else {
            let mut known: Vec<_> = Self::builtin_names().collect();
            let similarity = |known: &str| strsim::jaro_winkler(known, &name.to_lowercase());
            known.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
            return Err(RecipeError::NoSuchRecipe { name: name.into(), known });
        };
        Ok(text)
    }
}

/// The comment in the first line of a recipe's text.
///
/// `alexnet recipes` shows it; a file of one's own may have one too.
pub fn summary(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix('#').unwrap_or_default().trim()
}

impl Default for Recipe {
    fn default() -> Self {
        toml::from_str(RECIPES[0].1).expect("the paper's recipe is complete: a test reads it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_recipe_loads_under_its_own_name() {
        for name in Recipe::builtin_names() {
            let recipe = Recipe::builtin(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(recipe.name, name);
        }
    }

    #[test]
    fn every_builtin_recipe_has_a_summary_of_one_short_line() {
        for (name, text) in RECIPES {
            let summary = summary(text);
            assert!((10..=80).contains(&summary.len()), "{name}: {summary:?}");
            let ends = summary.ends_with(['.', ',', ':', ';']) || summary.contains(". ");
            assert!(!ends, "{name}: {summary:?} is a heading");
        }
        assert_eq!(summary("name = \"mine\"\n# later"), "");
    }

    #[test]
    fn an_unknown_recipe_is_answered_with_the_nearest_names_first() {
        let known = |name| match Recipe::builtin(name) {
            Err(RecipeError::NoSuchRecipe { known, .. }) => known,
            other => panic!("{other:?}"),
        };
        assert_eq!(known("papre")[0], "paper");
        assert_eq!(known("Original")[0], "original");
        assert!(known("cifar10")[0].starts_with("cifar10-"));
        assert_eq!(known("x").len(), 7);
    }

    /// A recipe that repeats the paper's value hides what it changes.
    #[test]
    fn the_other_recipes_say_only_what_differs_from_the_paper() {
        let paper: toml::Table = RECIPES[0].1.parse().unwrap();
        for (name, text) in &RECIPES[1..] {
            for (key, value) in text.parse::<toml::Table>().unwrap() {
                assert_ne!(paper[&key], value, "{name}: {key}");
            }
        }
    }
}
