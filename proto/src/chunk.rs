//! Long runs of bytes ⇄ [`Chunk`]s below the message limit.

use bytes::Bytes;

use crate::wire::Chunk;

/// Payload of one chunk: between 512 KiB and 1 MiB a chunk stays in cache from one copy to the
/// next, which makes gRPC as fast as a raw socket (measured; decision 9).
pub const CHUNK_BYTES: usize = 1 << 20;

/// Why chunks don't make the bytes that were announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A payload that isn't what was sent.
    #[error("chunk at byte {offset}: checksum {got:08x}, the sender wrote {want:08x}")]
    Checksum {
        /// Where.
        offset: u64,
        /// Of what arrived.
        got: u32,
        /// In the header.
        want: u32,
    },
    /// A chunk that isn't the next one.
    #[error("chunk at byte {got}, expected the one at byte {want}")]
    OutOfOrder {
        /// Where it belongs.
        got: u64,
        /// Where the next one belongs.
        want: u64,
    },
    /// Another total, or a payload that reaches beyond it.
    #[error("chunk says {got} bytes in all, expected {want}")]
    Length {
        /// Announced.
        got: u64,
        /// Expected.
        want: u64,
    },
    /// More than the receiver takes.
    #[error("{got} bytes announced, the limit is {limit}")]
    TooLong {
        /// Announced.
        got: u64,
        /// The receiver's limit.
        limit: u64,
    },
    /// Crumbs: each piece keeps a whole receive buffer.
    #[error("{got} chunks for {total} bytes, at most {most}: chunks have 1 MiB, but for the last")]
    TooMany {
        /// So far, with this one.
        got: u64,
        /// Announced bytes.
        total: u64,
        /// The most for so many bytes.
        most: u64,
    },
}

/// What chunks have on average at least, but for a few.
const SMALL: u64 = 64 << 10;
/// Those few.
const FEW: u64 = 16;

/// Cuts bytes into chunks without copying them; empty bytes make one empty chunk.
pub fn chunks(bytes: Bytes) -> impl Iterator<Item = Chunk> + Send {
    let total = bytes.len();
    let n = total.div_ceil(CHUNK_BYTES).max(1);
    (0..n).map(move |i| {
        let from = i * CHUNK_BYTES;
        let payload = bytes.slice(from..total.min(from + CHUNK_BYTES));
        Chunk {
            offset: from as u64,
            total: total as u64,
            crc32: crc32fast::hash(&payload),
            payload,
        }
    })
}

/// Takes chunks in order, checks each, keeps views of them.
#[derive(Debug, Clone)]
pub struct Assembler {
    limit: u64,
    total: Option<u64>,
    have: u64,
    is_over: bool,
    parts: Vec<Bytes>,
}

impl Assembler {
    /// For at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, total: None, have: 0, is_over: false, parts: Vec::new() }
    }

    /// Takes the next chunk; true once all bytes are there.
    ///
    /// # Errors
    /// [`ChunkError`] if it isn't the next one, or damaged.
    pub fn take(&mut self, chunk: Chunk) -> Result<bool, ChunkError> {
        if chunk.total > self.limit {
            return Err(ChunkError::TooLong { got: chunk.total, limit: self.limit });
        }
        let total = *self.total.get_or_insert(chunk.total);
        if chunk.total != total {
            return Err(ChunkError::Length { got: chunk.total, want: total });
        }
        // After the last one, too: empty ones could come for ever.
        if chunk.offset != self.have || self.is_over {
            return Err(ChunkError::OutOfOrder { got: chunk.offset, want: self.have });
        }
        let end = self.have + chunk.payload.len() as u64;
        if end > total || (chunk.payload.is_empty() && total > 0) {
            return Err(ChunkError::Length { got: end, want: total });
        }
        let (got, most) = (self.parts.len() as u64 + 1, total / SMALL + FEW);
        if got > most {
            return Err(ChunkError::TooMany { got, total, most });
        }
        let got = crc32fast::hash(&chunk.payload);
        if got != chunk.crc32 {
            return Err(ChunkError::Checksum { offset: chunk.offset, got, want: chunk.crc32 });
        }
        self.have = end;
        self.is_over = end == total;
        self.parts.push(chunk.payload);
        Ok(self.is_complete())
    }

    /// Whether all bytes are there.
    pub fn is_complete(&self) -> bool {
        self.total == Some(self.have)
    }

    /// Bytes so far and announced.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.have, self.total)
    }

    /// The pieces, in order.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// All bytes in one piece (a copy unless they came as one chunk).
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.remove(0);
        }
        self.parts.concat().into()
    }
}

