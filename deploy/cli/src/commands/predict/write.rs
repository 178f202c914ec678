//! Predictions as lines for people, as CSV, or as JSON Lines.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::commands::form::{Format, json_line, record};
use crate::print;

/// The form in which the pictures of one call are written.
#[derive(Debug)]
pub(super) struct Predictions {
    format: Format,
    top: usize,
    classes: Vec<String>,
}

/// A picture in JSON. A path that is not UTF-8 has U+FFFD in place of its odd bytes.
#[derive(Serialize)]
struct Picture<'a> {
    path: std::borrow::Cow<'a, str>,
    predictions: Vec<Prediction<'a>>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    class: &'a str,
    label: usize,
    probability: f32,
}

impl Predictions {
    /// The `top` most probable of these classes, in a form.
    pub(super) fn new(format: Format, top: usize, classes: Vec<String>) -> Self {
        Self { format, top: top.min(classes.len()), classes }
    }

    /// The bytes before the first picture.
    pub(super) fn header(&self) -> Vec<u8> {
        let column = |name: &str, rank: usize| match rank {
            1 => name.to_owned(),
            _ => format!("{name}_{rank}"),
        };
        let ranks = (1..=self.top).flat_map(|n| [column("class", n), column("probability", n)]);
        match self.format {
            Format::Csv => record(std::iter::once("path".to_owned()).chain(ranks)),
            Format::Text | Format::Json => Vec::new(),
        }
    }

    /// One picture.
    pub(super) fn picture(&self, path: &Path, probabilities: &[f32]) -> Vec<u8> {
        let best = best(probabilities, self.top);
        match self.format {
            Format::Text => self.text(path, &best),
            Format::Csv => self.csv(path, &best),
            Format::Json => self.json(path, &best),
        }
    }

    fn text(&self, path: &Path, best: &[(usize, f32)]) -> Vec<u8> {
        let mut text = format!("{}\n", print::path(path));
        for (class, p) in best {
            let class = print::visible(&self.classes[*class]);
            text.push_str(&format!("  {:>6.2} %  {class}\n", 100.0 * p));
        }
        text.into()
    }

    fn csv(&self, path: &Path, best: &[(usize, f32)]) -> Vec<u8> {
        let of_class = |(class, p): &(usize, f32)| {
            [self.classes[*class].clone().into_bytes(), p.to_string().into_bytes()]
        };
        let path = path.as_os_str().as_bytes().to_vec();
        record(std::iter::once(path).chain(best.iter().flat_map(of_class)))
    }

    fn json(&self, path: &Path, best: &[(usize, f32)]) -> Vec<u8> {
        let of_class = |(label, p): &(usize, f32)| Prediction {
            class: &self.classes[*label],
            label: *label,
            probability: *p,
        };
        let predictions = best.iter().map(of_class).collect();
        let picture = Picture { path: path.to_string_lossy(), predictions };
        json_line(&picture)
    }
}

/// The most probable classes in order; classes that are equally probable keep their order.
pub(super) fn best(probabilities: &[f32], top: usize) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = probabilities.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(top);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f32; 3] = [0.25, 0.625, 0.125];

    fn written(format: Format, top: usize, path: &str) -> String {
        let classes = ["cat", "dog, small", "cow \"Bella\""].map(String::from).to_vec();
        let form = Predictions::new(format, top, classes);
        let bytes = [form.header(), form.picture(Path::new(path), &P)].concat();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_most_probable_come_in_order() {
        let best = best(&[0.1, 0.3, 0.05, 0.3, 0.15, 0.1], 5);
        assert_eq!(best.iter().map(|b| b.0).collect::<Vec<_>>(), [1, 3, 4, 0, 5]);
    }

    #[test]
    fn text_is_for_people_and_cannot_move_their_cursor() {
        let said = written(Format::Text, 2, "a\u{1b}[2K.jpg");
        assert_eq!(said, "a\\u{1b}[2K.jpg\n   62.50 %  dog, small\n   25.00 %  cat\n");
    }

    #[test]
    fn csv_quotes_what_needs_quotes_and_has_no_more_columns_than_classes() {
        let said = written(Format::Csv, 9, "a, \"b\".jpg");
        assert_eq!(
            said,
            "path,class,probability,class_2,probability_2,class_3,probability_3\n\
             \"a, \"\"b\"\".jpg\",\"dog, small\",0.625,cat,0.25,\"cow \"\"Bella\"\"\",0.125\n"
        );
    }

    #[test]
    fn a_path_that_is_not_utf_8_stays_as_it_is_in_csv() {
        let form = Predictions::new(Format::Csv, 1, vec!["cat".into()]);
        let path = Path::new(std::ffi::OsStr::from_bytes(b"\xFF\n.jpg"));
        assert_eq!(form.picture(path, &[1.0]), b"\"\xFF\n.jpg\",cat,1\n");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let said = written(Format::Json, 1, "a\nb.jpg");
        assert_eq!(said.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(read["path"], "a\nb.jpg");
        assert_eq!(read["predictions"][0]["class"], "dog, small");
        assert_eq!(read["predictions"][0]["label"], 1);
        assert_eq!(read["predictions"][0]["probability"], 0.625);
    }
}
