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

/// A class or a group of the kit: number, WordNet id, words, number of members, of pictures.
pub(in crate::prepare) type Synset<'a> = (u8, &'a str, &'a str, u8, u8);

/// A `meta.mat` with these numbers, WordNet ids and words.
pub(in crate::prepare) fn meta_mat(synsets: &[(u8, &str, &str)], compressed: bool) -> Vec<u8> {
    let with_counts: Vec<Synset<'_>> = synsets.iter().map(|s| (s.0, s.1, s.2, 0, 0)).collect();
    meta(&["ILSVRC2012_ID", "WNID", "words", "wordnet_height"], &with_counts, compressed)
}

/// A `meta.mat` of an edition that also has the counts.
pub(in crate::prepare) fn meta_with_counts(year: u16, synsets: &[Synset<'_>]) -> Vec<u8> {
    let id = format!("ILSVRC{year}_ID");
    let fields =
        [id.as_str(), "WNID", "words", "wordnet_height", "num_children", "num_train_images"];
    meta(&fields, synsets, true)
}

fn meta(fields: &[&str], synsets: &[Synset<'_>], compressed: bool) -> Vec<u8> {
    let names: Vec<u8> =
        fields.iter().flat_map(|name| [name.as_bytes(), &[0; 32][name.len()..]].concat()).collect();
    let mut contents = [put(5, &32_u32.to_le_bytes()), put(1, &names)].concat();
    for (id, wnid, words, children, pictures) in synsets {
        let number = |number: &u8| array(MX_DOUBLE, [1, 1], "", &put(MI_UINT8, &[*number]));
        contents.extend(number(id));
        contents.extend(text_array(wnid));
        contents.extend(text_array(words));
        contents.extend(array(MX_DOUBLE, [1, 1], "", &put(9, &0.0_f64.to_le_bytes())));
        if fields.len() > 4 {
            contents.extend(number(children));
            contents.extend(number(pictures));
        }
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
    let mut newer = whole.clone();
    newer[124..126].copy_from_slice(&[0, 2]);
    assert!(read(&newer).unwrap_err().contains("7.3"));
    let mut big = whole;
    big.truncate(124);
    big.extend([1, 0, b'M', b'I']);
    assert!(read(&big).unwrap_err().contains("big-endian"));
}
