//! Reads what a writer here writes, as MATLAB documents it; the writer serves other tests too.

use std::io::Write;

use super::*;

/// An element: tag, data, padding; short ones inside the tag, as MATLAB does.
fn put(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if (1..=4).contains(&data.len()) {
        bytes.extend((kind | (data.len() as u32) << 16).to_le_bytes());
        bytes.extend(data);
    } else {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn array(class: u8, dimensions: [u32; 2], name: &str, contents: &[u8]) -> Vec<u8> {
    let dimensions = dimensions.map(u32::to_le_bytes).concat();
    let parts =
        [&put(6, &[class, 0, 0, 0, 0, 0, 0, 0]), &put(5, &dimensions), &put(1, name.as_bytes())];
    put(MI_MATRIX, &[parts[0], parts[1], parts[2], contents].concat())
}

fn text_array(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    array(MX_CHAR, [1, text.len() as u32], "", &put(MI_UINT16, &units))
}

/// A `meta.mat` with these numbers, WordNet ids and words.
pub(in crate::prepare) fn meta_mat(synsets: &[(u8, &str, &str)], compressed: bool) -> Vec<u8> {
    let names: Vec<u8> = ["ILSVRC2012_ID", "WNID", "words", "wordnet_height"]
        .iter()
        .flat_map(|name| [name.as_bytes(), &[0; 32][name.len()..]].concat())
        .collect();
    let mut contents = [put(5, &32_u32.to_le_bytes()), put(1, &names)].concat();
    for (id, wnid, words) in synsets {
        contents.extend(array(MX_DOUBLE, [1, 1], "", &put(MI_UINT8, &[*id])));
        contents.extend(text_array(wnid));
        contents.extend(text_array(words));
        contents.extend(array(MX_DOUBLE, [1, 1], "", &put(9, &0.0_f64.to_le_bytes())));
    }
    let variable = array(MX_STRUCT, [synsets.len() as u32, 1], "synsets", &contents);
    let mut file = b"MATLAB 5.0 MAT-file, written by a test".to_vec();
    file.resize(124, b' ');
    file.extend([0x00, 0x01, b'I', b'M']);
    if compressed {
        let level = flate2::Compression::default();
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), level);
        packed.write_all(&variable).unwrap();
        let packed = packed.finish().unwrap();
        file.extend(MI_COMPRESSED.to_le_bytes());
        file.extend((packed.len() as u32).to_le_bytes());
        file.extend(packed);
    } else {
        file.extend(variable);
    }
    file
}

const TWO: [(u8, &str, &str); 2] =
    [(2, "n02119789", "kit fox, Vulpes macrotis"), (1, "n02100735", "English setter")];

#[test]
fn structures_come_out_compressed_or_not() {
    for compressed in [false, true] {
        let variables = read(&meta_mat(&TWO, compressed)).unwrap();
        let [(name, Value::Structs(fields))] = variables.as_slice() else {
            panic!("{variables:?}")
        };
        assert_eq!(name, "synsets");
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ILSVRC2012_ID", "WNID", "words", "wordnet_height"]);
        assert_eq!(fields[0].1, [Value::Numbers(vec![2.0]), Value::Numbers(vec![1.0])]);
        assert_eq!(fields[1].1[0], Value::Text("n02119789".into()));
        assert_eq!(fields[2].1[0], Value::Text("kit fox, Vulpes macrotis".into()));
        assert_eq!(fields[3].1[1], Value::Numbers(vec![0.0]));
    }
}

#[test]
fn files_cut_anywhere_and_other_files_are_refused_not_fatal() {
    let whole = meta_mat(&TWO, false);
    for end in 0..whole.len() {
        let cut = read(&whole[..end]);
        assert!(cut.is_err() || end == 128 || cut == read(&whole), "cut at {end}: {cut:?}");
    }
    let mut damaged = meta_mat(&TWO, true);
    damaged[200] ^= 0xFF;
    assert!(read(&damaged).is_err());
    assert!(read(&[b'x'; 500]).unwrap_err().contains("level 5"));
}
