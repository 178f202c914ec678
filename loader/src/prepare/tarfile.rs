//! The members of a tar, one after the other, without their contents.
//!
//! Old tars, POSIX (ustar, pax) and GNU tars are read. Damage is told from an archive that is cut
//! short: a whole archive ends with blocks of zeros.

use super::archive::Archive;

const BLOCK: u64 = 512;
/// Bytes read at a time where headers lie close together.
const BUFFER: usize = 16 << 10;
/// Upper bound for the length of a long name or an extended header.
const MAX_EXTENSION: u64 = 1 << 20;
/// Upper bound for the zeros that writers append after the end of an archive.
const MAX_PADDING: u64 = 4 << 20;

/// One member of a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Name without `.`, `..` and empty components.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Position of the contents, from the beginning of the file.
    pub(super) offset: u64,
    /// Length of the contents, as far as the archive holds them.
    pub(super) length: u64,
}

/// The kind of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A file whose last bytes are missing.
    Cut,
    /// A second name of an earlier member.
    HardLink(String),
    SymbolicLink(String),
    Folder,
    /// Anything else, in words.
    Other(&'static str),
}

/// The reason why a tar can't be trusted to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The end is missing.
    Cut(String),
    /// The archive is no tar, or becomes unreadable.
    Damaged(String),
    /// There is more after the end.
    More(String),
}

impl Fault {
    /// The fault in words, to be read after the name of the archive.
    pub(super) fn words(&self) -> &str {
        let (Self::Cut(why) | Self::Damaged(why) | Self::More(why)) = self;
        why
    }
}

/// Visits the members of the tar at `start`, until `each` returns false.
pub(super) fn walk(
    archive: &Archive,
    start: u64,
    length: u64,
    each: &mut dyn FnMut(Entry) -> bool,
) -> Result<(), Fault> {
    let end = start.saturating_add(length).min(archive.bytes);
    let mut walk = Walk { archive, end, at: start, buffer: Vec::new(), buffer_at: 0 };
    let (mut extension, mut last) = (Extension::default(), None::<String>);
    loop {
        let Some(block) = walk.block()? else {
            return Err(walk.cut(last.as_deref()));
        };
        if block.iter().all(|&byte| byte == 0) {
            return walk.after_end();
        }
        let header = Header::parse(&block).ok_or_else(|| walk.no_header(last.as_deref()))?;
        walk.at += BLOCK;
        if header.extends() {
            walk.extend(&header, &mut extension)?;
            continue;
        }
        let entry = walk.entry(header, std::mem::take(&mut extension));
        let cut = entry.kind == Kind::Cut;
        last = Some(entry.name.clone());
        if !each(entry) {
            return Ok(());
        }
        if cut {
            let name = last.unwrap_or_default();
            return Err(Fault::Cut(format!("it is cut short: it ends inside {name}")));
        }
    }
}

