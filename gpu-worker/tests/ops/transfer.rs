//! Numbers and bytes to the device and back.

use bytes::Bytes;
use gpu_worker::backend::{Backend, Encoded};
use gpu_worker::ops::{Input, Scale};
use model::recipe::Encoding;

use crate::harness::{BEFORE, before, random, read, upload};

/// Cuts bytes at odd places, so that numbers straddle pieces; some pieces hold less than a number.
fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    let (mut rest, mut pieces) = (bytes.clone(), Vec::new());
    for len in [1, 1, 1, 7, 0, 13, 2, 1000].into_iter().cycle() {
        if rest.is_empty() {
            return pieces;
        }
        pieces.push(rest.split_to(len.min(rest.len())));
    }
    unreachable!("a cycle does not end")
}

pub(crate) fn carries_f32_in_any_pieces<B: Backend>(b: &mut B) {
    let values = random(1, 1777);
    let from = upload(b, &values);
    let sent = b.download(&from, 100..1500, Encoding::F32).unwrap().wait().unwrap();
    assert_eq!((sent.encoding, sent.exponent, sent.bytes.len()), (Encoding::F32, 0, 1400 * 4));
    let mut to = before(b, 1500);
    b.upload(&pieces(&sent.bytes), Encoding::F32, 0, &mut to, 50).unwrap();
    let got = read(b, &to, 0..1500);
    assert_eq!(got[50..1450], values[100..1500]);
    assert!(got[..50].iter().chain(&got[1450..]).all(|v| *v == BEFORE));
}

fn half_bits(sent: &Encoded) -> Vec<u16> {
    sent.bytes.as_chunks().0.iter().map(|half| u16::from_le_bytes(*half)).collect()
}

pub(crate) fn carries_f16_with_the_largest_below_its_limit<B: Backend>(b: &mut B) {
    for size in [1e-30_f32, 1e-9, 1.0, 3.0e4, 65504.0, 65505.0, 1e30] {
        let mut values = random(1, 1777);
        let most = values[100..1500].iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        values.iter_mut().for_each(|v| *v *= size / most);
        let largest = values[100..1500].iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let from = upload(b, &values);
        let sent = b.download(&from, 100..1500, Encoding::F16).unwrap().wait().unwrap();
        assert_eq!((sent.encoding, sent.bytes.len()), (Encoding::F16, 1400 * 2));
        let scaled = f64::from(largest) * 2.0_f64.powi(sent.exponent);
        assert!(scaled <= 65504.0 && scaled * 2.0 > 65504.0, "{size}: {scaled}");

        let mut to = before(b, 1401);
        b.upload(&pieces(&sent.bytes), Encoding::F16, sent.exponent, &mut to, 1).unwrap();
        let got = read(b, &to, 0..1401);
        assert_eq!(got[0], BEFORE);
        for (got, want) in got[1..].iter().zip(&values[100..]) {
            // Half a unit in the last of 11 bits; small numbers, half of f16's smallest.
            let off = f64::from((got - want).abs());
            let unit =
                (f64::from(want.abs()) * 2.0_f64.powi(-11)).max(2.0_f64.powi(-25 - sent.exponent));
            assert!(off <= unit, "{want} became {got}");
        }
    }
}

/// The other half is gone in mid-step: what was on its way to it is dropped.
pub(crate) fn numbers_that_nobody_waits_for_do_no_harm<B: Backend>(b: &mut B) {
    let values = random(4, 500);
    let from = upload(b, &values);
    for _ in 0..20 {
        drop(b.download(&from, 0..500, Encoding::F32).unwrap());
    }
    let kept: Vec<_> = [0, 100, 200]
        .map(|at| b.download(&from, at..at + 100, Encoding::F32).unwrap())
        .into_iter()
        .map(|download| proto::chunk::bytes_to_floats(&download.wait().unwrap().bytes).unwrap())
        .collect();
    assert_eq!(kept.concat(), values[..300]);
}

/// More numbers than a GPU looks at in one go, the largest among the first.
pub(crate) fn finds_the_largest_of_many<B: Backend>(b: &mut B) {
    let mut values = vec![1.0; 300_000];
    values[5] = 60_000.0;
    let from = upload(b, &values);
    let sent = b.download(&from, 0..values.len(), Encoding::F16).unwrap().wait().unwrap();
    assert_eq!(sent.exponent, 0);
}

