//! MATLAB's file format, level 5, as far as the development kit's `meta.mat` needs it: structures,
//! text and numbers, compressed or not.
//!
//! Source: MathWorks, "MAT-File Format". Elements are a tag (type, length) and data, padded to
//! eight bytes; an element of up to four bytes may share its tag's eight.

use std::io::Read;

/// The contents of an element.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Numbers(Vec<f64>),
    Text(String),
    /// Fields by name, in order, each with one value per element of the array.
    Structs(Vec<(String, Vec<Value>)>),
    /// Anything that is not needed here.
    Other,
}

/// Limit of nesting, deeper than in any real file.
const DEPTH: usize = 16;
/// Limit of an unpacked element, in bytes; the real `meta.mat` has under 2 MB.
const LIMIT: u64 = 256 << 20;

const MI_INT8: u32 = 1;
const MI_UINT8: u32 = 2;
const MI_UINT16: u32 = 4;
const MI_MATRIX: u32 = 14;
const MI_COMPRESSED: u32 = 15;
const MI_UTF8: u32 = 16;

const MX_STRUCT: u8 = 2;
const MX_CHAR: u8 = 4;
const MX_DOUBLE: u8 = 6;
const MX_UINT64: u8 = 15;

/// Reads the named variables of a file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
    let header = bytes.get(..128).ok_or("not a MATLAB file: shorter than its header")?;
    match &header[124..] {
        [0x00, 0x01, b'I', b'M'] => {}
        [_, _, b'M', b'I'] => {
            let why = "a big-endian MATLAB file; expected little-endian, as in the development kit";
            return Err(format!("{why}: download the kit again"));
        }
        [0x00, 0x02, b'I', b'M'] => {
            let why = "a MATLAB file of version 7.3 (HDF5); expected level 5, as in the kit";
            return Err(format!("{why}: download the development kit again, or save with -v7"));
        }
        _ => {
            let why = "not a MATLAB file of level 5; download the development kit again";
            return Err(why.into());
        }
    }
    let mut variables = Vec::new();
    let mut rest = &bytes[128..];
    while !rest.is_empty() {
        let (kind, data) = element(&mut rest)?;
        let unpacked;
        let (kind, data) = if kind == MI_COMPRESSED {
            unpacked = unpack(data)?;
            element(&mut unpacked.as_slice())?
        } else {
            (kind, data)
        };
        if kind == MI_MATRIX {
            variables.push(matrix(data, DEPTH)?);
        }
    }
    Ok(variables)
}

fn unpack(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let unpacking = flate2::read::ZlibDecoder::new(data).take(LIMIT).read_to_end(&mut unpacked);
    unpacking.map_err(|e| format!("a compressed part can't be unpacked: {e}"))?;
    Ok(unpacked)
}

/// Takes the next element off `rest`.
fn element<'a>(rest: &mut &'a [u8]) -> Result<(u32, &'a [u8]), String> {
    const ENDS: &str = "the MATLAB file ends inside an element";
    let word = |at: usize| -> Result<u32, String> {
        let bytes = rest.get(at..at + 4).ok_or(ENDS)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let tag = word(0)?;
    if tag >> 16 != 0 {
        let length = (tag >> 16) as usize;
        let data = rest.get(4..8).and_then(|data| data.get(..length)).ok_or(ENDS)?;
        *rest = &rest[8..];
        return Ok((tag & 0xFFFF, data));
    }
    let length = word(4)? as usize;
    let data = rest.get(8..8 + length).ok_or(ENDS)?;
    // A compressed element isn't padded; the last one's padding may be missing.
    let padded = if tag == MI_COMPRESSED { length } else { length.next_multiple_of(8) };
    *rest = rest.get(8 + padded..).unwrap_or_default();
    Ok((tag, data))
}

/// Reads name and value of an array.
fn matrix(mut data: &[u8], depth: usize) -> Result<(String, Value), String> {
    if data.is_empty() {
        return Ok((String::new(), Value::Other)); // an empty array may have nothing at all
    }
    let depth = depth.checked_sub(1).ok_or("a MATLAB file nested too deeply")?;
    let rest = &mut data;
    let (_, flags) = element(rest)?;
    let class = *flags.first().ok_or("an array without its class")?;
    let (_, dimensions) = element(rest)?;
    let n_elements = dimensions
        .as_chunks::<4>()
        .0
        .iter()
        .try_fold(1_usize, |n, d| n.checked_mul(u32::from_le_bytes(*d) as usize))
        .ok_or("an array with impossible dimensions")?;
    let (_, name) = element(rest)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let value = match class {
        MX_STRUCT => structs(rest, n_elements, depth)?,
        MX_CHAR => text(element(rest)?)?,
        MX_DOUBLE..=MX_UINT64 => Value::Numbers(numbers(element(rest)?)?),
        _ => Value::Other,
    };
    Ok((name, value))
}

fn structs(rest: &mut &[u8], n_elements: usize, depth: usize) -> Result<Value, String> {
    let (_, length) = element(rest)?;
    let length = length.first().copied().map(usize::from).filter(|&n| n > 0);
    let length = length.ok_or("a structure without the length of its names")?;
    let (_, names) = element(rest)?;
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        (String::from_utf8_lossy(&bytes[..end]).into_owned(), Vec::new())
    };
    let mut fields: Vec<(String, Vec<Value>)> = names.chunks_exact(length).map(name).collect();
    if fields.is_empty() && n_elements > 0 {
        return Err("structures without fields".into()); // a damaged count would never end
    }
    for _ in 0..n_elements {
        for (_, values) in &mut fields {
            let (kind, data) = element(rest)?;
            values.push(if kind == MI_MATRIX { matrix(data, depth)?.1 } else { Value::Other });
        }
    }
    Ok(Value::Structs(fields))
}

fn text((kind, data): (u32, &[u8])) -> Result<Value, String> {
    Ok(Value::Text(match kind {
        MI_INT8 | MI_UINT8 | MI_UTF8 => String::from_utf8_lossy(data).into_owned(),
        MI_UINT16 | 17 => {
            let units: Vec<u16> =
                data.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
            String::from_utf16_lossy(&units)
        }
        _ => return Err(format!("text stored as type {kind}")),
    }))
}

fn numbers((kind, data): (u32, &[u8])) -> Result<Vec<f64>, String> {
    macro_rules! each {
        ($number:ty) => {
            data.as_chunks::<{ size_of::<$number>() }>()
                .0
                .iter()
                .map(|b| <$number>::from_le_bytes(*b) as f64)
                .collect()
        };
    }
    Ok(match kind {
        1 => each!(i8),
        2 => each!(u8),
        3 => each!(i16),
        4 => each!(u16),
        5 => each!(i32),
        6 => each!(u32),
        7 => each!(f32),
        9 => each!(f64),
        12 => each!(i64),
        13 => each!(u64),
        _ => return Err(format!("numbers stored as type {kind}")),
    })
}

#[cfg(test)]
pub(super) mod tests;
