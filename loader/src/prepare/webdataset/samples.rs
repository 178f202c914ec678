//! The members of a shard by key: which picture and which label belong together.
//!
//! The key is the name up to the first dot, the kind is what follows. A picture of which the label
//! shares more of the name (`n0.5_a.jpg`, `n0.5_a.cls`) is a sample of its own. Of several pictures
//! with one key, the first in the order of [`picture_rank`] is taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::label::{self, Label};
use crate::prepare::archive::Archive;
use crate::prepare::file_names::has_picture_name;
use crate::prepare::members::Member;
use crate::prepare::reading::Reading;

/// Kinds of pictures from the most to the least wanted; others follow by name.
const WANTED: [&str; 8] = ["jpg", "jpeg", "png", "webp", "ppm", "image", "img", "pgm"];
/// Most keys, or kinds, that are named in a note.
const MOST_NAMED: usize = 3;

/// Counts over all shards.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Number of members by kind.
    kinds: BTreeMap<String, u64>,
    /// Number of keys that have several pictures, by the kinds that are not used.
    unused: BTreeMap<String, (u64, String)>,
    /// Keys that come twice in a shard, each a sample every time: their number, and the first ones.
    repeated: (u64, Vec<String>),
}

/// The samples of one shard, in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) complete: Vec<(Member, Label)>,
    /// Keys that give no sample, each with the reason.
    pub(super) left_out: Vec<(String, String)>,
}

/// Neighboring members with the same key.
#[derive(Debug, Default)]
struct Fragment {
    key: String,
    /// Kind and member.
    members: Vec<(String, Member)>,
}

impl Samples {
    /// Groups the members of a shard.
    pub(super) fn of_shard(&mut self, archive: &Archive, members: Vec<Member>) -> Found {
        let mut found = Found::default();
        let mut complete: Vec<(String, Fragment)> = Vec::new();
        let mut open: HashMap<String, Fragment> = HashMap::new();
        let mut ambiguous: BTreeSet<String> = BTreeSet::new();
        let mut keys: HashMap<String, u32> = HashMap::new();
        for fragment in self.fragments(members, &mut found) {
            let key = fragment.key.clone();
            if fragment.is_complete() {
                *keys.entry(key.clone()).or_default() += 1;
                complete.push((key, fragment));
            } else if let Some(first) = open.get_mut(&key) {
                if fragment.members.iter().any(|(kind, _)| first.has(kind)) {
                    ambiguous.insert(key);
                }
                first.members.extend(fragment.members);
            } else {
                open.insert(key, fragment);
            }
        }
        // Parts of a key beside a complete sample of it: no one knows which label is whose.
        ambiguous.extend(open.keys().filter(|key| keys.contains_key(*key)).cloned());
        complete.extend(open);
        complete.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: repeated keys stay in order
        for (key, fragment) in complete {
            if ambiguous.contains(&key) {
                let why = "its key comes several times, and it isn't clear which label belongs to \
                           which picture";
                let members = fragment.members.into_iter();
                let pictures = members.filter(|(kind, _)| has_picture_name(&dotted(kind)));
                found.left_out.extend(pictures.map(|(_, member)| (member.name, why.to_string())));
                continue;
            }
            if keys.get(&key).is_some_and(|n| *n > 1) {
                self.repeated.0 += 1;
                if self.repeated.1.len() < MOST_NAMED && !self.repeated.1.contains(&key) {
                    self.repeated.1.push(key.clone());
                }
            }
            self.resolve(archive, fragment, &mut found);
        }
        found
    }

    /// Splits the members into runs of one key, each kind at most once.
    fn fragments(&mut self, members: Vec<Member>, found: &mut Found) -> Vec<Fragment> {
        let mut fragments: Vec<Fragment> = Vec::new();
        for member in members {
            let base = member.name.len() - member.base().len();
            let Some(dot) = member.name[base..].find('.').filter(|dot| *dot > 0) else {
                let why = "its name has no ending; expected KEY.KIND, such as 0001.jpg";
                found.left_out.push((member.name, why.into()));
                continue;
            };
            let key = member.name[..base + dot].to_string();
            let kind = member.name[base + dot + 1..].to_lowercase();
            *self.kinds.entry(kind.clone()).or_default() += 1;
            match fragments.last_mut() {
                Some(last) if last.key == key && !last.has(&kind) => {
                    last.members.push((kind, member))
                }
                _ => fragments.push(Fragment { key, members: vec![(kind, member)] }),
            }
        }
        fragments
    }

