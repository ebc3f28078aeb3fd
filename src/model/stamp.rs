//! What tells a state of a file on this disk without reading it, and how far that is to be
//! believed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::limits::STAMP_GRANULARITY;

/// Identifies a state of a file on this disk without reading it. All times in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Length in bytes; 0 for a directory, whose own length says nothing.
    pub size: u64,
    /// Modification time; 0 for a directory, whose children speak for themselves.
    pub mtime_ns: i64,
    /// Time of the last change of the inode; 0 for a directory.
    pub ctime_ns: i64,
}

impl Stamp {
    /// Is it the same file, in whatever state?
    pub fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Is it the same file, longer than it was?
    pub fn has_grown_since(&self, was: &Stamp) -> bool {
        self.is_same_file(was) && self.size > was.size
    }

    /// Is its time of change one of a file system that keeps whole seconds?
    pub fn is_whole_second(&self) -> bool {
        is_whole_second(self.ctime_ns)
    }

    /// Is `now` the same time, by a clock that was set to another zone, or to summer or winter
    /// time? Only for times of a file system that keeps pairs of seconds: FAT has them as the local
    /// clock showed them, and may have told finer ones before it was unmounted.
    pub fn is_by_other_clock(&self, now: &Stamp) -> bool {
        let was_ns = self.mtime_ns.div_euclid(COARSE_NS) * COARSE_NS;
        let moved_ns = now.mtime_ns.abs_diff(was_ns);
        self.size == now.size
            && now.mtime_ns % COARSE_NS == 0
            && moved_ns.is_multiple_of(ZONE_STEP_NS)
            && moved_ns <= MAX_ZONE_MOVE_NS
    }

    /// Two changes of the file closer than this can leave the same stamp.
    pub fn granularity(&self) -> Duration {
        if self.is_whole_second() { WHOLE_SECONDS } else { STAMP_GRANULARITY }
    }
}

/// The unit of times on FAT.
pub const COARSE_NS: i64 = 2_000_000_000;
/// Zones differ by whole quarters of an hour: Nepal is at 5 h 45 min.
const ZONE_STEP_NS: u64 = 15 * 60 * 1_000_000_000;
/// Zones go from 12 h behind to 14 h ahead of UTC, and a disk may be carried from one to any other.
const MAX_ZONE_MOVE_NS: u64 = 26 * 3600 * 1_000_000_000;

/// What makes that what is known of a path is found out anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recheck {
    /// Another stamp than the one that was seen.
    #[default]
    IfStampDiffers,
    /// Nothing is needed: whatever its stamp says, a file is read, and a directory listed, as if it
    /// were another one.
    Always,
}

/// The stamp that a path had when it was last seen, and whether that proves anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    stamp: Stamp,
    /// The index keeps it behind the row's other bytes.
    #[serde(skip)]
    recheck: Recheck,
}

impl Seen {
    /// What has this stamp is what was seen.
    pub fn at(stamp: Stamp) -> Self {
        Self { stamp, recheck: Recheck::IfStampDiffers }
    }

    /// The same, with no proof that it still is so.
    #[must_use]
    pub fn unproven(self) -> Self {
        Self { recheck: Recheck::Always, ..self }
    }

    /// As [`Self::unproven`], if there is a doubt.
    #[must_use]
    pub fn unproven_if(self, is_marked_for_reread: bool) -> Self {
        if is_marked_for_reread { self.unproven() } else { self }
    }

    /// What has this stamp is what was seen. `None`: whatever is there is to be looked at.
    pub fn proof(&self) -> Option<Stamp> {
        (self.recheck == Recheck::IfStampDiffers).then_some(self.stamp)
    }

    /// The stamp that was seen. It tells which file it was, and proves nothing.
    pub fn last(&self) -> &Stamp {
        &self.stamp
    }

    /// Does the stamp prove at `now_ms` since 1970, by itself, what was seen?
    pub fn trust(&self, now_ms: u64) -> Trust {
        match self.recheck {
            Recheck::IfStampDiffers => trust(&self.stamp, now_ms, self.stamp.granularity()),
            Recheck::Always => Trust::Never,
        }
    }
}

/// What [`Stamp::granularity`] is where whole seconds are kept, perhaps in pairs, as FAT does.
pub const WHOLE_SECONDS: Duration = Duration::from_secs(2);

/// Does a stamp prove what was read with it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It does: every later write shows in it.
    Certain,
    /// Not yet: a write in the same tick of the file system's clock leaves it as it is. It is proof
    /// if the file is read again when that is over. (Git calls such a file "racy".)
    NotYet,
    /// There was a write, or the end of one, that it does not show.
    Never,
}

