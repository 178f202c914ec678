//! Pictures of many kinds against the pixels that they hold: right, or refused by name.
//!
//! The files and pixels are of `tests/golden/make_pictures.py`.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

use super::*;

/// Largest mean difference of a right decoding, of 255.
///
/// Decoders round differently, and interpolate halved chroma differently at edges. A wrong decoding
/// of the scene differs by five and more.
const MEAN: f64 = 1.5;
/// Largest difference of one color of a pixel, of 255; most wrong decodings differ by 44 and more.
const LARGEST: u8 = 24;

fn files() -> BTreeMap<String, Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/pictures.tar.gz");
    let archive = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let read = |member: std::io::Result<tar::Entry<'_, _>>| {
        let mut member: tar::Entry<'_, _> = member.unwrap();
        let name = member.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

fn ppm(bytes: &[u8]) -> RgbImage {
    let mut lines = bytes.splitn(4, |&byte| byte == b'\n');
    let (_, size) = (lines.next(), String::from_utf8(lines.next().unwrap().to_vec()).unwrap());
    let (width, height) = size.split_once(' ').unwrap();
    let pixels = lines.nth(1).unwrap().to_vec();
    RgbImage::from_raw(width.parse().unwrap(), height.parse().unwrap(), pixels).unwrap()
}

/// The outcome for one file.
enum Outcome {
    Right { mean: f64, largest: u8 },
    Refused(String),
    Wrong(String),
}

fn outcome(bytes: &[u8], want: Option<&RgbImage>) -> Outcome {
    let got = match catching_panics(|| read::rgb(bytes)) {
        Ok(got) => got,
        Err(why) => return Outcome::Refused(why),
    };
    let Some(want) = want else { return Outcome::Wrong("decoded".into()) };
    if got.dimensions() != want.dimensions() {
        return Outcome::Wrong(format!("{:?} for {:?}", got.dimensions(), want.dimensions()));
    }
    let differences = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b));
    let largest = differences.clone().max().unwrap();
    let mean = differences.map(f64::from).sum::<f64>() / got.len() as f64;
    match mean <= MEAN && largest <= LARGEST {
        true => Outcome::Right { mean, largest },
        false => Outcome::Wrong(format!("mean difference {mean:.2}, largest {largest}")),
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what a person runs this test for")]
fn pictures_of_every_kind_are_decoded_right_or_refused() {
    let files = files();
    let kinds = String::from_utf8(files["kinds.tsv"].clone()).unwrap();
    let (mut table, mut counts, mut faults) = (String::new(), [0; 3], Vec::new());
    for (name, expected) in kinds.lines().filter_map(|line| line.split_once('\t')) {
        let want = files.get(&format!("{name}.ppm")).map(|pixels| ppm(pixels));
        let (kind, said, as_expected) = match outcome(&files[name], want.as_ref()) {
            Outcome::Right { mean, largest } => {
                (0, format!("right    mean {mean:.2}, largest {largest}"), expected == "right")
            }
            Outcome::Refused(why) => (1, format!("refused  {why}"), expected == "refused"),
            Outcome::Wrong(how) => (2, format!("WRONG    {how}"), false),
        };
        counts[kind] += 1;
        table += &format!("{name:<48} {said}\n");
        if !as_expected {
            faults.push(format!("{name}, expected {expected}: {said}"));
        }
    }
    let [right, refused, wrong] = counts;
    println!("{table}\n{right} right, {refused} refused, {wrong} wrong");
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        right + refused + wrong,
        faults.join("\n")
    );
    assert!(right > 300 && refused > 100, "{right} right, {refused} refused");
}

/// Zune-jpeg alone makes another picture of one scan per component.
#[test]
fn a_stored_jpeg_of_any_kind_has_the_pixels_that_it_was_stored_for() {
    let files = files();
    let kinds = String::from_utf8(files["kinds.tsv"].clone()).unwrap();
    let right = kinds.lines().filter_map(|line| line.strip_suffix("\tright"));
    let jpegs = right.map(|name| &files[name]).filter(|bytes| bytes.starts_with(&[0xFF, 0xD8]));
    let (mut n, mut same, mut scans) = (0, 0, 0);
    for bytes in jpegs {
        let pixels = read::rgb(bytes).unwrap();
        n += 1;
        same += usize::from(is_jpeg_of(bytes, &pixels));
        let one_each = bytes.windows(5).filter(|b| matches!(b, [0xFF, 0xDA, 0, 8, 1])).count() == 3;
        scans += usize::from(one_each && is_jpeg_of(bytes, &pixels));
    }
    assert!(same > n / 2 && scans > 0, "{same} of {n} JPEGs, {scans} with one scan per component");
}
