//! Long runs of bytes ⇄ [`Chunk`]s below the message limit.

use bytes::Bytes;

use crate::wire::Chunk;

/// Payload of one chunk: between 512 KiB and 1 MiB a chunk stays in cache from one copy to the
/// next, which makes gRPC as fast as a raw socket (measured; decision 9).
pub const CHUNK_BYTES: usize = 1 << 20;

/// A chunk that does not continue the run of bytes before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The payload was damaged on the way.
    #[error("chunk at byte {offset}: checksum {got:08x}, the sender wrote {want:08x}")]
    Checksum {
        /// Offset of the chunk.
        offset: u64,
        /// Checksum of the payload that arrived.
        got: u32,
        /// Checksum in the header.
        want: u32,
    },
    /// The chunk isn't the next one.
    #[error("chunk at byte {got}, expected the one at byte {want}")]
    OutOfOrder {
        /// Offset of the chunk.
        got: u64,
        /// Offset of the next chunk.
        want: u64,
    },
    /// The chunk announces another total, or reaches beyond it.
    #[error("chunk says {got} bytes in all, expected {want}")]
    Length {
        /// Bytes announced.
        got: u64,
        /// Bytes expected.
        want: u64,
    },
    /// The bytes would exceed the receiver's limit.
    #[error("{got} bytes announced, the limit is {limit}")]
    TooLong {
        /// Bytes announced.
        got: u64,
        /// Limit of the receiver.
        limit: u64,
    },
    /// The chunks are far too small; each of them may keep a whole receive buffer alive.
    #[error("{got} chunks for {total} bytes, at most {most}: chunks have 1 MiB, but for the last")]
    TooMany {
        /// Chunks so far.
        got: u64,
        /// Bytes announced.
        total: u64,
        /// Most chunks for this many bytes.
        most: u64,
    },
}

/// Least mean payload of a transfer's chunks, beyond [`SPARE_CHUNKS`] of any size.
const MIN_MEAN_CHUNK: u64 = 64 << 10;
/// Chunks that may be of any size.
const SPARE_CHUNKS: u64 = 16;

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

/// Checks that chunks arrive whole and in order. Keeps none of their bytes.
#[derive(Debug, Clone)]
pub struct ChunkChecker {
    limit: u64,
    total: Option<u64>,
    have: u64,
    chunks: u64,
    crc32: u32,
    is_over: bool,
}

impl ChunkChecker {
    /// A checker for at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, total: None, have: 0, chunks: 0, crc32: 0, is_over: false }
    }

    /// Checks the next chunk; returns whether it was the last one.
    ///
    /// # Errors
    /// [`ChunkError`] if the chunk is damaged or isn't the next one.
    pub fn check(&mut self, chunk: &Chunk) -> Result<bool, ChunkError> {
        if chunk.total > self.limit {
            return Err(ChunkError::TooLong { got: chunk.total, limit: self.limit });
        }
        let total = *self.total.get_or_insert(chunk.total);
        if chunk.total != total {
            return Err(ChunkError::Length { got: chunk.total, want: total });
        }
        // Nothing follows the last chunk: otherwise empty ones could come without end.
        if chunk.offset != self.have || self.is_over {
            return Err(ChunkError::OutOfOrder { got: chunk.offset, want: self.have });
        }
        let end = self.have + chunk.payload.len() as u64;
        if end > total || (chunk.payload.is_empty() && total > 0) {
            return Err(ChunkError::Length { got: end, want: total });
        }
        let (got, most) = (self.chunks + 1, total / MIN_MEAN_CHUNK + SPARE_CHUNKS);
        if got > most {
            return Err(ChunkError::TooMany { got, total, most });
        }
        let crc32 = crc32fast::hash(&chunk.payload);
        if crc32 != chunk.crc32 {
            let (offset, want) = (chunk.offset, chunk.crc32);
            return Err(ChunkError::Checksum { offset, got: crc32, want });
        }
        (self.have, self.chunks) = (end, got);
        self.crc32 = joined(self.crc32, crc32, chunk.payload.len() as u64);
        self.is_over = end == total;
        Ok(self.is_over)
    }

    /// Whether all bytes have arrived.
    pub fn is_complete(&self) -> bool {
        self.total == Some(self.have)
    }

    /// Bytes so far, and bytes announced.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.have, self.total)
    }

    /// CRC-32 of all bytes so far, wherever the chunks were cut.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }
}

/// The checksum of chunks and of what they make up: CRC-32.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The CRC-32 of bytes with this one, followed by `len` bytes with that of `after`.
fn joined(before: u32, after: u32, len: u64) -> u32 {
    let mut both = crc32fast::Hasher::new_with_initial(before);
    both.combine(&crc32fast::Hasher::new_with_initial_len(after, len));
    both.finalize()
}

/// Puts chunks together, without copying them until all bytes are asked for in one piece.
///
/// ```
/// use proto::chunk::{Assembler, chunks};
///
/// let mut assembler = Assembler::new(1 << 20);
/// for chunk in chunks(b"a tensor".as_slice().into()) {
///     assembler.take(chunk)?;
/// }
/// assert_eq!(assembler.into_bytes(), "a tensor");
/// # Ok::<(), proto::chunk::ChunkError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Assembler {
    checker: ChunkChecker,
    parts: Vec<Bytes>,
}

impl Assembler {
    /// An assembler for at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { checker: ChunkChecker::new(limit), parts: Vec::new() }
    }

    /// Takes the next chunk; returns whether it was the last one.
    ///
    /// # Errors
    /// [`ChunkError`] if the chunk is damaged or isn't the next one.
    pub fn take(&mut self, chunk: Chunk) -> Result<bool, ChunkError> {
        let is_over = self.checker.check(&chunk)?;
        self.parts.push(chunk.payload);
        Ok(is_over)
    }

    /// Whether all bytes have arrived.
    pub fn is_complete(&self) -> bool {
        self.checker.is_complete()
    }

    /// Bytes so far, and bytes announced.
    pub fn progress(&self) -> (u64, Option<u64>) {
        self.checker.progress()
    }

    /// CRC-32 of all bytes so far, wherever the chunks were cut.
    pub fn crc32(&self) -> u32 {
        self.checker.crc32()
    }

    /// The payloads, in order.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// All bytes in one piece: a copy, unless they arrived as one chunk.
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
    fn many_tiny_chunks_are_refused() {
        let mut assembler = Assembler::new(1 << 30);
        let tiny = |offset| {
            let payload = Bytes::from_static(&[7]);
            Chunk { offset, total: MIN_MEAN_CHUNK, crc32: crc32fast::hash(&payload), payload }
        };
        for offset in 0..=SPARE_CHUNKS {
            assert_eq!(assembler.take(tiny(offset)), Ok(false));
        }
        let refused = assembler.take(tiny(SPARE_CHUNKS + 1));
        assert_eq!(
            refused,
            Err(ChunkError::TooMany {
                got: SPARE_CHUNKS + 2,
                total: MIN_MEAN_CHUNK,
                most: SPARE_CHUNKS + 1
            })
        );
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