/// Does the stamp of a file that is read at `now_ms` since 1970 prove what was read, if two changes
/// closer than `granularity` can leave the same stamp?
///
/// A time a little ahead of the clock is one of a moment ago: the two need not agree. One far ahead
/// is that of a clock which was set back since, and is old.
pub fn trust(stamp: &Stamp, now_ms: u64, granularity: Duration) -> Trust {
    const CLOCK_WAS_SET_BACK: Duration = Duration::from_secs(60);
    let ns = |duration: Duration| duration.as_nanos() as i128;
    let age_ns = i128::from(now_ms) * 1_000_000 - i128::from(stamp.ctime_ns);
    let is_racy = (-ns(CLOCK_WAS_SET_BACK)..ns(granularity)).contains(&age_ns);
    if is_racy { Trust::NotYet } else { Trust::Certain }
}

/// Is this a time of a file system that keeps whole seconds?
pub fn is_whole_second(time_ns: i64) -> bool {
    time_ns % 1_000_000_000 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_795_300_000_000;

    fn changed_at(ctime_ns: i64) -> Stamp {
        Stamp { device: 1, inode: 1, size: 1, mtime_ns: 0, ctime_ns }
    }

    #[test]
    fn a_stamp_of_just_now_proves_nothing_yet() {
        let now_ns = NOW_MS as i64 * 1_000_000;
        let of = |age_ms: i64| {
            trust(&changed_at(now_ns - age_ms * 1_000_000), NOW_MS, STAMP_GRANULARITY)
        };
        assert_eq!([-60_000, -1, 0, 19].map(of), [Trust::NotYet; 4]);
        assert_eq!([20, 3_600_000].map(of), [Trust::Certain; 2]);
        assert_eq!(
            of(-60_001),
            Trust::Certain,
            "the clock was set back: it stays certain for ever"
        );
    }

    #[test]
    fn what_is_doubted_is_no_proof_however_old_it_is() {
        let seen = Seen::at(changed_at(1));
        assert_eq!((seen.trust(NOW_MS), seen.proof()), (Trust::Certain, Some(changed_at(1))));
        let doubted = seen.unproven();
        assert_eq!((doubted.trust(NOW_MS), doubted.proof()), (Trust::Never, None));
        assert_eq!(doubted.last(), seen.last());
    }

    #[test]
    fn whole_seconds_are_told_by_the_time_itself() {
        assert_eq!(changed_at(-3_000_000_000).granularity(), WHOLE_SECONDS);
        assert_eq!(changed_at(3_000_000_001).granularity(), STAMP_GRANULARITY);
    }

    /// Halves and quarters of an hour are told from edits, which come at any time.
    #[test]
    fn a_time_is_the_same_by_the_clock_of_another_zone() {
        const MINUTE_NS: i64 = 60_000_000_000;
        let was = Stamp { mtime_ns: 40 * COARSE_NS, ..changed_at(1) };
        let is_same = |by_ns| {
            let mtime_ns = was.mtime_ns + by_ns;
            was.is_by_other_clock(&Stamp { mtime_ns, inode: 7, ctime_ns: 9, ..was })
        };
        for minutes in [0, 15, 30, 60, -60, 345, 26 * 60, -26 * 60] {
            assert!(is_same(minutes * MINUTE_NS), "{minutes}");
        }
        for minutes in [1, 14, 61, -59, 26 * 60 + 15] {
            assert!(!is_same(minutes * MINUTE_NS), "{minutes}");
        }
        let longer = Stamp { size: 2, mtime_ns: was.mtime_ns + 60 * MINUTE_NS, ..was };
        assert!(!was.is_by_other_clock(&longer));
        let fine = Stamp { mtime_ns: was.mtime_ns + 1, ..was };
        let moved = |stamp: &Stamp| Stamp { mtime_ns: stamp.mtime_ns + 60 * MINUTE_NS, ..*stamp };
        assert!(fine.is_by_other_clock(&moved(&was)), "it was told before it was unmounted");
        assert!(!fine.is_by_other_clock(&moved(&fine)), "no FAT has such times");
    }

    proptest! {
        /// The clock of the file system moves in ticks; a file is written, read, and written again.
        #[test]
        fn what_is_certain_is_not_written_again_under_the_same_stamp(
            tick_ms in 1..2_000u64,
            written_ms in 0..4_000u64,
            read_after_ms in 0..4_000u64,
            again_after_ms in 0..4_000u64,
        ) {
            let tick_of = |ms: u64| changed_at((ms - ms % tick_ms) as i64 * 1_000_000);
            let written_ms = NOW_MS + written_ms;
            let read_ms = written_ms + read_after_ms;
            let stamp = tick_of(written_ms);
            if trust(&stamp, read_ms, Duration::from_millis(tick_ms)) == Trust::Certain {
                prop_assert_ne!(stamp, tick_of(read_ms + again_after_ms));
            }
        }

        #[test]
        fn a_coarser_clock_never_makes_a_stamp_certain(
            ctime_ns: i64,
            now_ms: u64,
            fine_ms in 0..2_000u64,
            coarse_ms in 0..2_000u64,
        ) {
            prop_assume!(fine_ms <= coarse_ms);
            let of = |ms| trust(&changed_at(ctime_ns), now_ms, Duration::from_millis(ms));
            prop_assert!(of(fine_ms) == Trust::Certain || of(coarse_ms) == Trust::NotYet);
        }
    }
}
