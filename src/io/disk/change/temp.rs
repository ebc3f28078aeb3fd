//! Content on its way into the tree: files in `.p2pnetwork/tmp/`, named by the caller.
//!
//! A temporary file gets a name in the tree only by [`crate::io::disk::change::apply`], after it
//! was synced.

use std::{io, rc::Rc};

use rustix::io::Errno;

use crate::{
    io::{
        disk::root::{Listing, Root, TEMPORARY},
        files::{
            FileSystem, Handle, How,
            sys::{self, Lack},
        },
    },
    model::limits::MAX_TEMP_NAME_BYTES,
};

/// An open temporary file.
#[derive(Debug)]
pub struct Temp {
    files: Rc<dyn FileSystem>,
    file: Handle,
}

impl Temp {
    /// Makes a new, empty one; fails when the name exists.
    pub fn create(root: &Root, name: &str) -> io::Result<Self> {
        check_name(name)?;
        require_inode(root)?;
        let file = root.files().create_at((&*root.temporary()?, name.as_bytes()))?;
        Ok(Self { files: root.share_files(), file })
    }

    /// Opens one that is left from before; `None` when there is none. One that is also in the tree,
    /// because a power cut has kept its new name and its old one, is not: it loses the old one.
    pub fn open_existing(root: &Root, name: &str) -> io::Result<Option<Self>> {
        check_name(name)?;
        let (files, directory) = (root.files(), root.temporary()?);
        let at = (&*directory, name.as_bytes());
        let open = || files.open_at(at, How::ReadWrite);
        let unlock = || files.set_mode(&files.open_at(at, How::ForMode)?, 0o600);
        let opened = match open() {
            // It has its final bits already, which need not let its owner write.
            Err(Errno::ACCESS) => unlock().and_then(|()| open()),
            result => result,
        };
        match opened {
            Ok(file) if files.stat_of(&file, 0)?.links > 1 => remove(root, at.1).map(|()| None),
            Ok(file) => Ok(Some(Self { files: root.share_files(), file })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of `bytes` at `offset`. A full disk, or one that is so but for the reserve, is
    /// `StorageFull` or `QuotaExceeded`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        require_room(sys::lack(&*self.files, &self.file, 0)?)?;
        Ok(self.files.write_at(&self.file, bytes, offset)?)
    }

    /// As [`Self::write_at`]; zeros take no room on the disk where the file system knows holes.
    pub fn write_sparse_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        if bytes.chunks(ZEROS.len()).any(|part| *part != ZEROS[..part.len()]) {
            return self.write_at(offset, bytes);
        }
        Ok(self.files.write_zeros(&self.file, bytes, offset)?)
    }

    /// Makes a range read as zeros, without room on the disk where the file system knows holes.
    /// `buffer` is filled with them.
    pub fn clear(&self, range: std::ops::Range<u64>, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        let mut offset = range.start;
        while offset < range.end {
            let length = (range.end - offset).min(buffer.len() as u64);
            self.files.write_zeros(&self.file, &buffer[..length as usize], offset)?;
            offset += length;
        }
        Ok(())
    }

    /// Is there nothing but a hole, or the end of the file, from `offset` to `end`?
    pub fn is_hole(&self, offset: u64, end: u64) -> bool {
        self.files.next_data(&self.file, offset).is_none_or(|data| data >= end)
    }

    /// Reads at `offset` until `buffer` is full or the file ends; how many bytes.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.files.read_at(&self.file, buffer, offset)?)
    }

