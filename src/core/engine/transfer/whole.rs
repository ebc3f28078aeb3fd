//! Content that is whole in its partial file, and has no name yet.
//!
//! It has no slot any more: what it waits for is not fetched. Most get their name at once. What
//! cannot be put at its path now is kept, so that the next try neither fetches nor verifies it
//! again.

use std::{collections::BTreeMap, time::Instant};

use super::{Engine, ending::Orphan};
use crate::{
    core::seam::Output,
    model::{
        entry::Digest,
        limits::{MAX_IN_FLIGHT, MAX_WHOLE},
        path::RelPath,
    },
};

/// All of a kind.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    all: BTreeMap<Digest, Whole>,
    /// Numbers them as they come.
    count: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Whole {
    /// A path that wants it.
    pub(super) path: RelPath,
    /// Length in bytes.
    pub(super) size: u64,
    /// Other paths have asked for it.
    pub(super) others: bool,
    pub(super) orphan: Orphan,
    /// It is being given its name.
    is_installing: bool,
    number: u64,
}

impl Whole {
    pub(super) fn new(path: RelPath, size: u64, others: bool) -> Self {
        Self { path, size, others, orphan: Orphan::default(), is_installing: false, number: 0 }
    }
}

impl Wholes {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Whole> {
        self.all.get(digest)
    }

    pub(super) fn get_mut(&mut self, digest: &Digest) -> Option<&mut Whole> {
        self.all.get_mut(digest)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.all.contains_key(digest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Is it here, and nobody gives it its name?
    pub(super) fn is_waiting(&self, digest: &Digest) -> bool {
        self.all.get(digest).is_some_and(|whole| !whole.is_installing)
    }

    pub(super) fn is_installing(&self, digest: &Digest) -> bool {
        self.all.get(digest).is_some_and(|whole| whole.is_installing)
    }

    /// Those that nobody gives their name.
    pub(super) fn waiting(&self) -> Vec<Digest> {
        self.all
            .iter()
            .filter(|(_, whole)| !whole.is_installing)
            .map(|(digest, _)| *digest)
            .collect()
    }

    pub(super) fn insert(&mut self, digest: Digest, whole: Whole) {
        self.count += 1;
        self.all.insert(digest, Whole { number: self.count, ..whole });
        self.forget_oldest();
    }

    /// Its partial file stays, and is verified when it is tried next.
    fn forget_oldest(&mut self) {
        let waiting = self.all.iter().filter(|(_, whole)| !whole.is_installing);
        if waiting.clone().count() > MAX_WHOLE
            && let Some(oldest) =
                waiting.min_by_key(|(_, whole)| whole.number).map(|(digest, _)| *digest)
        {
            self.all.remove(&oldest);
        }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.all.len() <= MAX_WHOLE + MAX_IN_FLIGHT
    }

    /// A path whose content nobody has wanted for longer than that is let pass.
    pub(super) fn find_forgotten(&self, now: Instant) -> Option<&RelPath> {
        let is_forgotten = |whole: &&Whole| !whole.is_installing && whole.orphan.is_overdue(now);
        self.all.values().find(is_forgotten).map(|whole| &whole.path)
    }
}

impl super::Transfers {
    /// Is all of this content in its partial file?
    pub(in super::super) fn is_whole(&self, digest: &Digest) -> bool {
        self.whole.contains(digest)
    }

    /// The content is about to be installed at this path; false when it is at another one just now.
    pub(in super::super) fn begin_install(&mut self, digest: &Digest, path: &RelPath) -> bool {
        let Some(whole) = self.whole.get_mut(digest) else { return false };
        if whole.is_installing {
            whole.others = true;
            return false;
        }
        whole.path.clone_from(path);
        whole.is_installing = true;
        true
    }
}

impl Engine {
    /// Its file has its name.
    pub(in super::super) fn finish_install(&mut self, digest: &Digest) {
        self.forget_whole(digest);
    }

    /// It was not installed, and may be at another path that has asked for it.
    pub(in super::super) fn end_install(&mut self, digest: &Digest) {
        let Some(whole) = self.transfers.whole.get_mut(digest) else { return };
        whole.is_installing = false;
        let others = std::mem::take(&mut whole.others);
        self.transfers.whole.forget_oldest();
        self.outputs.push_back(Output::ClosePartial { digest: *digest });
        if others {
            self.placement.kick();
        }
    }

    /// It is not what it should be, or nobody wants it any more.
    pub(in super::super) fn drop_whole(&mut self, digest: &Digest) {
        if self.forget_whole(digest) {
            self.outputs.push_back(Output::DropPartial { digest: *digest });
        }
    }

    /// Whoever else wants it asks again.
    fn forget_whole(&mut self, digest: &Digest) -> bool {
        let Some(whole) = self.transfers.whole.all.remove(digest) else { return false };
        if whole.others {
            self.placement.kick();
        }
        true
    }
}
