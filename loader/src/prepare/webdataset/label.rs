//! A label, in all the forms in which writers write it.

use serde_json::Value;

use crate::prepare::pickle;

/// A label of a picture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Number(u64),
    /// A number written as bytes, not as text.
    Bytes(u64),
    Word(String),
    /// The picture is marked as having no label.
    None,
    /// The label can't be understood; the reason.
    Unknown(String),
}

/// Kinds of members that hold labels, the most trusted first.
const KINDS: [&str; 22] = [
    "cls",
    "cls.txt",
    "label",
    "label.txt",
    "labels",
    "class",
    "class.txt",
    "index",
    "target",
    "y",
    "id",
    "lbl",
    "cls.json",
    "json",
    "npy",
    "pyd",
    "pickle",
    "pkl",
    "msgpack",
    "mp",
    "msg",
    "txt",
];
/// JSON keys of labels, the most trusted first.
const KEYS: [&str; 16] = [
    "label",
    "cls",
    "class",
    "target",
    "y",
    "class_id",
    "label_id",
    "class_index",
    "category_id",
    "labels",
    "class_name",
    "classname",
    "label_name",
    "category",
    "wnid",
    "synset",
];
/// JSON keys of objects that may hold a label.
const NESTS: [&str; 5] = ["annotations", "annotation", "meta", "metadata", "info"];
/// Length from which a word is a text, in bytes.
const MAX_WORD: usize = 200;

/// The rank of a kind among labels, the most trusted 0; `None` if it can't be one.
pub(super) fn rank(kind: &str) -> Option<usize> {
    let whole = KINDS.iter().position(|known| *known == kind);
    let end = kind.rsplit_once('.').map(|(_, end)| end);
    whole.or_else(|| KINDS.iter().position(|known| Some(*known) == end))
}

/// Reads the label in a member of this kind.
pub(super) fn read(kind: &str, bytes: &[u8]) -> Label {
    let unknown =
        |what: &str| Label::Unknown(format!("no label can be read from its .{kind}: {what}"));
    match kind.rsplit('.').next().unwrap_or(kind) {
        "json" => {
            match serde_json::from_slice(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)) {
                Ok(value) => json(&value, 2).unwrap_or_else(|| unknown("expected {\"label\": …}")),
                Err(e) => unknown(&e.to_string()),
            }
        }
        "npy" => npy(bytes).unwrap_or_else(|| unknown("expected one whole number")),
        "pyd" | "pickle" | "pkl" => match pickle::read(bytes) {
            Ok(value) => match (value.as_int(), value.as_text(bytes)) {
                (Some(number), _) => number_label(number),
                (None, Some(word)) => text(&word).unwrap_or(Label::None),
                _ => unknown("expected a whole number or a text"),
            },
            Err(why) => unknown(&why),
        },
        "msgpack" | "mp" | "msg" => msgpack(bytes).unwrap_or_else(|| unknown("expected a number")),
        _ => written(bytes).unwrap_or_else(|| unknown("expected a number or a word")),
    }
}

fn number_label(number: i64) -> Label {
    u64::try_from(number).map_or(Label::None, Label::Number)
}

/// Reads text, or else the bytes of a number, the lowest first.
fn written(bytes: &[u8]) -> Option<Label> {
    if bytes.starts_with(b"\x93NUMPY") {
        return npy(bytes);
    }
    let readable = |c: char| !c.is_control() || c.is_whitespace();
    let utf8 = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(readable));
    let utf16 = || match bytes {
        [0xFF, 0xFE, rest @ ..] => {
            let units = rest.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
            Some(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect::<String>())
        }
        _ => None,
    };
    if let Some(label) = utf8.map(String::from).or_else(utf16) {
        return text(&label);
    }
    if !matches!(bytes.len(), 1 | 2 | 4 | 8) {
        return None;
    }
    let mut number = [0; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    let number = u64::from_le_bytes(number);
    // All bits set is -1.
    let marked = bytes.iter().all(|&byte| byte == 0xFF);
    Some(if marked { Label::None } else { Label::Bytes(number) })
}

