//! Reads bits and Huffman codes from the data of a scan.

use super::Fault;

/// Places, in a block of rows, of the coefficients in zigzag order.
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Codes of up to this many bits are found by one look into a table.
const QUICK: u32 = 9;

/// A Huffman table.
pub(super) struct Table {
    /// For each beginning of [`QUICK`] bits: length of its code and symbol, or zero.
    quick: Vec<u16>,
    /// For each length: the first code after those of this length, moved to 16 bits.
    limits: [u32; 17],
    /// For each length: what is added to a code for its place among the symbols.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Builds a table from the number of codes of each length and the symbols in their order.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Table, Fault> {
        let mut table = Table {
            quick: vec![0; 1 << QUICK],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut at) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(counts[length as usize - 1]);
            if code + count > 1 << length {
                return Err(Fault::Damaged);
            }
            table.offsets[length as usize] = at as i32 - code as i32;
            for n in (code..code + count).take_while(|_| length <= QUICK) {
                let entry = length as u16 * 256 + u16::from(symbols[at + (n - code) as usize]);
                let free = QUICK - length;
                table.quick[(n << free) as usize..((n + 1) << free) as usize].fill(entry);
            }
            at += count as usize;
            table.limits[length as usize] = (code + count) << (16 - length);
            code = (code + count) << 1;
        }
        Ok(table)
    }

    /// Returns true if no code has only bits of 1, as the standard demands.
    pub(super) fn leaves_ones_free(&self) -> bool {
        self.limits[16] < 1 << 16
    }
}

/// The data of a scan as bits, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits that were read and not yet taken, from the top.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Starts at byte `at`.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Bits<'a> {
        Bits { bytes, at, buffer: 0, count: 0 }
    }

    fn refill(&mut self) {
        if self.count <= 32
            && let Some(&[a, b, c, d]) = self.bytes.get(self.at..self.at + 4)
            && ![a, b, c, d].contains(&0xFF)
        {
            let four = u32::from_be_bytes([a, b, c, d]);
            self.buffer |= u64::from(four) << (32 - self.count);
            self.count += 32;
            self.at += 4;
            return;
        }
        while self.count <= 56 {
            let Some((byte, length)) = self.byte() else { return };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += length;
        }
    }

    /// The next byte of data and how many bytes stand for it; none at a marker.
    fn byte(&self) -> Option<(u8, usize)> {
        let byte = *self.bytes.get(self.at)?;
        if byte != 0xFF {
            return Some((byte, 1));
        }
        let fills = self.bytes[self.at..].iter().take_while(|&&b| b == 0xFF).count();
        (self.bytes.get(self.at + fills) == Some(&0)).then_some((0xFF, fills + 1))
    }

    #[inline]
    fn take(&mut self, n: u32) -> Result<(), Fault> {
        if n > self.count {
            return Err(Fault::Cut);
        }
        self.buffer <<= n;
        self.count -= n;
        Ok(())
    }

    /// The next `n` bits, at most 16.
    #[inline]
    pub(super) fn bits(&mut self, n: u32) -> Result<i32, Fault> {
        if n == 0 {
            return Ok(0);
        }
        if self.count < n {
            self.refill();
        }
        let bits = (self.buffer >> (64 - n)) as i32;
        self.take(n)?;
        Ok(bits)
    }

    /// A number of `n` bits whose first bit says its sign.
    #[inline]
    pub(super) fn signed(&mut self, n: u32) -> Result<i32, Fault> {
        if n == 0 {
            return Ok(0);
        }
        let bits = self.bits(n)?;
        Ok(if bits < 1 << (n - 1) { bits - (1 << n) + 1 } else { bits })
    }

    /// The symbol of the next Huffman code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
        if self.count < 32 {
            self.refill();
        }
        let entry = table.quick[(self.buffer >> (64 - QUICK)) as usize];
        if entry != 0 {
            self.take(u32::from(entry >> 8))?;
            return Ok(entry as u8);
        }
        let code = (self.buffer >> 48) as u32;
        let length = (QUICK + 1..=16).find(|&n| code < table.limits[n as usize]);
        let Some(length) = length else {
            return Err(if self.count < 16 { Fault::Cut } else { Fault::Damaged });
        };
        self.take(length)?;
        let place = (code >> (16 - length)) as i32 + table.offsets[length as usize];
        table.symbols.get(place as usize).copied().ok_or(Fault::Damaged)
    }

    /// Drops the rest of the last byte and takes a restart marker, which must follow.
    ///
    /// # Errors
    /// [`Fault::Damaged`] if data or another marker follows: some of the picture is lost then.
    pub(super) fn restart(&mut self, n: u32) -> Result<(), Fault> {
        self.refill();
        if self.count >= 8 || self.byte().is_some() {
            return Err(Fault::Damaged);
        }
        let fills = self.bytes[self.at..].iter().take_while(|&&b| b == 0xFF).count();
        match self.bytes.get(self.at + fills) {
            None => return Err(Fault::Cut),
            Some(&marker) if u32::from(marker) == 0xD0 + n % 8 => {}
            Some(0xD9) => return Err(Fault::Cut),
            Some(_) => return Err(Fault::Damaged),
        }
        *self = Bits::new(self.bytes, self.at + fills + 1);
        Ok(())
    }

    /// The place of the next marker, or the end of the bytes.
    pub(super) fn marker(mut self) -> usize {
        while let Some((_, length)) = self.byte() {
            self.at += length;
        }
        self.at
    }
}