    /// Length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.files.stat_of(&self.file, 0)?.stamp.size)
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts off, or fills up with zeros, to `length` bytes.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        Ok(self.files.set_len(&self.file, length)?)
    }

    /// Asks for room for `length` bytes, so that a full disk shows before the transfer. Where the
    /// file system cannot say, nothing happens.
    pub fn reserve(&self, length: u64) -> io::Result<()> {
        match self.files.reserve(&self.file, length.max(1)) {
            Err(error) if !sys::is_unsupported(error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Sets permission bits, as far as the root's file system keeps them, and the modification time
    /// in ns since 1970.
    pub fn set_metadata(&self, root: &Root, mode: u16, mtime_ns: i64) -> io::Result<()> {
        root.set_mode(&self.file, mode)?;
        Ok(self.files.set_mtime_of(&self.file, mtime_ns)?)
    }

    /// Has the system begin to write a range to the disk, where it can, and waits for nothing.
    pub fn begin_writing(&self, range: std::ops::Range<u64>) -> io::Result<()> {
        Ok(self.files.advise_written(&self.file, range.start, range.end - range.start)?)
    }

    /// Makes the content durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(self.files.sync_content(&self.file)?)
    }

    pub(crate) fn file(&self) -> &Handle {
        &self.file
    }
}

/// Begins to list what is left of temporary files.
pub fn list(root: &Root) -> io::Result<Listing> {
    root.temporary()?;
    root.list(&root.state_path(&[TEMPORARY])?)
}

/// Gives a temporary file another name, which none must have.
pub fn rename(root: &Root, from: &str, to: &str) -> io::Result<()> {
    check_name(to)?;
    let directory = root.temporary()?;
    let (from, to) = ((&*directory, from.as_bytes()), (&*directory, to.as_bytes()));
    Ok(sys::rename_new(root.files(), from, to, root.able())?)
}

/// Removes a temporary file; one that is not there is fine.
pub fn remove(root: &Root, name: &[u8]) -> io::Result<()> {
    Ok(sys::remove(root.files(), (&*root.temporary()?, name))?)
}

/// `StorageFull` where the disk lacks something for what is received.
pub fn require_room(lack: Lack) -> io::Result<()> {
    if lack.is_none() { Ok(()) } else { Err(no_room(lack)) }
}

/// `StorageFull` where there are too few files to be had for another one.
pub fn require_inode(root: &Root) -> io::Result<()> {
    let files = root.lack(0)?.files;
    require_room(Lack { bytes: 0, files })
}

fn no_room(lack: Lack) -> io::Error {
    let reason = match lack {
        Lack { bytes: 0, files } => format!(
            "the disk is full of files, it lacks {files} inodes for this and the reserve; remove \
             files and it goes on"
        ),
        Lack { bytes, .. } => format!(
            "the disk is nearly full, it lacks {} MB for this and the reserve; make room and it \
             goes on",
            bytes.div_ceil(1_000_000)
        ),
    };
    io::Error::new(io::ErrorKind::StorageFull, reason)
}

/// Is the disk, or this user's part of it, full?
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn check_name(name: &str) -> io::Result<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.len() <= MAX_TEMP_NAME_BYTES && name.bytes().all(is_good) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "a temporary file's name is of letters, digits, '-', '_'",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::testing::*;

    #[test]
    fn survives_and_is_found_again() {
        each_mode(|tree| {
            let temp = Temp::create(&tree.root, "abc-1").unwrap();
            temp.reserve(100_000).unwrap();
            assert!(temp.is_empty().unwrap());
            temp.write_at(3, b"def").unwrap();
            temp.write_at(0, b"abc").unwrap();
            temp.sync().unwrap();
            drop(temp);
            assert_eq!(
                Temp::create(&tree.root, "abc-1").unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
            let temp = Temp::open_existing(&tree.root, "abc-1").unwrap().unwrap();
            let mut buffer = [0; 10];
            assert_eq!((temp.len().unwrap(), temp.read_at(1, &mut buffer).unwrap()), (6, 5));
            assert_eq!(&buffer[..5], b"bcdef");
            temp.write_sparse_at(0, &[0; 2]).unwrap();
            temp.write_sparse_at(1_000_000, &[0; 1000]).unwrap();
            assert_eq!(
                (temp.read_at(0, &mut buffer[..4]).unwrap(), &buffer[..4]),
                (4, &b"\0\0cd"[..])
            );
            assert_eq!(temp.len().unwrap(), 1_001_000);
            assert!(
                !temp.is_hole(0, 10)
                    && temp.is_hole(500_000, 600_000)
                    && temp.is_hole(2_000_000, 3_000_000)
            );
            temp.set_len(2).unwrap();
            assert_eq!((temp.len().unwrap(), tree.temps()), (2, 1));
            remove(&tree.root, b"abc-1").unwrap();
            remove(&tree.root, b"abc-1").unwrap();
            assert!(Temp::open_existing(&tree.root, "abc-1").unwrap().is_none());
        });
    }

    #[test]
    fn names_stay_inside() {
        each_mode(|tree| {
            let long = "x".repeat(MAX_TEMP_NAME_BYTES + 1);
            for name in ["", ".", "..", "a/b", "../../a", "a\0", &long] {
                assert!(Temp::create(&tree.root, name).is_err());
                assert!(Temp::open_existing(&tree.root, name).is_err());
            }
            std::os::unix::fs::symlink(&tree.outside, tree.at.join(".p2pnetwork/tmp/link"))
                .unwrap();
            assert!(Temp::open_existing(&tree.root, "link").is_err());
        });
    }

    #[test]
    fn the_directory_is_made_again() {
        each_mode(|tree| {
            tree.temp("a", b"");
            std::fs::remove_dir_all(tree.at.join(".p2pnetwork/tmp")).unwrap();
            tree.root.end_of_turn();
            tree.temp("a", b"");
            std::fs::remove_dir_all(tree.at.join(".p2pnetwork/tmp")).unwrap();
            std::os::unix::fs::symlink(&tree.outside, tree.at.join(".p2pnetwork/tmp")).unwrap();
            tree.root.end_of_turn();
            assert!(Temp::create(&tree.root, "b").is_err());
            assert_eq!(std::fs::read_dir(&tree.outside).unwrap().count(), 0);
        });
    }
}
