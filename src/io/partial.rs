//! Files that are being received: open in `.p2pnetwork/tmp/` under their digest until they get their name.

use std::{collections::BTreeMap, io};

use crate::{
    core::entry::Digest,
    io::{
        disk::Root,
        temp::{self, Temp},
    },
};

/// The open partial files. The core has at most `MAX_DOWNLOADS` of them.
#[derive(Default)]
pub struct Partials {
    open: BTreeMap<Digest, Temp>,
}

impl Partials {
    /// Writes bytes where they belong; the first write makes the file.
    pub fn write(&mut self, root: &Root, digest: &Digest, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.open.contains_key(digest) {
            self.open.insert(*digest, Temp::create(root, &name(digest))?);
        }
        self.open[digest].write_at(offset, bytes)
    }

    /// It has its name.
    pub fn forget(&mut self, digest: &Digest) {
        self.open.remove(digest);
    }

    /// Deletes it.
    pub fn remove(&mut self, root: &Root, digest: &Digest) -> io::Result<()> {
        match self.open.remove(digest) {
            Some(_) => temp::remove(root, name(digest).as_bytes()),
            None => Ok(()),
        }
    }
}

/// The name of the partial file of this content.
pub fn name(digest: &Digest) -> String {
    digest.to_string()
}
