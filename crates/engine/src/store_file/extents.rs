//! Where a file holds data, and where holes.

use std::io;
use std::ops::Range;

use icecore_source::{ReadAt, Stat};

/// A consecutive part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// So many bytes that were never written.
    Hole(u64),
    /// Data, which is cut on its own.
    Data(Range<u64>),
}

/// The extents of a file in order, as they are when they are asked for, one ahead. Two of data never touch, whatever
/// happens to the file meanwhile: what ends an extent is a hole or the end of the file.
pub(super) struct Extents<'f> {
    file: &'f dyn ReadAt,
    size: u64,
    sparse: bool,
    at: u64,
    /// The first data at or behind `at`.
    ahead: Option<Range<u64>>,
}

impl<'f> Extents<'f> {
    /// Those of the first `size` bytes.
    pub(super) fn new(file: &'f dyn ReadAt, stat: &Stat, size: u64) -> io::Result<Self> {
        // Fewer blocks than bytes: there are holes, or the file system compresses; then there are none, and that is told.
        let sparse = stat.blocks.saturating_mul(512) < size;
        let mut extents = Self { file, size, sparse, at: 0, ahead: None };
        extents.ahead = extents.data(0)?;
        Ok(extents)
    }

    /// The first data that is still to come.
    pub(super) fn ahead(&self) -> Option<&Range<u64>> {
        self.ahead.as_ref()
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Extent>> {
        let data = self.ahead.clone().unwrap_or(self.size..self.size);
        if data.start > self.at {
            let hole = data.start - self.at;
            self.at = data.start;
            return Ok(Some(Extent::Hole(hole)));
        }
        if data.is_empty() {
            return Ok(None);
        }
        let mut data = data;
        self.ahead = loop {
            match self.data(data.end)? {
                // The hole between was filled a moment ago.
                Some(more) if more.start <= data.end => data.end = more.end,
                ahead => break ahead,
            }
        };
        self.at = data.end;
        Ok(Some(Extent::Data(data)))
    }

    /// The first data at or behind `from`, up to a hole or the end.
    fn data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        if from >= self.size {
            return Ok(None);
        }
        if !self.sparse {
            return Ok(Some(from..self.size));
        }
        let data = self.file.next_data(from, self.size)?.map(|data| data.start.max(from)..data.end.min(self.size));
        // Where a hole was made a moment ago, it is read as the zeros that it holds.
        Ok(data.map(|data| if data.is_empty() { data.start.min(self.size)..self.size } else { data }))
    }
}