/// Little-endian bytes of floats.
pub fn floats_to_bytes(floats: &[f32]) -> Bytes {
    floats.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Floats from little-endian bytes; `None` unless their number is a multiple of four.
pub fn bytes_to_floats(bytes: &[u8]) -> Option<Vec<f32>> {
    let (fours, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| fours.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// A mean image, `[3, side, side]`; `None` if the bytes are not that many numbers.
pub fn mean_image(bytes: &[u8], side: usize) -> Option<Vec<f32>> {
    let n = side.checked_mul(side)?.checked_mul(3)?;
    bytes_to_floats(bytes).filter(|mean| mean.len() == n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(n: usize) -> Vec<Chunk> {
        let bytes: Bytes = (0..n).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
        chunks(bytes).collect()
    }

    #[test]
    fn chunks_put_together_are_the_bytes_again() {
        for n in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let mut assembler = Assembler::new(1 << 30);
            for piece in pieces(n) {
                assembler.take(piece).unwrap();
            }
            assert!(assembler.is_complete());
            let want: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            assert_eq!(assembler.into_bytes(), want);
        }
    }

    #[test]
    fn crumbs_are_refused() {
        let mut assembler = Assembler::new(1 << 30);
        let crumb = |offset| {
            let payload = Bytes::from_static(&[7]);
            Chunk { offset, total: SMALL, crc32: crc32fast::hash(&payload), payload }
        };
        for offset in 0..=FEW {
            assert_eq!(assembler.take(crumb(offset)), Ok(false));
        }
        let refused = assembler.take(crumb(FEW + 1));
        assert_eq!(refused, Err(ChunkError::TooMany { got: FEW + 2, total: SMALL, most: FEW + 1 }));
    }

    /// The square of such a side is beyond all numbers.
    #[test]
    fn a_mean_image_of_an_absurd_side_is_none() {
        assert_eq!(mean_image(&[0; 48], 2), Some(vec![0.0; 12]));
        assert_eq!(mean_image(&[0; 48], 3), None);
        for side in [u32::MAX as usize, usize::MAX, 1 << 32] {
            assert_eq!(mean_image(&[0; 48], side), None);
        }
    }

    #[test]
    fn damaged_swapped_and_oversized_chunks_are_refused() {
        let good = pieces(2 * CHUNK_BYTES);
        let mut flipped = good[0].clone();
        flipped.crc32 ^= 1;
        let take = |limit, piece: &Chunk| Assembler::new(limit).take(piece.clone());
        assert!(matches!(take(1 << 30, &flipped), Err(ChunkError::Checksum { offset: 0, .. })));
        assert!(matches!(take(1 << 30, &good[1]), Err(ChunkError::OutOfOrder { want: 0, .. })));
        assert!(matches!(take(100, &good[0]), Err(ChunkError::TooLong { limit: 100, .. })));
        let mut empty = Assembler::new(100);
        let nothing = pieces(0).remove(0);
        assert_eq!(empty.take(nothing.clone()), Ok(true));
        assert!(empty.take(nothing).is_err(), "nothing follows the last chunk");
        let mut longer = good[0].clone();
        longer.total = 10;
        assert!(matches!(take(1 << 30, &longer), Err(ChunkError::Length { .. })));
    }
}
