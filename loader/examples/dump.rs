//! dump
#![allow(clippy::all, clippy::unwrap_used, missing_docs)]
use loader::*;
use std::io::Write;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let src = Source::open(&args[1].parse().unwrap()).unwrap();
    let d = src.describe();
    let mut f = std::io::BufWriter::new(std::fs::File::create(&args[2]).unwrap());
    let (mut sc, mut px) = (Default::default(), vec![]);
    for (s, n) in [(Split::Train, d.n_train), (Split::Val, d.n_val)] {
        for i in 0..n { src.read(s, i, &mut sc, &mut px).unwrap(); f.write_all(&px).unwrap(); }
    }
}
