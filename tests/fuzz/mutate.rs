//! Valid bytes → nearly valid bytes: a pure function of the input's number.

mod protobuf; // field by field

use model::random::{Purpose, Random};

/// The structure of a format, for mutations that keep most of an input valid.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Bytes with numbers of fixed width in them.
    Binary,
    /// A protobuf message, and messages inside it.
    Protobuf,
    /// Text; the words are put in where others stood.
    Text(&'static [&'static str]),
}

/// Numbers at which decoders break.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x0001_0000,
    60_000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Random numbers of one input.
#[derive(Debug)]
pub(crate) struct Dice {
    random: Random,
    thrown: u64,
}

impl Dice {
    pub(crate) fn new(target: &str, seed: u64) -> Self {
        let name = u64::from(crc32fast::hash(target.as_bytes())) << 32;
        Self { random: Random::new(name ^ seed, Purpose::Synthetic), thrown: 0 }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.thrown += 1;
        let [low, high, ..] = self.random.words(0, self.thrown);
        u64::from(low) | u64::from(high) << 32
    }

    /// In `0..n`; 0 if there is nothing.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.number() % n as u64) as usize }
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number at which decoders break, or any.
    pub(crate) fn odd_number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.number(),
            1 => self.number() >> self.below(64),
            _ => NUMBERS[self.below(NUMBERS.len())],
        }
    }

    /// A place; half of the time near the beginning, where headers are.
    fn place(&mut self, len: usize) -> usize {
        if self.one_in(2) { self.below(len.min(64)) } else { self.below(len) }
    }

    fn run(&mut self, len: usize) -> std::ops::Range<usize> {
        let from = self.place(len);
        let most = (len - from).min(1 << self.below(10));
        from..from + self.below(most + 1)
    }
}

/// One input: a seed with a few changes.
pub(crate) fn mutated(dice: &mut Dice, seeds: &[Vec<u8>], shape: Shape) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        match shape {
            Shape::Protobuf if !dice.one_in(4) => bytes = protobuf::changed(dice, &bytes, 0),
            Shape::Text(words) if !dice.one_in(3) => word(dice, &mut bytes, words),
            _ => change(dice, &mut bytes, seeds),
        }
    }
    // Decoders take memory for what they are given; longer inputs would only tell of that.
    bytes.truncate(LONGEST);
    bytes
}

/// Of an input.
const LONGEST: usize = 256 << 10;

/// One change that knows nothing of the format.
pub(crate) fn change(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(dice.number() as u8);
        return;
    }
    match dice.below(9) {
        0 => {
            let at = dice.place(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        1 => {
            let at = dice.place(bytes.len());
            bytes[at] = dice.odd_number() as u8;
        }
        2 | 3 => overwrite(dice, bytes),
        4 => bytes.truncate(dice.below(bytes.len())),
        5 => {
            let run = dice.run(bytes.len());
            bytes.drain(run);
        }
        6 => {
            let run = dice.run(bytes.len());
            let (copy, at) = (bytes[run].to_vec(), dice.below(bytes.len() + 1));
            bytes.splice(at..at, copy);
        }
        7 => {
            let (at, n) = (dice.below(bytes.len() + 1), dice.below(64));
            let new: Vec<u8> = (0..n).map(|_| dice.number() as u8).collect();
            bytes.splice(at..at, new);
        }
        _ => {
            let other = &seeds[dice.below(seeds.len())];
            let (at, from) = (dice.below(bytes.len()), dice.below(other.len()));
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
}

/// A number of some width, either way round: lengths, counts, sides.
fn overwrite(dice: &mut Dice, bytes: &mut [u8]) {
    let (width, number) = ([1, 2, 4, 8][dice.below(4)], dice.odd_number());
    let at = dice.place(bytes.len());
    let little = number.to_le_bytes();
    let new: Vec<u8> = match dice.one_in(2) {
        true => little[..width].to_vec(),
        false => little[..width].iter().rev().copied().collect(),
    };
    for (byte, new) in bytes[at..].iter_mut().zip(new) {
        *byte = new;
    }
}

/// Changes one word or number of a text.
fn word(dice: &mut Dice, bytes: &mut Vec<u8>, words: &[&str]) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-+".contains(byte);
    let at = dice.below(bytes.len());
    let Some(from) = (at..bytes.len()).find(|i| is_word(&bytes[*i])) else { return };
    let len = bytes[from..].iter().take_while(|byte| is_word(byte)).count();
    let old = from..from + len;
    let new: Vec<u8> = match dice.below(6) {
        0 => dice.odd_number().to_string().into(),
        1 => (dice.odd_number() as i64).to_string().into(),
        2 => f64::from_bits(dice.number()).to_string().into(),
        3 => match words.is_empty() {
            true => Vec::new(),
            false => words[dice.below(words.len())].as_bytes().to_vec(),
        },
        4 => ["null", "nan", "-inf", "1e999", "-1", "[[[[", "{", "\"\\u0000\"", "true"]
            [dice.below(9)]
        .into(),
        _ => bytes[old.clone()].repeat(1 << dice.below(8)),
    };
    bytes.splice(old, new);
}
