//! Python's pickle files, as far as CIFAR's batches and labels need them: numbers, texts, bytes,
//! lists, dictionaries, NumPy arrays and scalars. Nothing is ever executed.
//!
//! Source: `pickletools` of Python's library. Texts and bytes stay in the file: values hold their
//! positions. A container that the file mentions again after it was filled is not supported.

use std::collections::HashMap;
use std::ops::Range;

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nothing,
    True,
    Int(i64),
    /// Position of a text or of bytes in the file.
    Bytes(Range<usize>),
    /// The items of a list or a tuple.
    Items(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    /// A name of Python's library.
    Name(String),
    /// An object: its maker, the maker's arguments, and the state set later.
    Object(Vec<Value>),
    Mark,
}

/// Upper bound for the values on the stack, far above that of any real file.
const MAX_VALUES: usize = 4 << 20;

/// Reads a pickle of protocol 2 or later.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    if bytes.first() != Some(&0x80) {
        return Err("not a pickle of protocol 2 or later".into());
    }
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: HashMap::new() };
    loop {
        let op = machine.byte()?;
        if op == b'.' {
            return machine.pop();
        }
        machine.step(op)?;
        if machine.stack.len() > MAX_VALUES {
            return Err("a pickle with too many values".into());
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u64, Value>,
}

impl Machine<'_> {
    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            0x80 => _ = self.byte()?,  // protocol
            0x95 => _ = self.take(8)?, // frame
            b'(' => self.stack.push(Value::Mark),
            b'}' => self.stack.push(Value::Dictionary(Vec::new())),
            b']' | b')' => self.stack.push(Value::Items(Vec::new())),
            0x88 => self.stack.push(Value::True),
            b'N' | 0x89 => self.stack.push(Value::Nothing),
            b'K' | b'M' | b'J' | 0x8A | b'G' => self.number(op)?,
            b'U' | b'T' | b'X' | 0x8C | b'B' | b'C' | 0x8E | 0x8D | 0x96 => self.text(op)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(op)?,
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.stack.push(Value::Name(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |value: Value| value.as_text(self.bytes).unwrap_or_default();
                let name = format!("{}.{}", text(module), text(name));
                self.stack.push(Value::Name(name));
            }
            _ => self.combine(op)?,
        }
        Ok(())
    }

    fn number(&mut self, op: u8) -> Result<(), String> {
        let value = match op {
            b'K' => Value::Int(self.size(1)? as i64),
            b'M' => Value::Int(self.size(2)? as i64),
            b'J' => Value::Int(i64::from(self.size(4)? as u32 as i32)),
            b'G' => {
                self.take(8)?;
                Value::Nothing
            }
            _ => {
                let length = self.size(1)?;
                let range = self.take(length)?;
                let negative =
                    self.bytes[range.clone()].last().is_some_and(|byte| byte & 0x80 != 0);
                let mut number = [if negative { 0xFF } else { 0 }; 8];
                let digits = &self.bytes[range];
                let place = number.get_mut(..digits.len()).ok_or("a number of too many digits")?;
                place.copy_from_slice(digits);
                Value::Int(i64::from_le_bytes(number))
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn text(&mut self, op: u8) -> Result<(), String> {
        let length = match op {
            b'U' | 0x8C | b'C' => self.size(1)?,
            b'T' | b'X' | b'B' => self.size(4)?,
            _ => self.size(8)?,
        };
        let range = self.take(length)?;
        self.stack.push(Value::Bytes(range));
        Ok(())
    }

    fn memory(&mut self, op: u8) -> Result<(), String> {
        let key = match op {
            b'q' | b'h' => self.size(1)? as u64,
            b'r' | b'j' => self.size(4)? as u64,
            _ => self.memo.len() as u64,
        };
        if matches!(op, b'h' | b'j') {
            let value = self.memo.get(&key).cloned();
            self.stack.push(value.ok_or("a pickle that mentions an unknown value")?);
        } else {
            let value = self.stack.last().cloned().ok_or("a pickle without values")?;
            self.memo.insert(key, value);
        }
        Ok(())
    }

    /// Makes containers and objects of the values on the stack.
    fn combine(&mut self, op: u8) -> Result<(), String> {
        match op {
            b't' | 0x85..=0x87 => {
                let items = match op {
                    b't' => self.since_mark()?,
                    _ => self.last(usize::from(op - 0x84))?,
                };
                self.stack.push(Value::Items(items));
            }
            b'a' | b'e' => {
                let new = if op == b'a' { self.last(1)? } else { self.since_mark()? };
                match self.stack.last_mut() {
                    Some(Value::Items(items)) => items.extend(new),
                    _ => return Err("a pickle that extends what is no list".into()),
                }
            }
            b's' | b'u' => {
                let new = if op == b's' { self.last(2)? } else { self.since_mark()? };
                let Some(Value::Dictionary(pairs)) = self.stack.last_mut() else {
                    return Err("a pickle that extends what is no dictionary".into());
                };
                let mut new = new.into_iter();
                while let (Some(key), Some(value)) = (new.next(), new.next()) {
                    pairs.push((key, value));
                }
            }
            b'R' | 0x81 | b'b' => {
                let parts = self.last(2)?;
                self.stack.push(Value::Object(parts));
            }
            b'0' => _ = self.pop()?,
            op => return Err(format!("a pickle with the operation {op:#04x}, which isn't read")),
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes[self.take(1)?.start])
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let range = self.at..end.ok_or("the pickle ends too early")?;
        self.at = range.end;
        Ok(range)
    }

    /// A little-endian number of this many bytes.
    fn size(&mut self, length: usize) -> Result<usize, String> {
        let mut number = [0; 8];
        number[..length].copy_from_slice(&self.bytes[self.take(length)?]);
        usize::try_from(u64::from_le_bytes(number)).map_err(|e| e.to_string())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("the pickle ends too early")?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "a pickle without values".into())
    }

    fn last(&mut self, n: usize) -> Result<Vec<Value>, String> {
        let from = self.stack.len().checked_sub(n).ok_or("a pickle without values")?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark);
        let items = self.stack.split_off(mark.ok_or("a pickle without a mark")? + 1);
        self.stack.pop();
        Ok(items)
    }
}

impl Value {
    /// The value of a key of a dictionary.
    pub(super) fn get(&self, bytes: &[u8], key: &str) -> Option<&Value> {
        let Self::Dictionary(pairs) = self else { return None };
        let is = |found: &Value| match found {
            Self::Bytes(at) => bytes.get(at.clone()) == Some(key.as_bytes()),
            _ => false,
        };
        pairs.iter().find(|(found, _)| is(found)).map(|(_, value)| value)
    }

    /// A whole number.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn as_text(&self, bytes: &[u8]) -> Option<String> {
        let Self::Bytes(at) = self else { return None };
        Some(String::from_utf8_lossy(bytes.get(at.clone())?).into_owned())
    }

    /// The items of a list or a tuple.
    pub(super) fn items(&self) -> Option<&[Value]> {
        match self {
            Self::Items(items) => Some(items),
            _ => None,
        }
    }

    /// Position of the only bytes of this length inside an object, such as a NumPy array's.
    pub(super) fn bytes_of_length(&self, length: usize) -> Option<Range<usize>> {
        match self {
            Self::Bytes(at) if at.len() == length => Some(at.clone()),
            Self::Items(values) | Self::Object(values) => {
                values.iter().find_map(|value| value.bytes_of_length(length))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
