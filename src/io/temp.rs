//! Content on its way into the tree: files in `.p2pnetwork/tmp/`, named by the caller.
//!
//! A temporary file gets a name in the tree only by [`crate::io::apply`], after it was synced.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::{self, AtFlags, OFlags},
    io::Errno,
};

use crate::{
    io::{
        disk::{Listing, Root, TEMPORARY},
        sys,
    },
    limits::MAX_TEMP_NAME_BYTES,
};

/// An open temporary file.
#[derive(Debug)]
pub struct Temp {
    file: OwnedFd,
}

impl Temp {
    /// Makes a new, empty one; fails when the name exists.
    pub fn create(root: &Root, name: &str) -> io::Result<Self> {
        check_name(name)?;
        Ok(Self { file: sys::create_at(&*root.temporary()?, name.as_bytes())? })
    }

    /// Opens one that is left from before; `None` when there is none.
    pub fn open_existing(root: &Root, name: &str) -> io::Result<Option<Self>> {
        check_name(name)?;
        let flags = OFlags::RDWR | sys::READ;
        match sys::open_at(&*root.temporary()?, name.as_bytes(), flags) {
            Ok(file) => Ok(Some(Self { file })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of `bytes` at `offset`. A full disk is `StorageFull` or `QuotaExceeded`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Ok(sys::write_at(&self.file, bytes, offset)?)
    }

    /// Reads at `offset` until `buffer` is full or the file ends; how many bytes.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(sys::read_at(&self.file, buffer, offset)?)
    }

    /// Length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        Ok(fs::fstat(&self.file)?.st_size as u64)
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts off, or fills up with zeros, to `length` bytes.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        Ok(fs::ftruncate(&self.file, length)?)
    }

    /// Asks for room for `length` bytes, so that a full disk shows before the transfer. Where the file system
    /// cannot say, nothing happens.
    pub fn reserve(&self, length: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match fs::fallocate(&self.file, fs::FallocateFlags::KEEP_SIZE, 0, length.max(1)) {
            Err(error) if !sys::is_unsupported(error) => return Err(error.into()),
            _ => {}
        }
        #[cfg(not(target_os = "linux"))]
        let _ = length;
        Ok(())
    }

    /// Sets permission bits and the modification time in ns since 1970.
    pub fn set_metadata(&self, mode: u16, mtime_ns: i64) -> io::Result<()> {
        use std::os::fd::AsFd;
        match sys::set_mode(self.file.as_fd(), mode) {
            // FAT refuses bits that it cannot keep; what it made of them is read back.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) if sys::is_unsupported(error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(sys::set_mtime_of(&self.file, mtime_ns)?)
    }

    /// Makes the content durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(sys::sync_content(&self.file)?)
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

/// Begins to list what is left of temporary files.
pub fn list(root: &Root) -> io::Result<Listing> {
    root.temporary()?;
    root.list(&root.state_path(&[TEMPORARY])?)
}

/// Removes a temporary file; one that is not there is fine.
pub fn remove(root: &Root, name: &[u8]) -> io::Result<()> {
    match fs::unlinkat(&*root.temporary()?, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
