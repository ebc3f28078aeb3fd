//! How a download ends: the only way in which one gives back its slot.

use std::time::Instant;

use log::debug;

use super::{
    super::paths::Why,
    Engine, Result,
    download::{Download, Stage},
    whole::Whole,
};
use crate::{
    core::seam::{ApplyFailure, Output, Time},
    model::{
        entry::{Base, Content, Digest},
        limits::ORPHAN_WAIT,
        path::RelPath,
    },
};

/// What becomes of what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partial {
    /// It is all that there is to come: it waits for its name.
    Whole,
    /// It is kept for another try.
    Kept,
    /// It is of no use.
    Dropped,
    /// It may be of use to this content, of so many bytes.
    Adopted(Digest, u64),
}

impl Engine {
    /// Ends a download that has no slot any more. Gives back the path that it was for. Who waits
    /// for a slot is looked for in the next step ([`Engine::step_placement`]); who waits for
    /// this content, or for what was copied, by a pass.
    pub(super) fn end_download(
        &mut self,
        digest: Digest,
        download: Download,
        partial: Partial,
        now: Instant,
    ) -> RelPath {
        match partial {
            Partial::Whole => {
                let whole = Whole::new(download.path.clone(), download.size, download.others);
                self.transfers.whole.insert(digest, whole);
                self.transfers.look_soon(now);
            }
            Partial::Kept => self.outputs.push_back(Output::ClosePartial { digest }),
            Partial::Dropped => self.outputs.push_back(Output::DropPartial { digest }),
            Partial::Adopted(to, size) => {
                self.outputs.push_back(Output::AdoptPartial { from: digest, to, size });
            }
        }
        if download.stage == Stage::Copying || download.others && partial != Partial::Whole {
            self.placement.kick();
        }
        download.path
    }

    /// All of it is here and verified: it gets its name, now or when its path can have it.
    pub(super) fn complete_download(
        &mut self,
        digest: Digest,
        download: Download,
        time: Time,
    ) -> Result<()> {
        let path = self.end_download(digest, download, Partial::Whole, time.now);
        self.place(&path, None, time)?;
        if self.transfers.whole.is_waiting(&digest) {
            self.end_install(&digest);
        }
        Ok(())
    }

    /// Nobody can go on with it for now.
    pub(super) fn give_up_download(
        &mut self,
        digest: Digest,
        download: Download,
        time: Time,
    ) -> Result<()> {
        let why = if download.is_unreadable { Why::NotNow } else { Why::NoSource };
        let path = self.end_download(digest, download, Partial::Kept, time.now);
        debug!("{path}: {}", why.as_str());
        self.hold_back(&path, why, time)
    }

    /// It cannot be put where it is wanted. What has come of it, if anything, stays for another
    /// try.
    pub(super) fn refuse_download(
        &mut self,
        digest: Digest,
        download: Download,
        reason: &str,
        time: Time,
    ) -> Result<()> {
        let path = self.end_download(digest, download, Partial::Kept, time.now);
        self.refuse(&path, reason, time)
    }

    /// The disk took no more of it. What else waits here in vain may be what takes the room: it
    /// makes way.
    pub(in super::super) fn handle_piece_failed(
        &mut self,
        digest: Digest,
        reason: &str,
        time: Time,
    ) -> Result<()> {
        let download = self.transfers.slots.take(&digest);
        let path = download
            .map(|download| self.end_download(digest, download, Partial::Dropped, time.now));
        let path =
            path.or_else(|| self.transfers.whole.get(&digest).map(|whole| whole.path.clone()));
        self.drop_whole(&digest);
        for waiting in self.transfers.whole.waiting() {
            self.drop_whole(&waiting);
        }
        path.map_or(Ok(()), |path| self.refuse(&path, reason, time))
    }

