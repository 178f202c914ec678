//! Counts of training pictures that are unlike those of the kit or of the edition.

use std::collections::BTreeMap;

use super::lists::Lists;
use super::pieces::Pieces;
use crate::prepare::Reading;

/// Number of classes from which an archive without a kit is taken for the whole edition.
const WHOLE: u64 = 100;
/// Most classes that are named.
const MOST_NAMED: usize = 3;
const REMEDY: &str = "download or copy it again, or use what it holds with --partial";

/// Doubts training pictures that are fewer than they should be.
pub(super) fn check_train(
    reading: &mut Reading,
    pieces: &Pieces,
    lists: &Lists,
    counts: &BTreeMap<String, u64>,
) {
    if counts.is_empty() {
        return;
    }
    if lists.expected.is_empty() {
        return check_edition(reading, pieces, counts);
    }
    check_classes(reading, lists, counts);
    let fewer: Vec<String> = counts
        .iter()
        .filter_map(|(class, &n)| {
            let wanted = (*lists.expected.get(class)?)?;
            (n < wanted).then(|| format!("{class} has {n} of {wanted}"))
        })
        .collect();
    if !fewer.is_empty() {
        reading.doubt_partial(format!(
            "{} of {} classes hold fewer training pictures than {} of the kit says: {}; {REMEDY}",
            fewer.len(),
            counts.len(),
            "meta.mat",
            some(&fewer)
        ));
    }
}

fn check_classes(reading: &mut Reading, lists: &Lists, counts: &BTreeMap<String, u64>) {
    let missing: Vec<String> =
        lists.expected.keys().filter(|class| !counts.contains_key(*class)).cloned().collect();
    if !missing.is_empty() {
        reading.doubt_partial(format!(
            "there are training pictures of {} classes, and the development kit lists {}; without \
             pictures: {}; {REMEDY}",
            counts.len(),
            lists.expected.len(),
            some(&missing)
        ));
    }
    let unknown: Vec<String> =
        counts.keys().filter(|class| !lists.expected.contains_key(*class)).cloned().collect();
    if unknown.len() * 2 > counts.len() {
        reading.doubt(
            format!(
                "{} of {} classes aren't in the development kit ({}): the kit belongs to another \
                 edition; put the right one into the folder",
                unknown.len(),
                counts.len(),
                some(&unknown)
            ),
            None,
        );
    } else if !unknown.is_empty() {
        let (n, some) = (unknown.len(), some(&unknown));
        reading.notes.push(format!("{n} classes aren't in the development kit: {some}"));
    }
}

/// Compares with what is known of the edition; an archive of few classes is somebody's own.
fn check_edition(reading: &mut Reading, pieces: &Pieces, counts: &BTreeMap<String, u64>) {
    let edition = pieces.edition;
    let (n_classes, n) = (counts.len() as u64, counts.values().sum::<u64>());
    let lacks = n_classes < edition.n_classes || n < edition.n_train;
    if !lacks {
        return;
    }
    let pictures = match edition.n_train {
        0 => String::new(),
        wanted => format!(" and {n} of {wanted} training pictures"),
    };
    let wanted = edition.n_classes;
    let said =
        format!("there are {n_classes} of the {wanted} classes{pictures} of {}", edition.name);
    if n_classes >= WHOLE {
        reading.doubt_partial(format!("{said}; {REMEDY}"));
    } else {
        reading.notes.push(said);
    }
}

fn some(all: &[String]) -> String {
    let named = all.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > MOST_NAMED { format!("{named}, …") } else { named }
}