struct Walk<'a> {
    archive: &'a Archive,
    end: u64,
    /// Position of the next header.
    at: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Walk<'_> {
    /// The block at the current position; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>, Fault> {
        if self.at + BLOCK > self.end {
            return Ok(None);
        }
        let from = self.at.wrapping_sub(self.buffer_at);
        if self.at < self.buffer_at || from + BLOCK > self.buffer.len() as u64 {
            let length = (self.end - self.at).min(BUFFER as u64);
            self.buffer = self.read(self.at, length)?;
            self.buffer_at = self.at;
        }
        let from = (self.at - self.buffer_at) as usize;
        Ok(self.buffer.get(from..).and_then(|rest| rest.first_chunk()).copied())
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Fault> {
        let read = self.archive.read(offset, length);
        read.map_err(|e| Fault::Damaged(format!("it can't be read at byte {offset}: {e}")))
    }

    fn cut(&self, last: Option<&str>) -> Fault {
        match last {
            Some(name) => Fault::Cut(format!(
                "it is cut short: it ends after {name}, without an end-of-archive block"
            )),
            None => Fault::Damaged("it is shorter than a tar can be".into()),
        }
    }

    fn no_header(&self, last: Option<&str>) -> Fault {
        Fault::Damaged(match last {
            Some(name) => format!("it is damaged after {name}, at byte {}", self.at),
            None => "it is no tar".into(),
        })
    }

    /// Takes the contents of a long name or extended header.
    fn extend(&mut self, header: &Header, extension: &mut Extension) -> Result<(), Fault> {
        if header.size > MAX_EXTENSION {
            return Err(Fault::Damaged(format!("it is damaged at byte {}", self.at)));
        }
        if self.at + header.size > self.end {
            return Err(Fault::Cut("it is cut short: it ends inside a long name".into()));
        }
        let bytes = self.read(self.at, header.size)?;
        self.at = self.at.saturating_add(header.size.next_multiple_of(BLOCK));
        extension.take(header.kind, &bytes);
        Ok(())
    }

    fn entry(&mut self, header: Header, extension: Extension) -> Entry {
        let size = extension.size.unwrap_or(header.size);
        let name = extension.name.unwrap_or(header.name);
        let link = || plain(&extension.link.clone().unwrap_or(header.link.clone()));
        let left = self.end.saturating_sub(self.at);
        let kind = match header.kind {
            _ if extension.sparse => Kind::Other("a sparse file; unpack the archive to use it"),
            b'0' | 0 | b'7' if name.ends_with('/') => Kind::Folder,
            b'0' | 0 | b'7' if size > left => Kind::Cut,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::SymbolicLink(link()),
            b'3' | b'4' => Kind::Other("a device"),
            b'5' | b'D' => Kind::Folder,
            b'6' => Kind::Other("a named pipe"),
            b'S' => Kind::Other("a sparse file; unpack the archive to use it"),
            b'V' => Kind::Other("the label of a tape"),
            b'M' => Kind::Other("the rest of a file that begins in another archive"),
            _ => Kind::Other("a member of unknown kind"),
        };
        let holds = !matches!(kind, Kind::HardLink(_) | Kind::SymbolicLink(_));
        let length = if holds { size } else { 0 };
        let entry = Entry { name: plain(&name), kind, offset: self.at, length: length.min(left) };
        let header_blocks = if header.kind == b'S' { self.sparse_headers(&header.more) } else { 0 };
        let blocks = length.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(blocks).saturating_add(header_blocks);
        entry
    }

    /// Length of the further headers of GNU's sparse files.
    fn sparse_headers(&self, more: &bool) -> u64 {
        let (mut more, mut length) = (*more, 0);
        while more && self.at + length + BLOCK <= self.end {
            let block = self.archive.read(self.at + length, BLOCK).unwrap_or_default();
            more = block.get(504).is_some_and(|&flag| flag != 0);
            length += BLOCK;
        }
        length
    }

    /// Looks at what follows the end-of-archive blocks: zeros, and not too many of them.
    fn after_end(&mut self) -> Result<(), Fault> {
        let rest = self.end - self.at;
        let mut at = self.at;
        let most = self.end.min(self.at + MAX_PADDING);
        while at < most {
            let part = self.read(at, (most - at).min(64 << 10))?;
            if part.iter().any(|&byte| byte != 0) {
                return Err(Fault::More(format!(
                    "after its end, at byte {}, there are more bytes: perhaps another archive was \
                     appended (GNU tar unpacks both with --ignore-zeros)",
                    self.at
                )));
            }
            at += part.len() as u64;
        }
        if rest > MAX_PADDING {
            return Err(Fault::Cut(format!(
                "it is cut short: its last {rest} bytes are zeros, as in a download that isn't \
                 finished"
            )));
        }
        Ok(())
    }
}

/// The fields of a header that matter here.
struct Header {
    name: String,
    link: String,
    kind: u8,
    size: u64,
    /// True if more headers of a sparse file follow.
    more: bool,
}

impl Header {
    /// Reads a header; `None` if its checksum or a number is wrong.
    fn parse(block: &[u8; BLOCK as usize]) -> Option<Self> {
        let header = tar::Header::from_byte_slice(block);
        let sum = |value: fn(u8) -> i64| -> i64 {
            let own = |(i, &byte): (usize, &u8)| {
                if (148..156).contains(&i) { i64::from(b' ') } else { value(byte) }
            };
            block.iter().enumerate().map(own).sum()
        };
        let written = i64::from(header.cksum().ok()?);
        // Some old writers summed signed bytes.
        if sum(i64::from) != written && sum(|byte| i64::from(byte as i8)) != written {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            name: text(&header.path_bytes()),
            link: text(&header.link_name_bytes().unwrap_or_default()),
            kind: block[156],
            size: header.entry_size().ok()?,
            more: block[482] != 0,
        })
    }

    /// Returns true if this header only says more about the next one.
    fn extends(&self) -> bool {
        matches!(self.kind, b'L' | b'K' | b'x' | b'X' | b'g')
    }
}

/// Fields of the next member that do not fit in its header.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    sparse: bool,
}

impl Extension {
    fn take(&mut self, kind: u8, bytes: &[u8]) {
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        };
        match kind {
            b'L' => self.name = text(bytes),
            b'K' => self.link = text(bytes),
            b'g' => {} // of the whole archive, such as the commit of `git archive`
            _ => {
                for field in tar::PaxExtensions::new(bytes).flatten() {
                    match (field.key(), field.value()) {
                        (Ok("path"), _) => self.name = text(field.value_bytes()),
                        (Ok("linkpath"), _) => self.link = text(field.value_bytes()),
                        (Ok("size"), Ok(size)) => self.size = size.parse().ok(),
                        (Ok(key), _) if key.starts_with("GNU.sparse") => self.sparse = true,
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A name without `.`, `..` and empty components: `./a//b.jpg` → `a/b.jpg`.
fn plain(name: &str) -> String {
    let plain = |part: &&str| !matches!(*part, "" | "." | "..");
    if name.split('/').all(|part| plain(&part)) {
        return name.into();
    }
    name.split('/').filter(plain).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(super) mod tests;
