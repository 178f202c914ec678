//! The descriptions of experiments: what is trained, what is measured, what the paper says.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::recipe;

/// The built-in experiments, in the order of the paper.
const BUILT_IN: [(&str, &str); 8] = [
    ("figure-1", include_str!("../../../experiments/figure-1.toml")),
    ("table-1", include_str!("../../../experiments/table-1.toml")),
    ("table-2", include_str!("../../../experiments/table-2.toml")),
    ("views", include_str!("../../../experiments/views.toml")),
    ("cifar10-normalization", include_str!("../../../experiments/cifar10-normalization.toml")),
    ("ablations", include_str!("../../../experiments/ablations.toml")),
    ("figure-3", include_str!("../../../experiments/figure-3.toml")),
    ("figure-4", include_str!("../../../experiments/figure-4.toml")),
];

/// An experiment of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Experiment {
    /// The comparison, as a headline.
    pub title: String,
    /// Part of the paper, such as `Figure 1`.
    pub part: String,
    /// The paper's claim, in a sentence.
    pub paper: String,
    /// The same in the logs that the authors published later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// Pictures that it needs, in words.
    pub pictures: String,
    /// Time that it takes, in words.
    pub cost: String,
    /// Recipe of all variants, unless they have their own.
    pub recipe: String,
    /// Changes of the recipe for all variants.
    #[serde(default)]
    pub set: Vec<String>,
    /// Epochs of each training, at most.
    pub epochs: u64,
    /// Seeds: each variant is trained once per seed.
    pub seeds: Vec<u64>,
    /// The measurement.
    pub measure: Measure,
    /// The trainings.
    pub variants: Vec<Variant>,
    /// `measure = "errors"`: pictures that are measured, `val` or `test`.
    #[serde(default = "val")]
    pub split: String,
    /// `measure = "errors"`: the rows of the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
    /// `measure = "drawings"`: the drawings of the first variant's run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drawings: Vec<Drawing>,
}

/// The measurement of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    /// Epochs until the training error is at most this fraction. Trainings end there.
    EpochsToError(f64),
    /// The validation error after the last epoch, and its difference to that of the first variant.
    Differences,
    /// Errors of single networks and of several together, in one view or in ten.
    Errors,
    /// Pictures of a trained network.
    Drawings,
}

/// One of the trainings that an experiment compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Variant {
    /// Name in the report and of run directories.
    pub name: String,
    /// Recipe, if it is not that of the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Changes of the recipe.
    #[serde(default)]
    pub set: Vec<String>,
    /// Changes of which the best is looked for, with the first seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Vec<String>>,
    /// Variant whose weights this one starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// True if it is trained on the pictures of `--pretraining`.
    #[serde(default)]
    pub pretraining: bool,
    /// Number of seeds, if it has fewer than the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<usize>,
    /// Difference of the top-1 error to that of the first variant in the paper, in points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<f64>,
    /// The same in the authors' logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<f64>,
}

/// A row of a table of errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Row {
    /// Name in the report.
    pub name: String,
    /// Networks, as many of each variant.
    pub of: Vec<Networks>,
    /// True to average the networks' probabilities, false to average their errors.
    #[serde(default)]
    pub together: bool,
    /// Views of each picture.
    pub views: u32,
    /// Errors in the paper, such as `40.7 / 18.2`.
    #[serde(default)]
    pub paper: String,
    /// Errors in the authors' logs.
    #[serde(default)]
    pub authors: String,
}

/// Some networks of one variant: those of its first seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Networks {
    /// Name of the variant.
    pub variant: String,
    /// Number of networks.
    pub seeds: usize,
}

/// A drawing that another command of this program makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drawing {
    /// Name of the file.
    pub file: String,
    /// The command: `{run}`, `{file}` and `{pictures}` stand for paths,
    /// `{devices}` for the options of the devices.
    pub command: String,
    /// A sentence that says what to look for.
    pub caption: String,
}

/// One training: a variant, perhaps with one of its candidates, and a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Training<'a> {
    /// The variant.
    pub variant: &'a Variant,
    /// Number of the candidate, from 0.
    pub candidate: Option<usize>,
    /// The seed.
    pub seed: u64,
}

fn val() -> String {
    "val".into()
}

impl Experiment {
    /// Names and texts of the built-in experiments.
    pub(super) fn built_in() -> impl Iterator<Item = (&'static str, Result<Self>)> {
        BUILT_IN.into_iter().map(|(name, text)| (name, Self::parse(text)))
    }

