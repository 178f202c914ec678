//! Reads the segments of a JPEG: sizes, tables, how colors are meant, and where scans begin.

use super::Fault;
use super::bits::{Table, ZIGZAG};

/// The content of the segments that were read.
pub(super) struct Header<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) frame: Frame,
    pub(super) quantization: [Option<[u16; 64]>; 4],
    pub(super) dc: [Option<Table>; 4],
    pub(super) ac: [Option<Table>; 4],
    /// Units between restart markers; 0 for none.
    pub(super) restart_interval: usize,
    pub(super) jfif: bool,
    /// The transform of the colors in Adobe's segment, if the file has one.
    pub(super) adobe: Option<u8>,
    /// The EXIF data, a TIFF.
    pub(super) exif: Option<&'a [u8]>,
    at: usize,
}

/// Size and components of the picture.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    /// Largest sampling factors, across and down.
    pub(super) sampling: (usize, usize),
    /// Units of an interleaved scan, across and down.
    pub(super) units: (usize, usize),
}

/// One component of the frame.
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors, across and down.
    pub(super) sampling: (usize, usize),
    /// Number of its quantization table.
    pub(super) table: usize,
}

/// The content of a scan.
pub(super) struct Scan {
    /// Component, DC table and AC table.
    pub(super) parts: Vec<(usize, usize, usize)>,
    pub(super) progressive: bool,
    /// First and last coefficient, in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Lowest bit that earlier scans gave; 0 for the first scan of these coefficients.
    pub(super) bit_before: u32,
    /// Lowest bit that this scan gives.
    pub(super) bit: u32,
}

/// The next part of the file.
pub(super) enum Next {
    /// A scan whose data begin at this byte.
    Scan(Scan, usize),
    /// The end marker.
    End,
    /// The bytes end without an end marker.
    Cut,
}

impl<'a> Header<'a> {
    /// Starts behind the start marker.
    pub(super) fn new(bytes: &'a [u8]) -> Header<'a> {
        Header {
            bytes,
            frame: Frame::default(),
            quantization: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart_interval: 0,
            jfif: false,
            adobe: None,
            exif: None,
            at: 2,
        }
    }

    /// Goes on with the segments at byte `at`.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Reads segments up to the next scan or the end.
    pub(super) fn next(&mut self) -> Result<Next, Fault> {
        loop {
            // What is no marker is passed over, as libjpeg does it.
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let found =
                rest.windows(2).position(|two| two[0] == 0xFF && !matches!(two[1], 0 | 0xFF));
            let Some(found) = found else { return Ok(Next::Cut) };
            let marker = rest[found + 1];
            self.at += found + 2;
            match marker {
                0xD9 => return Ok(Next::End),
                0x01 | 0xD0..=0xD8 => continue,
                _ => {}
            }
            let Some(body) = self.segment() else { return Ok(Next::Cut) };
            match marker {
                0xC0..=0xC2 if self.frame.components.is_empty() => {
                    self.frame(body, marker == 0xC2)?
                }
                0xC4 => self.huffman(body)?,
                0xC9 | 0xCA => return Err(Fault::Kind("with arithmetic coding")),
                0xC3 | 0xCB => return Err(Fault::Kind("of the lossless kind")),
                0xF7 => return Err(Fault::Kind("of the JPEG-LS kind")),
                0xC5..=0xC7 | 0xCD..=0xCF => return Err(Fault::Kind("of the hierarchical kind")),
                0xC0..=0xC2 | 0xC8 => return Err(Fault::Damaged),
                0xDA => return Ok(Next::Scan(self.scan(body)?, self.at)),
                0xDB => self.quantization(body)?,
                0xDD => {
                    let interval = body.get(..2).ok_or(Fault::Damaged)?;
                    self.restart_interval = number(interval);
                }
                0xE0 if body.starts_with(b"JFIF\0") && body.len() >= 14 => self.jfif = true,
                0xE1 if body.starts_with(b"Exif\0") && self.exif.is_none() => {
                    self.exif = body.get(6..);
                }
                0xEE if body.starts_with(b"Adobe") && body.len() >= 12 => {
                    self.adobe = Some(body[11]);
                }
                _ => {}
            }
        }
    }

    /// Takes a segment's length and body.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let length = number(self.bytes.get(self.at..self.at + 2)?);
        let body = self.bytes.get(self.at + 2..self.at + length.max(2))?;
        self.at += length.max(2);
        Some(body)
    }

