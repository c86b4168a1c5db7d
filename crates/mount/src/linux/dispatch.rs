//! The kernel's requests, each as one call; what is missing here the kernel answers itself, because the mount is read-only.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::attributes;
use super::directory::{DOTS, offset};
use super::files::Whence;
use super::handles::lock;
use super::snapshots::{Answer, Directory, Snapshots, number};

/// Inode numbers never mean anything else, so there is one generation of them.
const GENERATION: Generation = Generation(0);

/// `SEEK_DATA` and `SEEK_HOLE` of Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Requests for reading ahead that the kernel may have under way.
const BACKGROUND: u16 = 32;

/// A name in a directory: inode number, the place behind it, kind, name.
type Item<'a> = (u64, u64, FileType, &'a [u8]);

impl Filesystem for Snapshots {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Kernels that know less are slower, and say no less.
        let _ = config.add_capabilities(InitFlags::FUSE_DO_READDIRPLUS);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let _ = config.set_max_background(BACKGROUND);
        if self.enforce && config.add_capabilities(InitFlags::FUSE_POSIX_ACL).is_err() {
            // A mode without its ACL lets in whom the ACL keeps out.
            return Err(io::Error::other("this kernel does not know POSIX ACLs of FUSE, so others cannot be let in"));
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match Snapshots::lookup(self, parent.0, name.as_bytes()) {
            Ok((attributes, holds, name_holds)) => reply.entry_with_ttls(&holds, &name_holds, &attributes, GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.resolve(inode.0).and_then(|found| self.attributes(inode.0, &found)) {
            Ok((attributes, holds)) => reply.attr(&holds, &attributes),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        match self.target(inode.0) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(inode.0) {
            // What was read once stays right.
            Ok(open) => {
                reply.opened(self.files.open(open), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self
            .files
            .get(handle)
            .ok_or(Errno::EBADF)
            .and_then(|open| Snapshots::read(self, &open, offset, size as usize));
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.close(handle);
        reply.ok();
    }

    fn lseek(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.files.get(handle).ok_or(Errno::EBADF).and_then(|open| {
            let whence = match whence {
                SEEK_DATA => Whence::Data,
                SEEK_HOLE => Whence::Hole,
                _ => return Err(Errno::EINVAL),
            };
            self.seek(&open, u64::try_from(offset).map_err(|_| Errno::ENXIO)?, whence)
        });
        match found.and_then(|found| i64::try_from(found).map_err(|_| Errno::EOVERFLOW)) {
            Ok(found) => reply.offset(found),
            Err(errno) => reply.error(errno),
        }
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_directory(inode.0) {
            Ok(directory) => reply.opened(self.directories.open(directory), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _request: &Request, inode: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.list(inode.0, handle, offset, |(inode, next, kind, name), _, _| {
            reply.add(INodeNo(inode), next, kind, OsStr::from_bytes(name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(inode.0, handle, offset, |(inode, next, _, name), attributes, holds| {
            reply.add(INodeNo(inode), next, OsStr::from_bytes(name), &holds, &attributes(), GENERATION)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.directories.close(handle);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        // There is no room in it, and how much it holds nobody has counted.
        reply.statfs(0, 0, 0, 0, 0, 4096, 1024, 4096);
    }

    fn getxattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer(self.xattr(inode.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        answer(self.xattrs(inode.0, request.uid() == 0), size, reply);
    }
}

/// The bytes, their number if that was asked for, or that they are too many.
fn answer(found: Answer<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match found {
        Err(errno) => reply.error(errno),
        Ok(bytes) if size == 0 => reply.size(bytes.len() as u32),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
    }
}

impl Snapshots {
    /// Hands out what follows a place in an open directory until `add` says that there is no more room.
    fn list(
        &self,
        inode: u64,
        handle: FileHandle,
        from: u64,
        mut add: impl FnMut(Item<'_>, &dyn Fn() -> FileAttr, Duration) -> bool,
    ) -> Answer<()> {
        let directory = self.directories.get(handle).ok_or(Errno::EBADF)?;
        let (dots, holds) = match &*directory {
            Directory::Above(_) => ([inode, inode], Snapshots::soon()),
            Directory::Below { dots, .. } => (*dots, Snapshots::long()),
        };
        // The kernel takes nothing but numbers and kinds of these two.
        for (at, name) in [&b"."[..], b".."].into_iter().enumerate().skip(from.min(DOTS) as usize) {
            let plain = || attributes::of_ours(dots[at], None, self.tree().changed(), self.owner);
            if add((dots[at], at as u64 + 1, FileType::Directory, name), &plain, holds) {
                return Ok(());
            }
        }
        let from = from.max(DOTS);
        match &*directory {
            Directory::Above(children) => {
                for (at, child) in children.iter().enumerate().skip((from - DOTS) as usize) {
                    let kind = if child.is_link { FileType::Symlink } else { FileType::Directory };
                    let Ok((plain, _)) =
                        self.resolve(child.inode).and_then(|found| self.attributes(child.inode, &found))
                    else {
                        continue;
                    };
                    let item = (child.inode, at as u64 + DOTS + 1, kind, child.name.as_bytes());
                    if add(item, &|| plain, holds) {
                        break;
                    }
                }
                Ok(())
            }
            Directory::Below { cursor, .. } => {
                let cursor = &mut *lock(cursor);
                cursor.seek(&self.access, from).map_err(|_| Errno::EIO)?;
                let mut added = 0;
                while let Some(seen) = cursor.peek(&self.access) {
                    let inode = number(cursor.snapshot(), &seen)?;
                    let full = || attributes::of_entry(&self.access, &seen.entry, inode);
                    let kind = attributes::kind(&seen.entry.node);
                    if add((inode, offset(&seen), kind, seen.entry.name()), &full, holds) {
                        return Ok(());
                    }
                    cursor.advance();
                    added += 1;
                }
                // What is there is listed first; who reads to the end is told that it is not all.
                if cursor.damaged && added == 0 && from >= DOTS { Err(Errno::EIO) } else { Ok(()) }
            }
        }
    }
}