    /// A built-in experiment, or one in a file, and its name.
    ///
    /// # Errors
    /// If there is none of this name, or the file is not a description.
    pub(super) fn load(name: &str) -> Result<(String, Self)> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Ok((name.to_owned(), Self::parse(text)?));
        }
        let known: Vec<_> = BUILT_IN.iter().map(|(known, _)| *known).collect();
        ensure!(
            name.ends_with(".toml"),
            "there is no experiment {name:?}: give one of {}, or a file that ends in .toml",
            known.join(", ")
        );
        let text =
            std::fs::read_to_string(name).with_context(|| format!("{name} can't be read"))?;
        let experiment = Self::parse(&text).with_context(|| format!("{name} can't be used"))?;
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((stem, experiment))
    }

    /// Reads a description.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let experiment: Self = toml::from_str(text)?;
        experiment.check()?;
        Ok(experiment)
    }

    /// Checks what can be checked before hours of training.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.seeds.is_empty(), "it has no seeds");
        ensure!(
            matches!(&*self.split, "val" | "test" | "train"),
            "the split is {:?}: it must be val, test or train",
            self.split
        );
        ensure!(!self.variants.is_empty(), "it has no variants");
        let mut names = BTreeSet::new();
        for variant in &self.variants {
            let name = &variant.name;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            ensure!(
                !name.is_empty() && name.chars().all(plain) && !name.starts_with(['-', '.']),
                "a variant is called {name:?}, which can't name a folder: use a-z, 0-9, - and ."
            );
            ensure!(names.insert(name), "two variants are called {name}");
            if let Some(from) = &variant.from {
                ensure!(
                    names.contains(from) && from != name,
                    "{name} starts from {from}, which is no variant above it"
                );
                let enough = self.seeds_of(self.variant(from)?) >= self.seeds_of(variant);
                ensure!(enough, "{name} has more seeds than {from}, from which it starts");
            }
            let none = [Vec::new()];
            let candidates =
                if variant.candidates.is_empty() { &none } else { &*variant.candidates };
            for candidate in candidates {
                let sets = self.sets(variant, candidate);
                recipe::load(self.recipe(variant), &sets)
                    .with_context(|| format!("the recipe of {name} can't be used"))?;
            }
        }
        let searches = self.variants.iter().any(|variant| !variant.candidates.is_empty());
        match self.measure {
            Measure::EpochsToError(error) => {
                ensure!(error > 0.0 && error < 1.0, "the error {error} is no fraction");
            }
            _ if searches => bail!("only epochs-to-error looks for the best of candidates"),
            Measure::Errors => ensure!(!self.rows.is_empty(), "it measures errors and has no rows"),
            Measure::Drawings => ensure!(!self.drawings.is_empty(), "it has no drawings"),
            Measure::Differences => {}
        }
        ensure!(self.epochs > 0, "no epochs");
        let seeds: BTreeSet<_> = self.seeds.iter().collect();
        ensure!(seeds.len() == self.seeds.len(), "a seed stands twice in {:?}", self.seeds);
        let mut folders = BTreeSet::new();
        for variant in &self.variants {
            for candidate in 0..variant.candidates.len().max(1) {
                let candidate = (!variant.candidates.is_empty()).then_some(candidate);
                for training in self.trainings(variant, candidate) {
                    let name = training.name();
                    ensure!(!folders.contains(&name), "two trainings have the folder {name}");
                    folders.insert(name);
                }
            }
            if let Some(from) = &variant.from {
                ensure!(
                    self.variant(from)?.candidates.is_empty(),
                    "{} starts from {from}, of which there are several candidates",
                    variant.name
                );
            }
        }
        for row in &self.rows {
            ensure!(!row.of.is_empty(), "the row {} has no networks", row.name);
            ensure!(matches!(row.views, 1 | 10), "{} views, expected 1 or 10", row.views);
        }
        for networks in self.rows.iter().flat_map(|row| &row.of) {
            let there = self.seeds_of(self.variant(&networks.variant)?);
            ensure!(
                (1..=there).contains(&networks.seeds),
                "a row has {} networks of {}, of which there are {there}",
                networks.seeds,
                networks.variant
            );
        }
        Ok(())
    }

    /// Takes fewer or more seeds. Rows keep to those that there are.
    pub(super) fn with_seeds(&mut self, n: usize) {
        let next = self.seeds.iter().max().map_or(1, |most| most + 1);
        self.seeds.extend(next..next + n as u64);
        self.seeds.truncate(n);
        let mut rows = std::mem::take(&mut self.rows);
        for row in &mut rows {
            let mut fewer = false;
            for networks in &mut row.of {
                let variant = self.variant(&networks.variant);
                let there = variant.map_or(n, |variant| self.seeds_of(variant));
                fewer |= there < networks.seeds;
                networks.seeds = networks.seeds.min(there);
            }
            if fewer {
                let here: usize = row.of.iter().map(|networks| networks.seeds).sum();
                row.name = format!("{} (here {here})", row.name);
            }
        }
        self.rows = rows;
    }

    /// The variant of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn variant(&self, name: &str) -> Result<&Variant> {
        let found = self.variants.iter().find(|variant| variant.name == name);
        found.with_context(|| format!("there is no variant {name:?}"))
    }

    /// Number of seeds of a variant.
    pub(super) fn seeds_of(&self, variant: &Variant) -> usize {
        variant.seeds.map_or(self.seeds.len(), |n| n.min(self.seeds.len()))
    }

    /// The recipe of a variant.
    pub(super) fn recipe<'a>(&'a self, variant: &'a Variant) -> &'a str {
        variant.recipe.as_deref().unwrap_or(&self.recipe)
    }

    /// All changes of the recipe, from general to special.
    pub(super) fn sets(&self, variant: &Variant, candidate: &[String]) -> Vec<String> {
        [&self.set, &variant.set, candidate].into_iter().flatten().cloned().collect()
    }

    /// Returns true if a variant is trained on the pictures of `--pretraining`.
    pub(super) fn pretrains(&self) -> bool {
        self.variants.iter().any(|variant| variant.pretraining)
    }

    /// Returns true if a drawing shows pictures that a person names.
    pub(super) fn takes_pictures(&self) -> bool {
        self.drawings.iter().any(|drawing| drawing.command.contains("{pictures}"))
    }

    /// The trainings of a variant, one per seed.
    pub(super) fn trainings<'a>(
        &'a self,
        variant: &'a Variant,
        candidate: Option<usize>,
    ) -> impl Iterator<Item = Training<'a>> {
        let seeds = self.seeds.iter().take(self.seeds_of(variant));
        seeds.map(move |&seed| Training { variant, candidate, seed })
    }
}

