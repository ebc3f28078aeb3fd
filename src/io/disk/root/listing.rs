//! What a directory lists, and what each of it is.
//!
//! Owns the open directory while it is listed. Must not follow links or enter another file system.

use std::{io, rc::Rc};

use rustix::io::{Errno, Result};

use super::Root;
use crate::{
    core::seam::ListedEntry,
    io::files::{FileSystem, Handle, Names, sys},
    model::path::STATE_DIR,
};

/// A directory that is being listed.
pub struct Listing {
    files: Rc<dyn FileSystem>,
    names: Box<dyn Names>,
    device: u64,
    is_root: bool,
    decomposes: bool,
}

impl Listing {
    /// Lists an open directory of the root's file system.
    pub(crate) fn over(root: &Root, directory: Handle, is_root: bool) -> Result<Self> {
        let names = root.files.list(directory)?;
        let decomposes = root.nature().decomposes;
        Ok(Self { files: root.share_files(), names, device: root.device, is_root, decomposes })
    }

    /// The directory, for a watch that is to be there before the listing begins.
    pub fn directory(&self) -> &Handle {
        self.names.directory()
    }

    /// Appends up to `max` names and what they are to `out`; true when there are no more. The
    /// node's own directory is left out, and so is what vanishes meanwhile. One name of which
    /// nothing can be told (a file server that is gone, another user's mount, a damaged inode) says
    /// nothing of those beside it.
    pub fn next_batch(&mut self, max: usize, out: &mut Vec<ListedEntry>) -> io::Result<bool> {
        let full = out.len() + max;
        while out.len() < full {
            let Some(name) = self.names.next_name() else { return Ok(true) };
            let name = name?;
            if self.is_root && name.eq_ignore_ascii_case(STATE_DIR.as_bytes()) {
                continue;
            }
            let name = if self.decomposes { composed(name) } else { name };
            match self.files.stat_at((self.names.directory(), &name), self.device) {
                Ok(stat) => out.push((name, Ok(stat))),
                Err(Errno::NOENT) => {}
                Err(error) => out.push((name, Err(sys::told(error).to_string()))),
            }
        }
        Ok(false)
    }
}

/// In normal form C, if it is text.
pub(super) fn composed(name: Box<[u8]>) -> Box<[u8]> {
    use unicode_normalization::UnicodeNormalization;
    match str::from_utf8(&name) {
        Ok(text) if !text.is_ascii() => text.nfc().collect::<String>().into_bytes().into(),
        _ => name,
    }
}
