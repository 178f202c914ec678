//! Decodes the data of one scan into coefficients.

use super::bits::{Bits, Table, ZIGZAG};
use super::header::{Header, Scan};
use super::{Block, Fault, Plane};

/// One component of a scan with its tables and what is carried from block to block.
struct Part<'a> {
    component: usize,
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
    last_dc: i32,
}

/// Decodes one scan whose data start at byte `at` and returns where its data end.
///
/// # Errors
/// [`Fault::Cut`] if the data end before the scan does, [`Fault::Damaged`] if they can't be right.
pub(super) fn decode(
    header: &Header,
    scan: &Scan,
    at: usize,
    planes: &mut [Plane],
) -> Result<usize, Fault> {
    let mut parts = Vec::new();
    for &(component, dc, ac) in &scan.parts {
        let (dc, ac) = (header.dc[dc].as_ref(), header.ac[ac].as_ref());
        parts.push(Part { component, dc, ac, last_dc: 0 });
    }
    let (across, down) = match scan.parts[..] {
        [(component, ..)] => planes[component].blocks,
        _ => header.frame.units,
    };
    let mut blocks = Blocks { bits: Bits::new(header.bytes, at), scan, end_of_blocks: 0 };
    let mut restarts = 0;
    for unit in 0..across * down {
        let interval = header.restart_interval;
        if interval > 0 && unit > 0 && unit.is_multiple_of(interval) {
            blocks.bits.restart(restarts)?;
            restarts += 1;
            blocks.end_of_blocks = 0;
            parts.iter_mut().for_each(|part| part.last_dc = 0);
        }
        let (column, row) = (unit % across, unit / across);
        let alone = parts.len() == 1;
        for part in &mut parts {
            let plane = &mut planes[part.component];
            let (wide, high) = if alone { (1, 1) } else { plane.sampling };
            for y in row * high..(row + 1) * high {
                for x in column * wide..(column + 1) * wide {
                    blocks.block(part, &mut plane.coefficients[y * plane.stride + x])?;
                }
            }
        }
    }
    Ok(blocks.bits.marker())
}

struct Blocks<'a> {
    bits: Bits<'a>,
    scan: &'a Scan,
    /// Number of further blocks whose band ends here already.
    end_of_blocks: u32,
}

impl Blocks<'_> {
    fn block(&mut self, part: &mut Part<'_>, block: &mut Block) -> Result<(), Fault> {
        let scan = self.scan;
        if !scan.progressive {
            self.dc(part, block)?;
            return self.ac_in_sequence(part, block);
        }
        match (scan.first == 0, scan.bit_before == 0) {
            (true, true) => self.dc(part, block),
            (true, false) => {
                block[0] |= (self.bits.bits(1)? << scan.bit) as i16;
                Ok(())
            }
            (false, true) => self.ac_first(part, block),
            (false, false) => self.ac_refine(part, block),
        }
    }

    #[inline]
    fn dc(&mut self, part: &mut Part<'_>, block: &mut Block) -> Result<(), Fault> {
        let length = self.bits.symbol(part.dc.ok_or(Fault::Damaged)?)?;
        if length > 15 {
            return Err(Fault::Damaged);
        }
        part.last_dc = part.last_dc.wrapping_add(self.bits.signed(u32::from(length))?);
        block[0] = (part.last_dc << self.scan.bit) as i16;
        Ok(())
    }

    #[inline]
    fn ac_in_sequence(&mut self, part: &Part<'_>, block: &mut Block) -> Result<(), Fault> {
        let table = part.ac.ok_or(Fault::Damaged)?;
        let mut k = 1;
        while k < 64 {
            let symbol = self.bits.symbol(table)?;
            let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, length) {
                (15, 0) => k += 16,
                (_, 0) => break,
                _ => {
                    k += run;
                    let value = self.bits.signed(length)?;
                    let at = ZIGZAG.get(k).ok_or(Fault::Damaged)?;
                    block[usize::from(*at)] = value as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    fn ac_first(&mut self, part: &Part<'_>, block: &mut Block) -> Result<(), Fault> {
        if self.end_of_blocks > 0 {
            self.end_of_blocks -= 1;
            return Ok(());
        }
        let table = part.ac.ok_or(Fault::Damaged)?;
        let mut k = self.scan.first;
        while k <= self.scan.last {
            let symbol = self.bits.symbol(table)?;
            let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, length) {
                (15, 0) => k += 16,
                (_, 0) => {
                    self.end_of_blocks = (1 << run) - 1 + self.bits.bits(run as u32)? as u32;
                    break;
                }
                _ => {
                    k += run;
                    let value = self.bits.signed(length)? << self.scan.bit;
                    let at = ZIGZAG.get(k).ok_or(Fault::Damaged)?;
                    block[usize::from(*at)] = value as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    fn ac_refine(&mut self, part: &Part<'_>, block: &mut Block) -> Result<(), Fault> {
        let table = part.ac.ok_or(Fault::Damaged)?;
        let mut k = self.scan.first;
        while self.end_of_blocks == 0 && k <= self.scan.last {
            let symbol = self.bits.symbol(table)?;
            let (run, length) = (usize::from(symbol >> 4), symbol & 15);
            let mut value = 0;
            match length {
                0 if run < 15 => {
                    // This block's end counts among them.
                    self.end_of_blocks = (1 << run) + self.bits.bits(run as u32)? as u32;
                    break;
                }
                0 => {}
                1 => value = if self.bits.bits(1)? == 1 { 1 } else { -1 },
                _ => return Err(Fault::Damaged),
            }
            k = self.refine_over(block, k, run)?;
            if value != 0 {
                let at = ZIGZAG.get(k).ok_or(Fault::Damaged)?;
                block[usize::from(*at)] = value << self.scan.bit;
            }
            k += 1;
        }
        if self.end_of_blocks > 0 {
            self.refine_over(block, k, 64)?;
            self.end_of_blocks -= 1;
        }
        Ok(())
    }

    /// Refines the coefficients that are known, passes over `zeros` others, and returns the place
    /// of the next one.
    fn refine_over(
        &mut self,
        block: &mut Block,
        from: usize,
        zeros: usize,
    ) -> Result<usize, Fault> {
        let mut left = zeros;
        let bit = 1_i16 << self.scan.bit;
        for (k, at) in ZIGZAG.iter().enumerate().take(self.scan.last + 1).skip(from) {
            let value = &mut block[usize::from(*at)];
            if *value == 0 {
                if left == 0 {
                    return Ok(k);
                }
                left -= 1;
            } else if self.bits.bits(1)? == 1 && *value & bit == 0 {
                *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
            }
        }
        Ok(self.scan.last + 1)
    }
}
