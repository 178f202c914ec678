//! Protobuf, field by field: without the schema, as the bytes alone show it.

use super::Dice;

/// A field: its key, and what it holds.
#[derive(Debug, Clone)]
struct Field {
    key: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Varint(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

/// A message with one field changed, here or inside.
pub(super) fn changed(dice: &mut Dice, message: &[u8], depth: usize) -> Vec<u8> {
    let Some(mut fields) = read(message).filter(|fields| !fields.is_empty()) else {
        let mut bytes = message.to_vec();
        super::change(dice, &mut bytes, &[message.to_vec()]);
        return bytes;
    };
    let at = dice.below(fields.len());
    match dice.below(10) {
        0 => {
            fields.remove(at);
        }
        1 => {
            let (copy, to) = (fields[at].clone(), dice.below(fields.len() + 1));
            fields.insert(to, copy);
        }
        2 => {
            let other = dice.below(fields.len());
            fields.swap(at, other);
        }
        3 => fields[at].key = (fields[at].key & 7) | (dice.odd_number() & 31) << 3,
        _ => match &mut fields[at].value {
            Value::Varint(number) => *number = dice.odd_number(),
            Value::Fixed(bytes) => {
                let number = dice.odd_number().to_le_bytes();
                let floats = [f64::NAN, f64::INFINITY, -1e300].map(f64::to_le_bytes);
                let new = if dice.one_in(3) { floats[dice.below(3)] } else { number };
                let width = bytes.len();
                bytes.copy_from_slice(&new[8 - width..]);
            }
            Value::Bytes(bytes) if depth < 4 => *bytes = changed(dice, bytes, depth + 1),
            Value::Bytes(bytes) => bytes.clear(),
        },
    }
    fields.iter().flat_map(written).collect()
}

fn read(mut message: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut message)?),
            1 => Value::Fixed(message.split_off(..8)?.to_vec()),
            5 => Value::Fixed(message.split_off(..4)?.to_vec()),
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                Value::Bytes(message.split_off(..len)?.to_vec())
            }
            _ => return None,
        };
        fields.push(Field { key, value });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn written(field: &Field) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(field.key, &mut bytes);
    match &field.value {
        Value::Varint(number) => put(*number, &mut bytes),
        Value::Fixed(fixed) => bytes.extend(fixed),
        Value::Bytes(inner) => {
            put(inner.len() as u64, &mut bytes);
            bytes.extend(inner);
        }
    }
    bytes
}

fn put(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