impl Training<'_> {
    /// Name of the run directory.
    pub(super) fn name(&self) -> String {
        let candidate = self.candidate.map_or(String::new(), |n| format!("-{}", n + 1));
        format!("{}{candidate}-seed-{}", self.variant.name, self.seed)
    }

    /// The changes of its candidate.
    pub(super) fn changes(&self) -> &[String] {
        self.candidate.map_or(&[], |n| &self.variant.candidates[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        title = "t"
        part = "p"
        paper = "says"
        pictures = "any"
        cost = "little"
        recipe = "demo"
        epochs = 1
        seeds = [1, 2, 3]
        measure = "differences"
        [[variants]]
        name = "whole"
        [[variants]]
        name = "without"
        set = ["without=conv4"]
    "#;

    #[test]
    fn every_built_in_experiment_can_be_used_with_any_number_of_seeds() {
        for (name, experiment) in Experiment::built_in() {
            let mut experiment = experiment.unwrap_or_else(|error| panic!("{name}: {error:#}"));
            for n in [1, 2, 7] {
                experiment.with_seeds(n);
                experiment.check().unwrap_or_else(|error| panic!("{name}, {n} seeds: {error:#}"));
            }
        }
    }

    #[test]
    fn what_would_fail_after_hours_fails_at_once() {
        Experiment::parse(SMALL).unwrap();
        for (from, to, words) in [
            ("without=conv4", "without=conv9", "the recipe of without can't be used"),
            ("name = \"without\"", "name = \"whole\"", "two variants"),
            ("name = \"whole\"", "name = \"../x\"", "can't name a folder"),
            ("seeds = [1, 2, 3]", "seeds = []", "no seeds"),
            ("\"differences\"", "\"errors\"", "no rows"),
            ("\"differences\"", "{ epochs-to-error = 25.0 }", "no fraction"),
            ("set = [", "from = \"nobody\"\nset = [", "no variant above it"),
            ("epochs = 1", "epoch = 1", "unknown field `epoch`"),
        ] {
            let text = SMALL.replace(from, to);
            assert_ne!(text, SMALL, "{from}");
            let said = format!("{:#}", Experiment::parse(&text).unwrap_err());
            assert!(said.contains(words), "{to}: {said}");
        }
        let said = Experiment::load("figure-9").unwrap_err().to_string();
        assert!(said.contains("figure-1, table-1"), "{said}");
    }

    #[test]
    fn more_seeds_than_there_are_continue_them() {
        let mut experiment = Experiment::parse(SMALL).unwrap();
        experiment.with_seeds(5);
        assert_eq!(experiment.seeds, [1, 2, 3, 4, 5]);
        experiment.with_seeds(1);
        assert_eq!(experiment.seeds, [1]);
        let training = Training { variant: &experiment.variants[1], candidate: Some(0), seed: 1 };
        assert_eq!(training.name(), "without-1-seed-1");
    }
}