pub(crate) fn carries_zeros_and_what_is_not_finite<B: Backend>(b: &mut B) {
    let zeros = b.floats("zeros", 300).unwrap();
    let sent = b.download(&zeros, 0..300, Encoding::F16).unwrap().wait().unwrap();
    assert_eq!(sent.exponent, 0);
    assert_eq!(half_bits(&sent), vec![0; 300]);

    // As much as there is: 2^126 is the largest power that an f32 and its inverse both have.
    let tiny = upload(b, &[f32::from_bits(1), -f32::from_bits(3), 0.0]);
    let sent = b.download(&tiny, 0..3, Encoding::F16).unwrap().wait().unwrap();
    let scaled = [1.0, -3.0].map(|x: f32| half::f16::from_f32(x * 2.0_f32.powi(126 - 149)));
    assert_eq!(sent.exponent, 126);
    assert_eq!(half_bits(&sent), [scaled[0].to_bits(), scaled[1].to_bits(), 0]);

    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -0.5];
    let from = upload(b, &values);
    for wire in [Encoding::F32, Encoding::F16] {
        let sent = b.download(&from, 0..5, wire).unwrap().wait().unwrap();
        let mut to = before(b, 5);
        b.upload(&[sent.bytes], wire, sent.exponent, &mut to, 0).unwrap();
        let got = read(b, &to, 0..5);
        assert!(got[0].is_nan());
        assert_eq!(got[1..], values[1..]);
    }
}

pub(crate) fn carries_bytes_in_any_pieces<B: Backend>(b: &mut B) {
    // Bytes come back only through an operation; input with a mean of 0 shows them as they are.
    let pixels: Vec<u8> = (0..3 * 32 * 32).map(|i| (i * 31 % 256) as u8).collect();
    let mut buffer = b.bytes("pixels", pixels.len()).unwrap();
    b.upload_bytes(&pieces(&Bytes::from(pixels.clone())), &mut buffer).unwrap();
    let (places, mean) = (b.floats("places", 6).unwrap(), b.floats("mean", 3 * 32 * 32).unwrap());
    let mut y = before(b, pixels.len());
    let op = Input {
        images: 0..1,
        crop: 32,
        side: 32,
        pixels: &buffer,
        crops: &places,
        mean: &mean,
        y: &mut y,
    };
    b.run(op).unwrap();
    let want: Vec<f32> = pixels.iter().map(|p| f32::from(*p)).collect();
    assert_eq!(read(b, &y, 0..pixels.len()), want);
}

pub(crate) fn refuses_what_does_not_fit<B: Backend>(b: &mut B) {
    let mut to = before(b, 10);
    let eleven = Bytes::from(vec![0; 44]);
    assert!(b.upload(std::slice::from_ref(&eleven), Encoding::F32, 0, &mut to, 0).is_err());
    assert!(b.upload(&[eleven.slice(..8)], Encoding::F32, 0, &mut to, 9).is_err());
    assert!(b.upload(&[eleven.slice(..7)], Encoding::F32, 0, &mut to, 0).is_err());
    assert!(b.upload(&[eleven.slice(..7)], Encoding::F16, 0, &mut to, 0).is_err());
    assert!(b.download(&to, 5..11, Encoding::F32).is_err());
    let mut bytes = b.bytes("pixels", 43).unwrap();
    assert!(b.upload_bytes(&[eleven], &mut bytes).is_err());
    assert_eq!(read(b, &to, 0..10), [BEFORE; 10]);
}

pub(crate) fn measures_time<B: Backend>(b: &mut B) {
    let mut y = before(b, 1 << 20);
    let from = b.mark().unwrap();
    b.run(Scale { factor: 2.0, len: 1 << 20, images: 0..1, y: &mut y }).unwrap();
    let to = b.mark().unwrap();
    b.finish().unwrap();
    let ms = b.ms_between(&from, &to).unwrap();
    assert!(ms > 0.0 && ms < 10_000.0, "{ms}");
    assert!(!b.name().is_empty());
}
