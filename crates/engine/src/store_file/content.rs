//! The content of one file, by one thread.

use std::io;
use std::ops::Range;

use icecore_format::cut::{Cutter, detect};
use icecore_format::entry::{Class, Content, File, Piece};
use icecore_format::manifest::PieceWriter;
use icecore_source::{ReadAt, Stat};

use super::extents::{Extent, Extents};
use super::proof::{Next, OldChunks, next_cut};
use super::{Failure, FileStorer, READ_SIZE, Readable, read};
use crate::error::Error;

/// Bytes at the head of a file that are looked at to tell its class.
const HEAD: usize = 4096;

impl FileStorer<'_> {
    /// Reads, cuts and stores the first `size` bytes; gives the class, the pieces, and where the data ended, which is
    /// earlier if the file shrank.
    pub(super) fn store_content(
        &mut self,
        file: &Readable,
        size: u64,
        stat: &Stat,
        before: Option<&File>,
    ) -> Result<(Class, Content, u64), Failure> {
        let extents = Extents::new(file.as_ref(), stat, size)?;
        let class = match (before, extents.ahead()) {
            (Some(before), _) => before.class,
            (None, Some(data)) => self.classify(file.as_ref(), data, size)?,
            (None, None) => Class::default(),
        };
        let cutter = Cutter::new(class, self.params);
        let reader = before.and_then(|_| self.take_reader());
        let old = match (&reader, before) {
            (Some(reader), Some(before)) => OldChunks::new(reader, &before.content, &cutter),
            _ => OldChunks::none(),
        };
        let mut pieces = PieceWriter::new();
        let stored = match self.team.clone().filter(|team| team.shares(size)) {
            Some(team) => self.store_shared(&team, file, extents, cutter, old, &mut pieces),
            None => self.store_alone(file.as_ref(), extents, cutter, old, &mut pieces),
        };
        self.reader = reader.or(self.reader.take());
        let end = stored?;
        let content = pieces.finish(&mut self.writer).map_err(Error::WriteManifest)?;
        Ok((class, content, end))
    }

    /// Looks at the head of the file and at a sample from the middle of its first extent.
    fn classify(&mut self, file: &dyn ReadAt, data: &Range<u64>, size: u64) -> io::Result<Class> {
        if size <= u64::from(self.params.structured.min) && data.start == 0 {
            // One chunk whatever the class: only page-structured files grow in place from here.
            let head = &mut self.buffer[..HEAD.min(size as usize)];
            let read = file.read_at(0, head)?;
            return Ok(match detect(&head[..read], &[]) {
                pages @ Class::Pages { .. } => pages,
                _ => Class::Structured,
            });
        }
        let (head, sample) = self.buffer.split_at_mut(HEAD);
        let head_len = if data.start == 0 { file.read_at(0, head)? } else { 0 };
        let sample = &mut sample[..HEAD];
        let middle = data.start + (data.end - data.start) / 2;
        let sample_len = file.read_at(middle, sample)?;
        Ok(detect(&head[..head_len], &sample[..sample_len]))
    }

    fn store_alone(
        &mut self,
        file: &dyn ReadAt,
        mut extents: Extents<'_>,
        cutter: Cutter,
        mut old: OldChunks<'_>,
        pieces: &mut PieceWriter,
    ) -> Result<u64, Failure> {
        let mut done = 0;
        while let Some(extent) = extents.next()? {
            match extent {
                Extent::Hole(len) => {
                    pieces.push(Piece::Hole { len }, &mut self.writer).map_err(Error::WriteManifest)?;
                    done += len;
                }
                Extent::Data(data) => {
                    done = self.store_extent(file, &data, &cutter, &mut old, pieces)?;
                    if done < data.end {
                        break;
                    }
                }
            }
        }
        Ok(done)
    }

    /// Reads, cuts and stores one extent; gives where its data ended, which is earlier if the file shrank.
    fn store_extent(
        &mut self,
        file: &dyn ReadAt,
        extent: &Range<u64>,
        cutter: &Cutter,
        old: &mut OldChunks<'_>,
        pieces: &mut PieceWriter,
    ) -> Result<u64, Failure> {
        let room = READ_SIZE.max(2 * cutter.max_chunk());
        let begin = self.make_room(extent.start, room);
        // buffer[start..end] holds the bytes of the file from `offset` on that are not cut yet.
        let (mut start, mut end, mut offset) = (begin, begin, extent.start);
        let mut read_to = extent.start;
        let mut last = false;
        let mut before = old.at(offset);
        loop {
            let data = &self.buffer[start..end];
            let next = next_cut(cutter, data, offset, last, before, |bytes| self.writer.id(bytes));
            if let Some(Next { len, id, same }) = next {
                let bytes = &data[..len];
                let id = id.unwrap_or_else(|| self.writer.id(bytes));
                if !(same && self.old_is_stored) {
                    self.writer.store_hashed(id, bytes)?;
                }
                pieces.push(Piece::Chunk { id, len: len as u32 }, &mut self.writer).map_err(Error::WriteManifest)?;
                start += len;
                offset += len as u64;
                before = old.at(offset);
                continue;
            }
            if last {
                return Ok(offset);
            }
            self.buffer.copy_within(start..end, begin);
            (start, end) = (begin, begin + end - start);
            let want = ((begin + room - end) as u64).min(extent.end - read_to) as usize;
            let read = read(file, read_to, &mut self.buffer[end..end + want])?;
            self.count(read as u64);
            self.check()?;
            end += read;
            read_to += read as u64;
            last = read == 0 || read_to >= extent.end;
        }
    }
}
