//! `ldmatrix` and `mma.sync`, element by element as the PTX manual lays them out.

use super::step::lanes;
use super::warp::Warp;
use super::{Result, Stage};
use crate::lanes::LANES;
use crate::operations::half;
use crate::program::{Factor, LoadMatrix, Multiply};

impl Warp {
    /// Eight lanes give the rows of each 8×8 matrix; each lane gets two neighbors of a row.
    pub(super) fn load_matrix(
        &mut self,
        load: &LoadMatrix,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let addresses = self.addresses(load.address);
        let giving = mask & if load.count == 4 { u32::MAX } else { (1 << (8 * load.count)) - 1 };
        if stage.launch.counting {
            stage.counts.shared(at, &addresses, giving, 16);
        }
        for lane in lanes(giving) {
            self.inside_shared(addresses[lane], 16, at, lane, stage)?;
            if let Err(what) = stage.shared.read(addresses[lane] as usize, 16, self.toucher(lane)) {
                return Err(self.blame(stage, at, lane, addresses[lane], what));
            }
        }
        let bytes = &stage.shared.bytes;
        for matrix in 0..load.count {
            let element = |row: usize, column: usize| {
                let from = addresses[8 * matrix + row] as usize + 2 * column;
                u32::from(u16::from_le_bytes([bytes[from], bytes[from + 1]]))
            };
            let out: [u32; LANES] = std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, lane % 4 * 2);
                match load.transposed {
                    false => element(row, column) | element(row, column + 1) << 16,
                    true => element(column, row) | element(column + 1, row) << 16,
                }
            });
            self.registers.set_word(load.values[matrix], &out, mask);
        }
        Ok(())
    }

    /// `d = a · b + c`, each sum in f32 from the lowest depth up; products are exact.
    pub(super) fn multiply(&mut self, multiply: &Multiply) {
        let depth = multiply.depth;
        let mut a = [[0f32; 16]; 16];
        let mut b = [[0f32; 8]; 16];
        let mut d = [[0f32; 8]; 16];
        // Values a register: two neighbors in depth, or one.
        let packed = if multiply.factor == Factor::Tf32 { 1 } else { 2 };
        let value = |bits: u32, part: usize| match multiply.factor {
            Factor::Half => half::to_f32((bits >> (16 * part)) as u16),
            Factor::Brain => half::bf16_to_f32((bits >> (16 * part)) as u16),
            // The hardware ignores the lowest thirteen bits.
            Factor::Tf32 => f32::from_bits(bits & !0x1FFF),
        };
        for lane in 0..LANES {
            let (group, member) = (lane / 4, lane % 4);
            for part in 0..packed {
                for (i, slot) in multiply.a.iter().enumerate().take(2 * depth / (4 * packed)) {
                    let (row, k) =
                        (group + 8 * (i % 2), packed * member + part + 4 * packed * (i / 2));
                    a[row][k] = value(self.registers.word(*slot)[lane], part);
                }
                for (i, slot) in multiply.b.iter().enumerate().take(depth / (4 * packed)) {
                    b[packed * member + part + 4 * packed * i][group] =
                        value(self.registers.word(*slot)[lane], part);
                }
            }
            for (i, slot) in multiply.c.iter().enumerate() {
                d[group + 8 * (i / 2)][2 * member + i % 2] =
                    f32::from_bits(self.registers.word(*slot)[lane]);
            }
        }
        for (a, d) in a.iter().zip(&mut d) {
            for (a, b) in a.iter().zip(&b).take(depth) {
                for (d, b) in d.iter_mut().zip(b) {
                    *d += a * b;
                }
            }
        }
        for (i, slot) in multiply.d.iter().enumerate() {
            let out: [u32; LANES] = std::array::from_fn(|lane| {
                d[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2].to_bits()
            });
            self.registers.set_word(*slot, &out, u32::MAX);
        }
    }
}