    pub(in super::super) fn handle_copied(
        &mut self,
        digest: Digest,
        result: std::result::Result<(), ApplyFailure>,
        time: Time,
    ) -> Result<()> {
        let Some(download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        let failure = match result {
            Ok(()) => return self.complete_download(digest, download, time),
            Err(ApplyFailure::NotWritable(reason)) => {
                return self.refuse_download(digest, download, &reason, time);
            }
            Err(failure) => failure,
        };
        debug!("a copy on this disk failed: {failure:?}");
        let path = self.end_download(digest, download, Partial::Dropped, time.now);
        if let Some((from, _)) = self.holder(&path, &digest)? {
            self.outputs.push_back(Output::Inspect { path: from });
        }
        let reason = match &failure {
            ApplyFailure::System(reason) => reason,
            _ => "its content on this disk is changing",
        };
        if self.is_path_wanted(&path)? {
            self.paths.block_copy(&path, reason, time.now);
        }
        Ok(())
    }

    /// A download, or content that waits for its name, that should be gone: for tests.
    pub(in super::super) fn find_forgotten(&self, now: Instant) -> Option<String> {
        let transfers = &self.transfers;
        let is_late = transfers.look_at.is_some_and(|at| at > now + ORPHAN_WAIT);
        if is_late || !transfers.is_bounded() {
            return Some("nobody looks whether downloads are wanted".to_owned());
        }
        let is_forgotten =
            |download: &&Download| !download.is_busy() && download.orphan.is_overdue(now);
        let download =
            transfers.slots.downloads().find(is_forgotten).map(|download| &download.path);
        let path = download.or_else(|| transfers.whole.find_forgotten(now))?;
        Some(format!("nobody wants what is kept for {path}"))
    }

    // --- What nobody wants any more

    /// Once a second, while there are any: downloads that nobody wants any more are given up, and
    /// the others asked for what could not be asked for yet.
    pub(super) fn look_after_downloads(&mut self, time: Time) -> Result<()> {
        if self.transfers.look_at.is_none_or(|at| at > time.now) {
            return Ok(());
        }
        self.transfers.look_at = None;
        for digest in self.transfers.slots.digests() {
            self.look_after_download(digest, time)?;
        }
        for digest in self.transfers.whole.waiting() {
            self.drop_whole_if_orphaned(&digest, time)?;
        }
        if !self.transfers.slots.is_empty() || !self.transfers.whole.is_empty() {
            self.transfers.look_soon(time.now);
        }
        Ok(())
    }

    /// Not at once: its file may just have been renamed, and be wanted under its new name in a
    /// moment. What the disk is busy with comes to its end first.
    fn look_after_download(&mut self, digest: Digest, time: Time) -> Result<()> {
        let is_wanted = self.is_still_wanted(&digest)?;
        let Some(mut download) = self.transfers.slots.take(&digest) else { return Ok(()) };
        let is_orphaned = download.orphan.is_over(is_wanted, time.now);
        if is_orphaned && !download.is_busy() {
            self.end_download(digest, download, Partial::Dropped, time.now);
            return Ok(());
        }
        if !is_wanted && download.others {
            self.placement.kick();
        }
        self.go_on(digest, download, time)
    }

    fn drop_whole_if_orphaned(&mut self, digest: &Digest, time: Time) -> Result<()> {
        let Some(path) = self.transfers.whole.get(digest).map(|whole| whole.path.clone()) else {
            return Ok(());
        };
        let is_wanted = self.wants(&path, digest)?;
        let Some(whole) = self.transfers.whole.get_mut(digest) else { return Ok(()) };
        let (is_orphaned, others) = (whole.orphan.is_over(is_wanted, time.now), whole.others);
        if is_orphaned {
            self.drop_whole(digest);
        } else if !is_wanted && others {
            self.placement.kick();
        }
        Ok(())
    }

    pub(super) fn is_still_wanted(&self, digest: &Digest) -> Result<bool> {
        match self.transfers.slots.get(digest) {
            Some(download) => self.wants(&download.path, digest),
            None => Ok(false),
        }
    }

    /// Is this content wanted at this path?
    pub(super) fn wants(&self, path: &RelPath, digest: &Digest) -> Result<bool> {
        let wanted = self
            .index
            .get(path)?
            .filter(|row| row.is_wanted() && !self.is_ignored(path, Some(row), None));
        let is_this = |content: &Content| content.digest() == Some(digest);
        let is_here = |content: &Option<Content>| content.as_ref().is_some_and(is_this);
        let held = |base: &Base| base.content().is_some_and(is_this);
        Ok(wanted
            .is_some_and(|row| is_here(&row.entry.content) && !row.base.as_ref().is_some_and(held)))
    }
}

/// Since when nobody has wanted it.
#[derive(Debug, Default)]
pub(super) struct Orphan(Option<Instant>);

impl Orphan {
    /// Has nobody wanted it for a while?
    fn is_over(&mut self, is_wanted: bool, now: Instant) -> bool {
        if is_wanted {
            self.0 = None;
            return false;
        }
        now >= *self.0.get_or_insert(now) + ORPHAN_WAIT
    }

    /// Should it be gone by now?
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.0.is_some_and(|since| now > since + ORPHAN_WAIT * 2)
    }
}
