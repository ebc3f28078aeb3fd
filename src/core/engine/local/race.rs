//! Two versions of a path, neither of which was made knowing the other.

use super::super::Engine;
use crate::{
    core::reconcile::overruling,
    model::{entry::Entry, version::Author},
};

impl Engine {
    /// The version that stands for both, now that they are `merged`: where the larger one is
    /// overruled, that is the other, stated anew above the two. By this node: who made it may have
    /// made another one since, and has not forgotten that.
    pub(in super::super) fn settle_race(&mut self, a: &Entry, b: &Entry, merged: Entry) -> Entry {
        let Some(loser) = overruling(a, b) else { return merged };
        let mut known = a.version.made_with.clone();
        known.join(&b.version.made_with);
        let mut version = self.next_version(Some(&known), Some(merged.version.changed), 0);
        if loser.version.author == Author::Unattributed {
            version.author = Author::Unattributed;
        }
        version.stand_for(merged.version.vector());
        version.replaced = loser.version.replaced.clone();
        version.content_since = loser.content.is_some().then(|| loser.version.content_since());
        Entry { version, ..loser.clone() }
    }
}