/// Reads a number or a word; `None` for a text of several lines.
fn text(written: &str) -> Option<Label> {
    let mut word = written.trim_matches(['\u{feff}', '\0', ' ', '\t', '\r', '\n']);
    // b'3' and '3': Python's way to write bytes and texts. [3]: a list of one.
    let quotes =
        [("b'", "'"), ("b\"", "\""), ("'", "'"), ("\"", "\""), ("[", "]"), ("tensor(", ")")];
    for (open, close) in quotes {
        let inner = word.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        word = inner.map_or(word, str::trim);
    }
    if word.lines().count() > 1 || word.len() > MAX_WORD {
        return None;
    }
    let lower = word.to_lowercase();
    if word.is_empty() || ["none", "null", "nan"].contains(&&*lower) || lower.starts_with("unlabel")
    {
        return Some(Label::None);
    }
    if let Ok(number) = word.parse::<i64>() {
        return Some(number_label(number));
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_finite() && number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(number_label(number as i64))
        }
        Ok(_) => None,
        Err(_) => Some(Label::Word(word.into())),
    }
}

/// Finds a label in JSON: the value itself, or a key of it, or of an object inside it.
fn json(value: &Value, depth: usize) -> Option<Label> {
    match value {
        Value::Number(number) => {
            let whole = number.as_i64().or_else(|| {
                number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15).map(|n| n as i64)
            });
            whole.map(number_label).or_else(|| number.as_u64().map(Label::Number))
        }
        Value::String(word) => text(word),
        Value::Null => Some(Label::None),
        Value::Array(values) if values.len() == 1 => json(&values[0], depth),
        Value::Object(fields) => {
            let found = KEYS.iter().find_map(|key| fields.get(*key).and_then(|v| json(v, depth)));
            found.or_else(|| {
                let depth = depth.checked_sub(1)?;
                NESTS.iter().find_map(|key| fields.get(*key).and_then(|v| json(v, depth)))
            })
        }
        _ => None,
    }
}

/// Reads a NumPy file with one whole number.
fn npy(bytes: &[u8]) -> Option<Label> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first()?;
    let rest = rest.get(1..)?;
    let (length, rest) = match version {
        1 => (u64::from(u16::from_le_bytes(*rest.first_chunk()?)), rest.get(2..)?),
        _ => (u64::from(u32::from_le_bytes(*rest.first_chunk()?)), rest.get(4..)?),
    };
    let length = usize::try_from(length).ok()?;
    let header = std::str::from_utf8(rest.get(..length)?).ok()?;
    let data = rest.get(length..)?;
    let (_, after) = header.split_once("'descr':")?;
    let kind = after.trim_start().trim_start_matches('\'').split('\'').next()?;
    let number = match (kind.trim_start_matches(['<', '|', '=']), data) {
        ("u1", [number]) => i64::from(*number),
        ("i1", [number]) => i64::from(*number as i8),
        ("i2", data) => i64::from(i16::from_le_bytes(data.try_into().ok()?)),
        ("u2", data) => i64::from(u16::from_le_bytes(data.try_into().ok()?)),
        ("i4", data) => i64::from(i32::from_le_bytes(data.try_into().ok()?)),
        ("u4", data) => i64::from(u32::from_le_bytes(data.try_into().ok()?)),
        ("i8" | "u8", data) => i64::from_le_bytes(data.try_into().ok()?),
        _ => return None,
    };
    Some(number_label(number))
}

/// Reads a whole number or a text of MessagePack.
fn msgpack(bytes: &[u8]) -> Option<Label> {
    let (kind, rest) = bytes.split_first()?;
    let mut big = [0; 8];
    let unsigned = |mut big: [u8; 8], data: &[u8]| {
        big[8 - data.len()..].copy_from_slice(data);
        i64::try_from(u64::from_be_bytes(big)).ok().map(number_label)
    };
    match (kind, rest) {
        (0x00..=0x7F, []) => Some(Label::Number(u64::from(*kind))),
        (0xE0..=0xFF, []) => Some(Label::None),
        (0xD0..=0xD3, [first, ..]) if *first >= 0x80 => Some(Label::None),
        (0xCC | 0xD0, data) if data.len() == 1 => unsigned(big, data),
        (0xCD | 0xD1, data) if data.len() == 2 => unsigned(big, data),
        (0xCE | 0xD2, data) if data.len() == 4 => unsigned(big, data),
        (0xCF | 0xD3, data) if data.len() == 8 => {
            big.copy_from_slice(data);
            unsigned(big, data)
        }
        (0xA0..=0xBF, word) if word.len() == usize::from(kind & 31) => {
            text(std::str::from_utf8(word).ok()?)
        }
        _ => None,
    }
}
