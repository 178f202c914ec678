//! The pictures that were found as lines for people, as CSV, or as JSON Lines.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::nearest::Found;
use crate::commands::form::{Format, json_line, record};
use crate::print;

/// The form in which the answers of one call are written.
#[derive(Debug)]
pub(super) struct Form<'a> {
    /// The form.
    pub(super) format: Format,
    /// Split of the pictures that were found.
    pub(super) split: &'a str,
    /// Classes of these pictures.
    pub(super) classes: &'a [String],
}

#[derive(Serialize)]
struct Answer<'a> {
    path: std::borrow::Cow<'a, str>,
    nearest: Vec<Neighbor<'a>>,
}

#[derive(Serialize)]
struct Neighbor<'a> {
    split: &'a str,
    number: u64,
    class: &'a str,
    label: u32,
    distance: f64,
}

impl Form<'_> {
    /// The bytes before the first picture.
    pub(super) fn header(&self) -> Vec<u8> {
        match self.format {
            Format::Csv => {
                record(["path", "rank", "split", "number", "class", "label", "distance"])
            }
            Format::Text | Format::Json => Vec::new(),
        }
    }

    /// The nearest pictures of one picture.
    pub(super) fn picture(&self, path: &Path, found: &[Found]) -> Vec<u8> {
        match self.format {
            Format::Text => self.text(path, found),
            Format::Csv => self.csv(path, found),
            Format::Json => {
                let nearest = found.iter().map(|found| self.neighbor(found)).collect();
                json_line(&Answer { path: path.to_string_lossy(), nearest })
            }
        }
    }

    fn text(&self, path: &Path, found: &[Found]) -> Vec<u8> {
        let mut text = format!("{}\n", print::path(path));
        for found in found {
            let Neighbor { split, number, class, distance, .. } = self.neighbor(found);
            let class = print::visible(class);
            text.push_str(&format!("  {distance:>9.3}  {class}, {split} picture {number}\n"));
        }
        text.into()
    }

    fn csv(&self, path: &Path, found: &[Found]) -> Vec<u8> {
        let row = |(rank, found): (usize, &Found)| {
            let Neighbor { split, number, class, label, distance } = self.neighbor(found);
            let numbers = [rank.to_string(), number.to_string(), label.to_string()];
            let [rank, number, label] = numbers.each_ref().map(|n| n.as_bytes());
            let (path, distance) = (path.as_os_str().as_bytes(), distance.to_string());
            record([
                path,
                rank,
                split.as_bytes(),
                number,
                class.as_bytes(),
                label,
                distance.as_bytes(),
            ])
        };
        (1..).zip(found).flat_map(row).collect()
    }

    fn neighbor(&self, found: &Found) -> Neighbor<'_> {
        let class = self.classes.get(found.label as usize).map_or("?", String::as_str);
        let Found { number, label, distance, .. } = *found;
        Neighbor { split: self.split, number, class, label, distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let classes = ["cat", "dog, small"].map(String::from);
        let form = Form { format, split: "train", classes: &classes };
        let found = [(0.0, 12, 1), (1.5, 3, 0)].map(|(distance, number, label)| Found {
            distance,
            number,
            label,
            picture: None,
        });
        let bytes = [form.header(), form.picture(Path::new("a.jpg"), &found)].concat();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_answer_has_its_lines_rows_or_one_object() {
        assert_eq!(
            written(Format::Text),
            "a.jpg\n      0.000  dog, small, train picture 12\n      1.500  cat, train picture 3\n"
        );
        assert_eq!(
            written(Format::Csv),
            "path,rank,split,number,class,label,distance\n\
             a.jpg,1,train,12,\"dog, small\",1,0\na.jpg,2,train,3,cat,0,1.5\n"
        );
        let read: serde_json::Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!((&read["path"], &read["nearest"][1]["class"]), (&"a.jpg".into(), &"cat".into()));
        assert_eq!(read["nearest"][0]["number"], 12);
    }
}
