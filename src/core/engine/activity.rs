//! What a person is told of the changes: a line a second at most, not one a file.

use log::info;

use crate::model::{
    entry::{Content, Entry},
    path::RelPath,
};

/// Changes since the last report.
#[derive(Debug, Default)]
pub(super) struct Activity {
    local: Tally,
    remote: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    written: u64,
    removed: u64,
    bytes: u64,
    last: Option<RelPath>,
}

impl Activity {
    /// A change was found on this disk.
    pub(super) fn handle_local(&mut self, path: &RelPath, entry: &Entry) {
        self.local.add(path, entry.content.as_ref());
    }

    /// Another node's change was brought to this disk.
    pub(super) fn handle_remote(&mut self, path: &RelPath, content: Option<&Content>) {
        self.remote.add(path, content);
    }

    /// Says what there was, and forgets it.
    pub(super) fn report(&mut self) {
        std::mem::take(&mut self.local).report("here");
        std::mem::take(&mut self.remote).report("by another node");
    }
}

impl Tally {
    fn add(&mut self, path: &RelPath, content: Option<&Content>) {
        match content {
            Some(content) => {
                self.written += 1;
                self.bytes += content.size();
            }
            None => self.removed += 1,
        }
        self.last = Some(path.clone());
    }

    fn report(self, by_whom: &str) {
        let Some(last) = self.last else { return };
        match (self.written, self.removed) {
            (1, 0) => info!("{last} was changed {by_whom} ({} bytes)", self.bytes),
            (0, 1) => info!("{last} was deleted {by_whom}"),
            (written, removed) => info!(
                "{written} paths were changed ({} bytes) and {removed} deleted {by_whom}; the \
                 last was {last}",
                self.bytes
            ),
        }
    }
}
