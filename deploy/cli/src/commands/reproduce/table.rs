//! Results as a table: Markdown for people, JSON for programs.

use serde::{Serialize, Serializer};

/// A table with a name for each column.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows with as many cells.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Words.
    Text(String),
    /// Numbers of several runs.
    Several(Spread),
    /// A number, rounded to these digits for people.
    Number(f64, usize),
    /// Nothing is known.
    Nothing,
}

/// The mean of several numbers and their spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of one number; none of a single one.
    pub deviation: Option<f64>,
    /// Number of numbers.
    pub n: usize,
}

impl Spread {
    /// Mean and spread of numbers; `None` if there is none.
    pub(super) fn of(numbers: &[f64]) -> Option<Self> {
        let n = numbers.len();
        if n == 0 {
            return None;
        }
        let mean = numbers.iter().sum::<f64>() / n as f64;
        let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
        let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Self { mean, deviation, n })
    }

    /// Standard deviation of the mean; `None` for a single number.
    pub(super) fn error(&self) -> Option<f64> {
        self.deviation.map(|deviation| deviation / (self.n as f64).sqrt())
    }
}

/// A text, a number, an object or null.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(to),
            Self::Several(spread) => spread.serialize(to),
            Self::Number(number, _) => number.serialize(to),
            Self::Nothing => to.serialize_none(),
        }
    }
}

impl Cell {
    /// Words.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number with one digit behind the point, or nothing.
    pub(super) fn tenths(number: Option<f64>) -> Self {
        number.map_or(Self::Nothing, |number| Self::Number(number, 1))
    }

    /// Mean and spread, or nothing.
    pub(super) fn several(numbers: &[f64]) -> Self {
        Spread::of(numbers).map_or(Self::Nothing, Self::Several)
    }

    fn markdown(&self) -> String {
        match self {
            Self::Text(text) => text.replace('|', "\\|"),
            Self::Number(number, digits) => format!("{number:.digits$}"),
            Self::Several(Spread { mean, deviation: None, .. }) => format!("{mean:.1}"),
            Self::Several(Spread { mean, deviation: Some(deviation), .. }) => {
                format!("{mean:.1} ± {deviation:.1}")
            }
            Self::Nothing => String::new(),
        }
    }
}

impl Table {
    /// A table without rows.
    pub(super) fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// The table in Markdown.
    pub(super) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.columns);
        text.push_str(&format!("|{}\n", "---|".repeat(self.columns.len())));
        for row in &self.rows {
            text.push_str(&line(&row.iter().map(Cell::markdown).collect::<Vec<_>>()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample_and_one_number_has_none() {
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.mean, spread.deviation, spread.n), (2.0, Some(1.0), 3));
        assert!((spread.error().unwrap() - 1.0 / 3.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[4.0]).unwrap().deviation, None);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_table_reads_the_same_to_people_and_programs() {
        let mut table = Table::new(&["variant", "error, %", "paper"]);
        table.rows.push(vec![
            Cell::text("a|b"),
            Cell::several(&[10.0, 12.0]),
            Cell::tenths(Some(1.0)),
        ]);
        table.rows.push(vec![Cell::text("c"), Cell::several(&[]), Cell::tenths(None)]);
        assert_eq!(
            table.markdown(),
            "| variant | error, % | paper |\n|---|---|---|\n| a\\|b | 11.0 ± 1.4 | 1.0 |\n| c |  |  |\n"
        );
        let json = serde_json::to_value(&table).unwrap();
        assert_eq!(json["rows"][0][1]["n"], 2);
        assert_eq!(json["rows"][0][2], 1.0);
        assert!(json["rows"][1][2].is_null());
    }
}
