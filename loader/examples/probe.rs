//! probe
#![allow(clippy::all, clippy::print_stdout, clippy::unwrap_used, missing_docs)]
use loader::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let src = Source::open(&args[1].parse().unwrap()).unwrap();
    let d = src.describe();
    println!("{} side {} train {} val {} colors {:?}", d.name, d.side, d.n_train, d.n_val, d.colors);
    let s = d.side;
    let (cols, rows) = (20, 10);
    let mut sheet = vec![0u8; cols * rows * s * s * 3];
    let mut sc = Default::default();
    let mut px = vec![];
    for i in 0..cols * rows {
        src.read(Split::Train, i as u64 % d.n_train, &mut sc, &mut px).unwrap();
        // class per row (synthetic labels take turns)
        let (r, c) = (i % 10, i / 10);
        for y in 0..s { let o = ((r * s + y) * cols * s + c * s) * 3; sheet[o..o + 3 * s].copy_from_slice(&px[y * s * 3..][..3 * s]); }
    }
    let mut f = format!("P6 {} {} 255\n", cols * s, rows * s).into_bytes();
    f.extend(&sheet);
    
    image::save_buffer(&args[2], &sheet, (cols * s) as u32, (rows * s) as u32, image::ColorType::Rgb8).unwrap();
    let t = std::time::Instant::now();
    let n = 2000u64.min(d.n_train);
    for i in 0..n { src.read(Split::Train, i, &mut sc, &mut px).unwrap(); }
    println!("{:.0} us/picture", t.elapsed().as_secs_f64() * 1e6 / n as f64);
}
