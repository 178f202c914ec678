//! The files in a tar that may be pictures or lists, with everything else counted or named.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::archive::Archive;
use super::listing;
use super::reading::{Location, Reading};
use super::system_names::passed_over_path;
use super::tarfile::{Entry, Fault, Kind, walk};
use crate::doubt::{Doubt, Instead};

/// Length from which a file is too large for a picture, in bytes.
const MAX_PICTURE: u64 = 1 << 30;
/// Most members that come twice and are named.
const MOST_NAMED: usize = 3;

/// A file inside a tar.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Position of the contents, from the beginning of the archive.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Member {
    /// Name without folders.
    pub(super) fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    pub(super) fn location(self, archive: u32) -> Location {
        let Self { name, offset, length } = self;
        Location::Member { archive, name: name.into(), offset, length }
    }
}

/// The treatment of a name that occurs twice in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    /// The last one wins, as when the archive is unpacked.
    LastWins,
    /// All are listed.
    Kept,
}

/// A tar, or a tar inside a tar, and the name that people know it by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tar<'a> {
    pub(super) archive: &'a Archive,
    pub(super) name: &'a str,
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) repeated: Repeated,
}

impl<'a> Tar<'a> {
    /// The tar that is this whole archive.
    pub(super) fn whole(archive: &'a Archive) -> Self {
        let (name, length) = (archive.name.as_str(), archive.bytes);
        Self { archive, name, start: 0, length, repeated: Repeated::LastWins }
    }
}

impl Reading {
    /// Lists the files of a tar; counts or names all other members, and doubts a tar that is cut
    /// short or damaged.
    pub(super) fn list(&mut self, tar: Tar<'_>) -> Vec<Member> {
        let mut list = List { reading: self, tar, members: Vec::new(), found: HashMap::new() };
        let mut twice = Vec::new();
        let fault = walk(tar.archive, tar.start, tar.length, &mut |entry| {
            listing::count(1);
            list.add(entry, &mut twice);
            true
        })
        .err();
        let members = list.members;
        if let Some(fault) = fault {
            self.doubt_archive(tar.name, &fault);
        }
        if !twice.is_empty() {
            let named = twice.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
            let more = if twice.len() > MOST_NAMED { ", …" } else { "" };
            self.notes.push(format!(
                "{}: {} members come twice; the last one is used, as when \
                 unpacking ({named}{more})",
                tar.name,
                twice.len()
            ));
        }
        members
    }

    /// Doubts an archive that isn't whole.
    pub(super) fn doubt_archive(&mut self, name: &str, fault: &Fault) {
        let remedy = match fault {
            Fault::More(_) => "unpack it, or use its first part with --partial",
            _ => "download or copy it again, or use what it holds with --partial",
        };
        self.doubt_partial(format!("{name}: {}; {remedy}", fault.words()));
    }

    /// Doubts a source that holds less than it should; `--partial` turns this into a note.
    pub(super) fn doubt_partial(&mut self, why: String) {
        self.doubt(why, Some(Instead::Options(vec!["--partial".into()])));
    }
}

impl Reading {
    /// Turns the doubts that `--partial` answers into notes.
    pub(super) fn accept_partial(&mut self) {
        let answered = |doubt: &Doubt| matches!(&doubt.instead, Some(Instead::Options(options)) if options == &["--partial"]);
        let (accepted, doubts) = std::mem::take(&mut self.doubts).into_iter().partition(answered);
        self.doubts = doubts;
        let accepted: Vec<Doubt> = accepted;
        self.notes.extend(accepted.into_iter().map(|doubt| doubt.why));
    }
}

struct List<'a, 'b> {
    reading: &'a mut Reading,
    tar: Tar<'b>,
    members: Vec<Member>,
    /// Position in `members` by the hash of the name, which is a fraction of the name's size.
    found: HashMap<u64, u32>,
}

impl List<'_, '_> {
    fn add(&mut self, entry: Entry, twice: &mut Vec<String>) {
        let Entry { name, kind, offset, length } = entry;
        if let Some(what) = passed_over_path(&name) {
            let tar = self.tar.name;
            return self.reading.passed_over.add(what, || format!("{tar}/{name}"));
        }
        let out = |list: &mut Self, why: String| {
            list.reading.leave_out(format!("{}/{name}", list.tar.name), why);
        };
        match kind {
            Kind::Folder => {}
            Kind::Cut if !name.ends_with(".tar") => out(self, "the archive ends inside it".into()),
            Kind::File if length > MAX_PICTURE && !name.ends_with(".tar") => {
                out(self, format!("{length} bytes: too large for a picture"));
            }
            Kind::File | Kind::Cut => self.put(Member { name, offset, length }, twice),
            Kind::HardLink(to) => match self.named(&to).cloned() {
                Some(first) => self.put(Member { name, ..first }, twice),
                None => out(self, format!("a hard link to {to}, which isn't in the archive")),
            },
            Kind::SymbolicLink(to) => out(self, format!("a symbolic link to {to}")),
            Kind::Other(what) => out(self, what.into()),
        }
    }

    fn named(&self, name: &str) -> Option<&Member> {
        let member = self.members.get(*self.found.get(&hash(name))? as usize)?;
        (member.name == name).then_some(member)
    }

    fn put(&mut self, member: Member, twice: &mut Vec<String>) {
        let hash = hash(&member.name);
        let position = self.members.len() as u32;
        let first = self.found.insert(hash, position);
        let first = first.filter(|&at| self.members[at as usize].name == member.name);
        match first {
            Some(at) if self.tar.repeated == Repeated::LastWins => {
                self.found.insert(hash, at);
                twice.push(member.name.clone());
                self.members[at as usize] = member;
            }
            _ => self.members.push(member),
        }
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
