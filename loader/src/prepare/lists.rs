//! Lists that say which class each picture of a flat folder has: `val_annotations.txt`,
//! `LOC_val_solution.csv`, `labels.csv`, Caffe's `val.txt`, or a table of one's own.
//!
//! A list is recognized by its contents: one of its columns names the pictures of the folder.

use std::collections::HashMap;
use std::path::Path;

use super::split_names::split_of;
use super::tree::composed;
use crate::{Error, Split};

/// Longest list that is read, in bytes: ImageNet's lists of all training pictures have 40 MB.
pub(super) const LONGEST: u64 = 256 << 20;

/// Headings of the column with the class, in the order of preference.
const CLASS: [&str; 17] = [
    "label",
    "labels",
    "class",
    "class_name",
    "classname",
    "category",
    "category_name",
    "target",
    "breed",
    "species",
    "synset",
    "wnid",
    "predictionstring",
    "class_id",
    "label_id",
    "tag",
    "name",
];
const SPLIT: [&str; 6] = ["split", "set", "subset", "usage", "partition", "dataset"];

/// The classes of the pictures of one folder, as a list gives them.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Class and, if the list says so, split of each picture, by the picture's position.
    pub(super) of: HashMap<usize, (String, Option<Split>)>,
    /// Positions of pictures that the list gives two different classes.
    pub(super) disputed: Vec<usize>,
    /// Number of rows that name a picture that isn't there, and the first of them.
    pub(super) absent: (u64, String),
}

/// The pictures of a folder by the names that a list may use for them.
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// Takes the paths of the pictures below their folder.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut names = HashMap::new();
        for (i, path) in paths.enumerate() {
            let whole = composed(&path.to_string_lossy());
            let base = whole.rsplit('/').next().unwrap_or(&whole).to_owned();
            let stem = base.rsplit_once('.').map_or(base.clone(), |(stem, _)| stem.to_owned());
            for name in [whole, base, stem] {
                names.entry(name).or_insert(i);
            }
        }
        Self(names)
    }

    /// The position of the picture that a cell of a table names.
    fn find(&self, cell: &str) -> Option<usize> {
        let cell = cell.trim().trim_start_matches("./");
        let base = cell.rsplit(['/', '\\']).next().unwrap_or(cell);
        [cell, base].iter().find_map(|name| self.0.get(*name)).copied()
    }
}

/// Reads a list; `None` if no column of it names pictures of the folder.
///
/// # Errors
/// [`Error::Io`] if the file can't be read.
pub(super) fn read(path: &Path, names: &Names) -> Result<Option<List>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let text = String::from_utf8_lossy(&bytes);
    let rows = rows(text.trim_start_matches('\u{feff}'));
    Ok(understand(&rows, names))
}

/// Cells of each row.
fn rows(text: &str) -> Vec<Vec<String>> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let Some(delimiter) = [b',', b'\t', b';'].into_iter().find(|d| first.contains(*d as char))
    else {
        let words = |line: &str| line.split_whitespace().map(composed).collect::<Vec<_>>();
        return text.lines().map(words).filter(|row| !row.is_empty()).collect();
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let records = reader.records().filter_map(Result::ok);
    records.map(|record| record.iter().map(composed).collect()).collect()
}

fn understand(rows: &[Vec<String>], names: &Names) -> Option<List> {
    let picture = picture_column(rows, names)?;
    let cell = |row: &'_ Vec<String>| row.get(picture).cloned().unwrap_or_default();
    let first = rows.first()?;
    let header = names.find(&cell(first)).is_none().then_some(first.as_slice());
    let columns = Columns::of(header, rows, picture)?;
    let mut list = List::default();
    for row in rows.iter().skip(usize::from(header.is_some())) {
        let Some(class) = columns.class(row) else { continue };
        let Some(i) = names.find(&cell(row)) else {
            list.absent.0 += 1;
            if list.absent.1.is_empty() {
                list.absent.1 = cell(row);
            }
            continue;
        };
        let new = (class, columns.split(row));
        match list.of.get(&i) {
            Some(old) if old.0 != new.0 => list.disputed.push(i),
            Some(_) => {}
            None => {
                list.of.insert(i, new);
            }
        }
    }
    list.disputed.iter().for_each(|i| {
        list.of.remove(i);
    });
    (!list.of.is_empty()).then_some(list)
}

/// The column that names most pictures.
fn picture_column(rows: &[Vec<String>], names: &Names) -> Option<usize> {
    let widest = rows.iter().map(Vec::len).max()?.min(64);
    let hits = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.filter(|cell| names.find(cell).is_some()).count()
    };
    let best = (0..widest).map(|column| (hits(column), std::cmp::Reverse(column))).max()?;
    (best.0 > 0).then_some(best.1.0)
}

/// The columns of a table that hold the class and the split.
struct Columns<'a> {
    class: Class<'a>,
    split: Option<usize>,
}