    /// Finds picture and label of a fragment, or several of them.
    fn resolve(&mut self, archive: &Archive, fragment: Fragment, found: &mut Found) {
        let Fragment { key, members } = fragment;
        let (pictures, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|(kind, _)| has_picture_name(&dotted(kind)));
        let labels: Vec<_> =
            others.iter().filter_map(|(kind, m)| Some((label::rank(kind)?, kind, m))).collect();
        let kinds = || {
            let all: Vec<_> = others.iter().map(|(kind, _)| format!(".{kind}")).collect();
            if all.is_empty() { "nothing else".to_string() } else { all.join(", ") }
        };
        if pictures.is_empty() {
            let why = format!("no picture with this key; found: {}", kinds());
            return found.left_out.push((key, why));
        }
        if labels.is_empty() {
            let why = format!("no label beside it (.cls, .json or .txt); found: {}", kinds());
            found.left_out.extend(pictures.into_iter().map(|(_, m)| (m.name, why.clone())));
            return;
        }
        let read = |member: &Member, kind: &str| match archive.read(member.offset, member.length) {
            Ok(bytes) => label::read(kind, &bytes),
            Err(e) => Label::Unknown(format!("its label can't be read: {e}")),
        };
        let own = |kind: &str| {
            let stem = stem(kind);
            let same = labels.iter().filter(|(_, label, _)| self::stem(label) == stem);
            same.min_by_key(|(rank, ..)| *rank)
        };
        if pictures.iter().all(|(kind, _)| own(kind).is_some()) {
            for (kind, picture) in &pictures {
                if let Some((_, label_kind, label)) = own(kind) {
                    found.complete.push((picture.clone(), read(label, label_kind)));
                }
            }
            return;
        }
        let mut ranked: Vec<_> = labels.iter().collect();
        ranked.sort_by_key(|(rank, ..)| *rank);
        let read = ranked.iter().map(|(_, kind, member)| read(member, kind));
        let label = best(read);
        self.choose(pictures, label, found);
    }

    /// Takes the most wanted of several pictures with one key; the others are counted.
    fn choose(&mut self, mut pictures: Vec<(String, Member)>, label: Label, found: &mut Found) {
        pictures.sort_by(|(a, _), (b, _)| picture_rank(a).cmp(&picture_rank(b)));
        let mut pictures = pictures.into_iter();
        let Some((taken, picture)) = pictures.next() else { return };
        for (kind, _) in pictures {
            self.unused.entry(kind).or_insert_with(|| (0, taken.clone())).0 += 1;
        }
        found.complete.push((picture, label));
    }

    /// Says what was seen, except for complete samples.
    pub(super) fn notes(&self, reading: &mut Reading) {
        let (n, keys) = &self.repeated;
        if *n > 0 {
            let keys = keys.join(", ");
            reading.notes.push(format!(
                "{n} samples have a key that comes more than once in their tar ({keys}, …): each \
                 of them is used as a picture of its own"
            ));
        }
        for (kind, (n, taken)) in self.unused.iter().take(MOST_NAMED) {
            reading
                .notes
                .push(format!("{n} keys have several pictures: .{taken} is used, .{kind} isn't"));
        }
        if self.unused.len() > MOST_NAMED {
            let n = self.unused.len() - MOST_NAMED;
            reading.notes.push(format!("{n} further kinds of pictures aren't used either"));
        }
    }

    /// The kinds that were found, in words.
    pub(super) fn kinds(&self) -> String {
        let kinds: Vec<_> = self.kinds.iter().take(10).map(|(k, n)| format!("{n} .{k}")).collect();
        if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") }
    }
}

impl Fragment {
    fn has(&self, kind: &str) -> bool {
        self.members.iter().any(|(own, _)| own == kind)
    }

    fn is_complete(&self) -> bool {
        let picture = self.members.iter().any(|(kind, _)| has_picture_name(&dotted(kind)));
        picture && self.members.iter().any(|(kind, _)| label::rank(kind).is_some())
    }
}

/// The first label that says something, or else the first.
fn best(labels: impl Iterator<Item = Label>) -> Label {
    let mut first = None;
    for label in labels {
        if matches!(label, Label::Number(_) | Label::Word(_)) {
            return label;
        }
        first.get_or_insert(label);
    }
    first.unwrap_or(Label::None)
}

/// A kind as the name of a file, whose ending decides: `jpg` → `x.jpg`.
fn dotted(kind: &str) -> String {
    format!("x.{kind}")
}

/// The beginning of a kind that a picture and its label share: `left.jpg` → `left`.
fn stem(kind: &str) -> &str {
    let stem = kind.rsplit_once('.').map_or("", |(stem, _)| stem);
    if matches!(stem, "cls" | "label" | "class") { "" } else { stem }
}

/// The order in which pictures with the same key are wanted.
fn picture_rank(kind: &str) -> (usize, &str) {
    let wanted = WANTED.iter().position(|wanted| *wanted == kind);
    (wanted.unwrap_or(WANTED.len()), kind)
}
