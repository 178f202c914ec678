//! Tensor cores: `mma` and `ldmatrix`, fragment by fragment, against a plain product.

use crate::device::{Device, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;

/// A format of factors: name, bits in a register, number of values per register.
struct Factor {
    name: &'static str,
    bits: fn(f32) -> u32,
    packed: usize,
}

/// Numbers of few bits, which all three types hold exactly.
fn number(i: usize) -> f32 {
    (i * 7 % 23) as f32 * 0.25 - 2.5
}

/// The bits of a number that is exactly a half: by its own definition, not the emulator's.
fn half(value: f32) -> u32 {
    let bits = value.to_bits();
    if value == 0.0 {
        return bits >> 16;
    }
    (bits >> 16 & 0x8000) | (((bits >> 23 & 0xFF) - 112) << 10) | (bits >> 13 & 0x3FF)
}

const FACTORS: [Factor; 3] = [
    Factor { name: "f16", bits: half, packed: 2 },
    Factor { name: "bf16", bits: |value| value.to_bits() >> 16, packed: 2 },
    Factor { name: "tf32", bits: f32::to_bits, packed: 1 },
];

/// A matrix of numbers as words: row after row, `packed` of them in a word.
fn words(
    factor: &Factor,
    rows: usize,
    columns: usize,
    at: impl Fn(usize, usize) -> f32,
) -> Vec<u32> {
    let words =
        (0..rows).flat_map(|row| (0..columns).step_by(factor.packed).map(move |k| (row, k)));
    words
        .map(|(row, k)| {
            (0..factor.packed)
                .fold(0, |word, part| word | (factor.bits)(at(row, k + part)) << (16 * part))
        })
        .collect()
}

/// One product of 16 × depth by depth × 8, its fragments loaded word by word as the manual lays
/// them out.
fn multiply(factor: &Factor, depth: usize) -> String {
    let words_a_row = depth / factor.packed;
    let (n_a, n_b) = (words_a_row / 2, words_a_row / 4);
    let mut body = String::from(
        "shr.u32 %r1, %t, 2;\nand.b32 %r2, %t, 3;\n", // group and member
    );
    let mut load = |to: usize, from: &str, row: usize, word: usize| {
        body += &format!(
            "add.u32 %r3, %r1, {row};\nmad.lo.u32 %r3, %r3, {words_a_row}, %r2;\nadd.u32 %r3, %r3, {word};\n\
             mul.wide.u32 %rd1, %r3, 4;\nadd.u64 %rd1, %rd1, {from};\nld.global.u32 %r{to}, [%rd1];\n"
        );
    };
    (0..n_a).for_each(|i| load(10 + i, "%a1", 8 * (i % 2), 4 * (i / 2)));
    // The second factor is given by columns.
    (0..n_b).for_each(|i| load(20 + i, "%a2", 0, 4 * i));
    let list = |from: usize, n: usize| {
        (from..from + n).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(", ")
    };
    body += "mov.f32 %f5, 0f3F000000;\n";
    body += &format!(
        "mma.sync.aligned.m16n8k{depth}.row.col.f32.{0}.{0}.f32 {{%f1, %f2, %f3, %f4}}, {{{1}}}, {{{2}}}, {{%f5, %f5, %f5, %f5}};\n",
        factor.name,
        list(10, n_a),
        list(20, n_b)
    );
    body += "shl.b32 %r3, %r1, 3;\nadd.u32 %r3, %r3, %r2;\nadd.u32 %r3, %r3, %r2;\n\
             mul.wide.u32 %rd1, %r3, 4;\nadd.u64 %rd1, %rd1, %a0;\n\
             st.global.v2.f32 [%rd1], {%f1, %f2};\nst.global.v2.f32 [%rd1+256], {%f3, %f4};";
    kernel(3, &body)
}

#[test]
fn a_product_of_tensor_cores_is_a_product() {
    let depths = |factor: &Factor| if factor.packed == 2 { [8, 16] } else { [4, 8] };
    for factor in &FACTORS {
        for depth in depths(factor) {
            let (a, b) = (
                |row: usize, k: usize| number(row * 31 + k),
                |k: usize, n: usize| number(k * 5 + n * 11 + 3),
            );
            let device = Device::of_ptx(multiply(factor, depth));
            let args = [
                device.blank(16 * 8 * 4),
                device.upload(&words(factor, 16, depth, a)),
                device.upload(&words(factor, 8, depth, |n, k| b(k, n))),
            ];
            device.launch("k", 1, 32, &args).unwrap();
            let got = device.download::<f32>(args[0], 128).unwrap();
            // Quarters of small numbers: every sum is exact, whatever its order.
            for (i, got) in got.iter().enumerate() {
                let want = (0..depth).fold(0.5, |sum, k| sum + a(i / 8, k) * b(k, i % 8));
                assert_eq!(
                    *got,
                    want,
                    "{} depth {depth}: row {} column {}",
                    factor.name,
                    i / 8,
                    i % 8
                );
            }
        }
    }
}

#[test]
fn tf32_ignores_the_lowest_thirteen_bits() {
    let device = Device::of_ptx(multiply(&FACTORS[2], 8));
    let noisy = |value: f32| f32::from_bits(value.to_bits() | 0x1FFF);
    let args =
        [device.blank(512), device.upload(&[noisy(1.0); 128]), device.upload(&[noisy(2.0); 64])];
    device.launch("k", 1, 32, &args).unwrap();
    assert_eq!(device.download::<f32>(args[0], 128), Ok(vec![16.5; 128]));
}

/// Four 8 × 8 matrices of halves from shared memory, whose element is its own place.
fn load_matrix(form: &str, before: &str) -> String {
    let body = format!(
        ".shared .align 16 .b8 tile[512];
        mov.u32 %r1, tile;
        shl.b32 %r2, %t, 4;
        add.u32 %r1, %r1, %r2;
        shl.b32 %r3, %t, 3;
        mad.lo.u32 %r4, %r3, 0x10001, 0x10000;
        add.u32 %r5, %r4, 0x20002;
        add.u32 %r6, %r4, 0x40004;
        add.u32 %r7, %r4, 0x60006;
        st.shared.v4.u32 [%r1], {{%r4, %r5, %r6, %r7}};
        {before}
        ldmatrix.sync.aligned.m8n8.x4{form}.shared.b16 {{%r10, %r11, %r12, %r13}}, [%r1];
        shl.b64 %rd1, %o, 2;
        add.u64 %rd1, %rd1, %a0;
        st.global.v4.u32 [%rd1], {{%r10, %r11, %r12, %r13}};"
    );
    kernel(1, &body)
}

#[test]
fn matrices_are_loaded_as_they_lie_or_transposed() {
    for (form, transposed) in [("", false), (".trans", true)] {
        let device = Device::of_ptx(load_matrix(form, "bar.sync 0;"));
        let to = device.blank(512);
        device.launch("k", 1, 32, &[to]).unwrap();
        let got = device.download::<u32>(to, 128).unwrap();
        for (i, got) in got.into_iter().enumerate() {
            let (lane, matrix) = (i / 4, i % 4);
            let element = |row: usize, column: usize| (matrix * 64 + row * 8 + column) as u32;
            let (row, column) = (lane / 4, lane % 4 * 2);
            let want = match transposed {
                false => element(row, column) | element(row, column + 1) << 16,
                true => element(column, row) | element(column + 1, row) << 16,
            };
            assert_eq!(got, want, "lane {lane} matrix {matrix}{form}");
        }
    }
}

/// Rows of a matrix are read for other lanes: without a barrier that is a race like any other.
#[test]
fn a_matrix_is_not_loaded_before_a_barrier() {
    let Some(said) = child(Settings::default(), || {
        // A block of two warps, in which each reads the rows the other wrote.
        let text =
            load_matrix("", "xor.b32 %r2, %r2, 512;\nmov.u32 %r1, tile;\nadd.u32 %r1, %r1, %r2;")
                .replace("tile[512]", "tile[1024]");
        let device = Device::of_ptx(text);
        let to = device.blank(1024);
        assert_eq!(device.launch("k", 1, 64, &[to]), Err(CUDA_ERROR_ILLEGAL_ADDRESS));
    }) else {
        return;
    };
    assert!(said.contains("shared memory that was never written"), "{said}");
    assert!(said.contains("ldmatrix.sync"), "{said}");
}
