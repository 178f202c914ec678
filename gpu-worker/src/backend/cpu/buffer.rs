//! Memory, and every check of a length: an operation takes slices from here or stops.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frequency::Spectra;
use crate::error::{Error, Result};
use crate::ops::Images;

/// A buffer of f32.
#[derive(Debug)]
pub struct Floats {
    numbers: Named<f32>,
    /// Results of these numbers. Every way to change the numbers forgets them.
    spectra: Mutex<Spectra>,
}

/// A buffer of u8.
#[derive(Debug)]
pub struct Bytes(Named<u8>);

/// Numbers with the name that errors give them.
#[derive(Debug)]
struct Named<T> {
    tensor: &'static str,
    values: Vec<T>,
}

impl<T: Copy + Default> Named<T> {
    fn zeros(tensor: &'static str, len: usize) -> Result<Self> {
        let bytes = len.saturating_mul(size_of::<T>());
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { tensor, bytes })?;
        values.resize(len, T::default());
        Ok(Self { tensor, values })
    }

    fn shape(&self, want: usize) -> Error {
        Error::Shape { tensor: self.tensor, got: self.values.len(), want }
    }

    fn range(&self, range: Range<usize>) -> Result<&[T]> {
        let want = range.end;
        self.values.get(range).ok_or_else(|| self.shape(want))
    }

    fn range_mut(&mut self, range: Range<usize>) -> Result<&mut [T]> {
        let shape = self.shape(range.end);
        self.values.get_mut(range).ok_or(shape)
    }
}

impl Floats {
    /// The numbers of `range`, to be changed.
    fn changed(&mut self, range: Range<usize>) -> Result<&mut [f32]> {
        self.spectra.get_mut().unwrap_or_else(PoisonError::into_inner).forget(&range);
        self.numbers.range_mut(range)
    }

    /// The results that are kept of these numbers. Locked for a whole operation.
    pub(super) fn spectra(&self) -> MutexGuard<'_, Spectra> {
        self.spectra.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn zeros(tensor: &'static str, len: usize) -> Result<Self> {
        Ok(Self { numbers: Named::zeros(tensor, len)?, spectra: Mutex::default() })
    }

    /// The numbers of `images`, `len` per image.
    pub(super) fn images(&self, images: &Images, len: usize) -> Result<&[f32]> {
        self.numbers.range(images.start * len..images.end * len)
    }

    /// The numbers of `images`, `len` per image.
    pub(super) fn images_mut(&mut self, images: &Images, len: usize) -> Result<&mut [f32]> {
        self.changed(images.start * len..images.end * len)
    }

    pub(super) fn range(&self, range: Range<usize>) -> Result<&[f32]> {
        self.numbers.range(range)
    }

    pub(super) fn range_mut(&mut self, range: Range<usize>) -> Result<&mut [f32]> {
        self.changed(range)
    }

    /// All numbers, if there are `len`.
    pub(super) fn exactly(&self, len: usize) -> Result<&[f32]> {
        let found = &self.numbers.values;
        (found.len() == len).then_some(&found[..]).ok_or_else(|| self.numbers.shape(len))
    }

    /// All numbers, if there are `len`.
    pub(super) fn exactly_mut(&mut self, len: usize) -> Result<&mut [f32]> {
        if self.numbers.values.len() != len {
            return Err(self.numbers.shape(len));
        }
        self.changed(0..len)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.values.len()
    }
}

impl Bytes {
    pub(super) fn zeros(tensor: &'static str, len: usize) -> Result<Self> {
        Named::zeros(tensor, len).map(Self)
    }

    /// The bytes of `images`, `len` per image.
    pub(super) fn images(&self, images: &Images, len: usize) -> Result<&[u8]> {
        self.0.range(images.start * len..images.end * len)
    }

    /// The bytes of `images`, `len` per image.
    pub(super) fn images_mut(&mut self, images: &Images, len: usize) -> Result<&mut [u8]> {
        self.0.range_mut(images.start * len..images.end * len)
    }

    pub(super) fn range_mut(&mut self, range: Range<usize>) -> Result<&mut [u8]> {
        self.0.range_mut(range)
    }
}