enum Class<'a> {
    In(usize),
    /// One column per class, which has a one in the rows of its pictures.
    OneOf(Vec<(usize, &'a str)>),
}

impl<'a> Columns<'a> {
    fn of(header: Option<&'a [String]>, rows: &[Vec<String>], picture: usize) -> Option<Self> {
        let heading = |words: &[&str]| {
            let header = header?;
            words.iter().find_map(|word| {
                header.iter().position(|cell| cell.to_lowercase().replace(' ', "_") == *word)
            })
        };
        let split = heading(&SPLIT).filter(|column| *column != picture);
        if let Some(class) = heading(&CLASS).filter(|column| *column != picture) {
            return Some(Self { class: Class::In(class), split });
        }
        let width = rows.last()?.len();
        let others: Vec<usize> =
            (0..width).filter(|column| *column != picture && Some(*column) != split).collect();
        if let Some(header) = header.filter(|_| others.len() >= 2) {
            let mut cells = rows.iter().skip(1).flat_map(|row| others.iter().map(|c| row.get(*c)));
            let is_share = |cell: &String| matches!(cell.as_str(), "0" | "1" | "0.0" | "1.0");
            if cells.all(|cell| cell.is_some_and(is_share)) {
                let of = |c: &usize| Some((*c, header.get(*c)?.as_str()));
                return Some(Self {
                    class: Class::OneOf(others.iter().filter_map(of).collect()),
                    split,
                });
            }
        }
        let next = others.iter().find(|column| **column > picture).or(others.first())?;
        Some(Self { class: Class::In(*next), split })
    }

    fn class(&self, row: &[String]) -> Option<String> {
        match &self.class {
            Class::In(column) => {
                let cell = row.get(*column)?.trim();
                // Kaggle's solution has boxes behind the class: `n01978287 85 1 499 272`.
                let word = cell.split_whitespace().next()?;
                let class = if is_wordnet_id(word) { word } else { cell };
                Some(class.trim_matches('"').to_owned())
            }
            Class::OneOf(columns) => {
                let one = |(column, _): &&(usize, &str)| {
                    row.get(*column).is_some_and(|cell| cell.starts_with('1'))
                };
                let mut ones = columns.iter().filter(one);
                let only = ones.next()?.1.to_owned();
                ones.next().is_none().then_some(only)
            }
        }
    }

    fn split(&self, row: &[String]) -> Option<Split> {
        split_of(row.get(self.split?)?).map(|(split, _)| split)
    }
}

/// Returns true if a word is a WordNet id such as `n01440764`.
pub(super) fn is_wordnet_id(word: &str) -> bool {
    let digits = word.strip_prefix('n').unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str, pictures: &[&str]) -> Vec<Option<(String, Option<Split>)>> {
        let names = Names::of(pictures.iter().map(Path::new));
        let list = understand(&rows(text), &names).unwrap_or_default();
        (0..pictures.len()).map(|i| list.of.get(&i).cloned()).collect()
    }

    fn only(texts: &[Option<(String, Option<Split>)>]) -> Vec<&str> {
        texts.iter().map(|t| t.as_ref().map_or("-", |t| t.0.as_str())).collect()
    }

    #[test]
    fn lists_of_every_kind_are_understood_by_what_they_hold() {
        let two = ["val_0.JPEG", "val_1.JPEG"];
        let cases = [
            ("val_0.JPEG\tn01443537\t0\t32\t44\t62\nval_1.JPEG\tn01629819\t1\t2\t3\t4\n", two),
            (
                "ImageId,PredictionString\nval_1,n01629819 1 2 3 4 \nval_0,n01443537 1 2 3 4 n01443537 5 6 7 8\n",
                two,
            ),
            ("id,breed\nval_0,n01443537\nval_1,n01629819\n", two),
            ("label;file\r\nn01443537;val_0.JPEG\r\nn01629819;val_1.JPEG\r\n", two),
            ("data/val/val_0.JPEG n01443537\ndata/val/val_1.JPEG n01629819", two),
            (
                ",path,x,class\n0,C:\\v\\val_0.JPEG,3,n01443537\n1,C:\\v\\val_1.JPEG,4,n01629819\n",
                two,
            ),
            ("image,n01443537,n01629819\nval_0,1.0,0.0\nval_1,0.0,1.0\n", two),
        ];
        for (text, pictures) in cases {
            assert_eq!(only(&classes(text, &pictures)), ["n01443537", "n01629819"], "{text}");
        }
    }

    #[test]
    fn a_class_may_have_several_words_and_a_table_may_name_splits() {
        let got = classes(
            "file,label,split\na.jpg,big dog,train\nb.jpg,cat,validation\n",
            &["a.jpg", "b.jpg"],
        );
        let want = [("big dog", Split::Train), ("cat", Split::Val)];
        for (got, (class, split)) in got.iter().zip(want) {
            assert_eq!(*got, Some((class.to_owned(), Some(split))));
        }
    }

    #[test]
    fn what_a_list_lacks_or_disputes_is_known() {
        let names = Names::of(["a.jpg", "b.jpg", "c.jpg"].iter().map(Path::new));
        let list =
            understand(&rows("a.jpg cat\nb.jpg cat\nb.jpg dog\nz.jpg dog\n"), &names).unwrap();
        assert_eq!((list.of.len(), list.disputed.as_slice()), (1, &[1][..]));
        assert_eq!(list.absent, (1, "z.jpg".into()));
        assert!(understand(&rows("nothing of this\nis the list\n"), &names).is_none());
    }
}
