//! A file of the live side, open for reading.

use std::fs::File;
use std::io;
use std::ops::Range;

use icecore_format::entry::Xattr;

use crate::os;
use crate::stat::Stat;

/// Content that is read at offsets, and may have holes.
pub trait ReadAt: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end of the content.
    ///
    /// # Errors
    /// As the OS says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The first range at or after `offset` that holds data, within the first `size` bytes; `None` if a
    /// hole reaches up to `size`.
    ///
    /// # Errors
    /// As the OS says. A file system that knows no holes answers with everything.
    fn next_data(&self, offset: u64, size: u64) -> io::Result<Option<Range<u64>>>;
}

/// A regular file that may be written by its application at any moment; it is read with `read`, never
/// mapped.
#[derive(Debug)]
pub struct LiveFile(File);

impl LiveFile {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// The stat of the open file, as it is now.
    ///
    /// # Errors
    /// As the OS says.
    pub fn stat(&self) -> io::Result<Stat> {
        os::file_stat(&self.0)
    }

    /// The extended attributes, sorted by name; none where the file system has none.
    ///
    /// # Errors
    /// As the OS says.
    pub fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        os::file_xattrs(&self.0)
    }

    /// Tells the OS that the file will be read from front to back.
    pub fn advise_sequential(&self) {
        os::advise_sequential(&self.0);
    }

    /// Tells the OS that this file's cached bytes will not be needed again, so that a backup does not
    /// push out what the application works with.
    pub fn drop_cache(&self) {
        os::drop_cache(&self.0);
    }
}

impl ReadAt for LiveFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        os::read_at(&self.0, offset, buffer)
    }

    fn next_data(&self, offset: u64, size: u64) -> io::Result<Option<Range<u64>>> {
        os::next_data(&self.0, offset, size)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::tree::{Root, Tree};

    fn open(dir: &Path, name: &str) -> LiveFile {
        let tree = Tree::open(vec![Root { name: "root".into(), path: dir.into() }]).unwrap();
        tree.open_file(name.as_bytes()).unwrap()
    }

    #[test]
    fn bytes_are_read_at_their_offset() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "0123456789").unwrap();
        let file = open(dir.path(), "file");
        let mut buffer = [0; 4];
        assert_eq!((file.read_at(8, &mut buffer).unwrap(), &buffer[..2]), (2, &b"89"[..]));
        assert_eq!((file.read_at(0, &mut buffer).unwrap(), &buffer), (4, b"0123"));
        assert_eq!(file.read_at(10, &mut buffer).unwrap(), 0);
        assert_eq!(file.stat().unwrap().size, 10);
        file.advise_sequential();
        file.drop_cache();
        assert_eq!(file.read_at(1, &mut buffer).unwrap(), 4);
    }

    #[test]
    fn holes_are_passed_over() {
        const MIB: u64 = 1024 * 1024;
        let dir = tempfile::tempdir().unwrap();
        let sparse = File::create(dir.path().join("sparse")).unwrap();
        sparse.write_all_at(&[1; 4096], 0).unwrap();
        sparse.write_all_at(&[1; 4096], MIB).unwrap();
        sparse.set_len(3 * MIB).unwrap();
        sparse.sync_all().unwrap();
        let file = open(dir.path(), "sparse");
        let ranges = |size: u64| {
            let mut found = Vec::new();
            let mut offset = 0;
            while let Some(range) = file.next_data(offset, size).unwrap() {
                offset = range.end;
                found.push(range);
            }
            found
        };
        if ranges(3 * MIB).len() == 1 {
            return crate::skip("this file system keeps no holes");
        }
        assert_eq!(ranges(3 * MIB), [0..4096, MIB..MIB + 4096]);
        // What was listed may be shorter or longer than what is there by now.
        assert_eq!(ranges(MIB + 10), [0..4096, MIB..MIB + 10]);
        assert_eq!(ranges(MIB), vec![0..4096]);
        assert_eq!(ranges(9 * MIB), [0..4096, MIB..MIB + 4096]);
        assert_eq!(file.next_data(100, 3 * MIB).unwrap(), Some(100..4096));
        assert_eq!(file.next_data(0, 0).unwrap(), None);

        fs::write(dir.path().join("dense"), [1; 10_000]).unwrap();
        assert_eq!(open(dir.path(), "dense").next_data(0, 10_000).unwrap(), Some(0..10_000));
        fs::write(dir.path().join("empty"), "").unwrap();
        assert_eq!(open(dir.path(), "empty").next_data(0, 0).unwrap(), None);
    }

    #[test]
    fn reading_leaves_the_access_time_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "content").unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(&path).unwrap().set_times(fs::FileTimes::new().set_accessed(old)).unwrap();
        assert_eq!(open(dir.path(), "file").read_at(0, &mut [0; 7]).unwrap(), 7);
        assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), old);
        fs::read(&path).unwrap();
        if fs::metadata(&path).unwrap().accessed().unwrap() == old {
            crate::skip("this file system keeps no access times: the test shows nothing");
        }
    }
}