    fn frame(&mut self, body: &[u8], progressive: bool) -> Result<(), Fault> {
        let (head, components) = body.split_at_checked(6).ok_or(Fault::Damaged)?;
        let (height, width) = (number(&head[1..3]), number(&head[3..5]));
        match head[0] {
            8 => {}
            12 => return Err(Fault::Kind("with 12 bits per color")),
            _ => return Err(Fault::Damaged),
        }
        if height == 0 {
            return Err(Fault::Kind("whose height follows the picture"));
        }
        if width == 0 || components.len() != 3 * usize::from(head[5]) {
            return Err(Fault::Damaged);
        }
        if !matches!(head[5], 1 | 3 | 4) {
            return Err(Fault::Kind("with neither 1 nor 3 nor 4 colors"));
        }
        let component = |three: &[u8]| Component {
            id: three[0],
            sampling: (usize::from(three[1] >> 4), usize::from(three[1] & 15)),
            table: usize::from(three[2]),
        };
        let components: Vec<_> = components.chunks(3).map(component).collect();
        let fine =
            |c: &Component| (1..=4).contains(&c.sampling.0) && (1..=4).contains(&c.sampling.1);
        if !components.iter().all(|c| fine(c) && c.table < 4) {
            return Err(Fault::Damaged);
        }
        let across = components.iter().map(|c| c.sampling.0).max().unwrap_or(1);
        let down = components.iter().map(|c| c.sampling.1).max().unwrap_or(1);
        let units = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        let sampling = (across, down);
        self.frame = Frame { width, height, progressive, components, sampling, units };
        Ok(())
    }

    fn huffman(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        while !body.is_empty() {
            let (head, rest) = body.split_first_chunk::<17>().ok_or(Fault::Damaged)?;
            let [class, counts @ ..] = head;
            let total = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(Fault::Damaged)?;
            let tables = if class >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(class & 15)).ok_or(Fault::Damaged)?;
            *table = Some(Table::new(counts, symbols)?);
            body = rest;
        }
        Ok(())
    }

    fn quantization(&mut self, mut body: &[u8]) -> Result<(), Fault> {
        while let Some((&head, rest)) = body.split_first() {
            let table = self.quantization.get_mut(usize::from(head & 15)).ok_or(Fault::Damaged)?;
            let bytes_each = if head >> 4 == 0 { 1 } else { 2 };
            let (steps, rest) = rest.split_at_checked(64 * bytes_each).ok_or(Fault::Damaged)?;
            let mut sorted = [0; 64];
            for (step, &at) in steps.chunks(bytes_each).zip(&ZIGZAG) {
                sorted[usize::from(at)] = number(step) as u16;
            }
            *table = Some(sorted);
            body = rest;
        }
        Ok(())
    }

    fn scan(&self, body: &[u8]) -> Result<Scan, Fault> {
        let (&n, rest) = body.split_first().ok_or(Fault::Damaged)?;
        let (listed, band) = rest.split_at_checked(2 * usize::from(n)).ok_or(Fault::Damaged)?;
        let &[first, last, bits, ..] = band else { return Err(Fault::Damaged) };
        let mut parts = Vec::new();
        for two in listed.chunks(2) {
            let found = self.frame.components.iter().position(|c| c.id == two[0]);
            let component = found.ok_or(Fault::Damaged)?;
            let (dc, ac) = (usize::from(two[1] >> 4), usize::from(two[1] & 15));
            if dc > 3 || ac > 3 || parts.iter().any(|part: &(usize, _, _)| part.0 == component) {
                return Err(Fault::Damaged);
            }
            parts.push((component, dc, ac));
        }
        let progressive = self.frame.progressive;
        let (first, last) = if progressive { (first.into(), last.into()) } else { (0, 63) };
        let (bit_before, bit) =
            if progressive { (u32::from(bits >> 4), u32::from(bits & 15)) } else { (0, 0) };
        let band_is_fine = match first {
            0 => last == 0 || !progressive,
            _ => last >= first && last < 64 && parts.len() == 1,
        };
        if parts.is_empty()
            || !band_is_fine
            || bit > 13
            || (bit_before > 0 && bit_before != bit + 1)
        {
            return Err(Fault::Damaged);
        }
        Ok(Scan { parts, progressive, first, last, bit_before, bit })
    }
}

/// A number of one or two bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}
