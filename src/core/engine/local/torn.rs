//! What a power cut has left of files that were not durable.
//!
//! Owns the time before which all that was written is durable, which goes into the index with each
//! commit. Must not decide what becomes of a version: what is torn is wanted again, or believed, as
//! `local` and `lost` say.

use std::time::{Duration, Instant};

use log::warn;

use super::super::{Engine, Result};
use crate::{
    core::seam::Time,
    model::{
        entry::{Base, Bits, Content, FileKind, Provenance, Row, Seen, Stamp, Standing, Stat},
        limits::{CLOCK_SET_FORWARD, TORN_SUSPECT},
        path::RelPath,
    },
};

/// What is durable by itself, in the times that files have: what was written long ago. A clock that
/// is set forward makes what was written just now look old, so that for a while the time is counted
/// from before that.
#[derive(Debug)]
pub(in super::super) struct Durable {
    /// What the last run left, in ms since 1970.
    before_ms: u64,
    seen: Time,
    /// The clock before it was set forward, in ms since 1970, and until when that counts.
    held: Option<(u64, Instant)>,
}

impl Durable {
    pub(in super::super) fn new(before_ms: u64, time: Time) -> Self {
        Self { before_ms, seen: time, held: None }
    }

    /// Files that were changed at this time or later may not have been durable when the last run
    /// ended, in ms since 1970.
    fn before_ms(&self) -> i64 {
        i64::try_from(self.before_ms).unwrap_or(i64::MAX)
    }

    /// The same, of this run: for the next one.
    pub(in super::super) fn now_before_ms(&mut self, time: Time) -> u64 {
        let passed = time.now.saturating_duration_since(self.seen.now) + CLOCK_SET_FORWARD;
        let latest_ms = self.seen.wall_ms.saturating_add(in_ms(passed));
        self.held = self.held.filter(|(_, until)| *until > time.now);
        if time.wall_ms > latest_ms {
            let before_ms =
                self.held.map_or(self.seen.wall_ms, |(held_ms, _)| held_ms.min(self.seen.wall_ms));
            self.held = Some((before_ms, time.now + CLOCK_SET_FORWARD));
        }
        self.seen = time;
        let counted_ms = self.held.map_or(time.wall_ms, |(held_ms, _)| held_ms.min(time.wall_ms));
        counted_ms.saturating_sub(in_ms(TORN_SUSPECT))
    }
}

fn in_ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Engine {
    /// Before a commit: what the next run is to doubt, should the power fail. What this one has to
    /// doubt stays that until it was looked at.
    pub(in super::super) fn note_durable(&mut self, time: Time) {
        let mut before_ms = self.durable.now_before_ms(time);
        if !self.is_walk_through() {
            before_ms = before_ms.min(self.durable.before_ms);
        }
        self.index.update_summary(|summary| summary.durable_before_ms = before_ms);
    }

    /// Must a file be read although its stamp is what it was?
    pub(in super::super) fn must_reread(
        &self,
        path: &RelPath,
        base: &Base,
        stat: &Stat,
        time: Time,
    ) -> bool {
        stat.kind == FileKind::File
            && (self.paths.is_racy(path, time.now) || self.may_be_torn(base, stat))
    }

    /// What a user of this machine wrote shortly before the power failed may be in the index, stamp
    /// and all, while the disk has only its length and its times. What was received was synced.
    fn may_be_torn(&self, base: &Base, stat: &Stat) -> bool {
        !base.is_torn() && self.was_just_written(stat)
    }

    /// Nor do whole seconds tell whether it was written to again in the second in which the last
    /// run read it.
    pub(in super::super) fn was_just_written(&self, stat: &Stat) -> bool {
        let is_suspect = self.torn_before_ns.is_some() || stat.stamp.is_whole_second();
        is_suspect
            && !self.scan.is_known()
            && stat.stamp.ctime_ns / 1_000_000 >= self.durable.before_ms()
    }

    /// After a power cut: is this what is left of a file that was never synced? Then it is no edit.
    pub(in super::super) fn is_torn(
        &self,
        row: Option<&Row>,
        content: &Content,
        stat: &Stat,
        time: Time,
    ) -> bool {
        let (Some(before_ns), Some(base)) =
            (self.torn_before_ns, row.and_then(|row| row.base.as_ref()))
        else {
            return false;
        };
        let (Content::File { size, .. }, Some(Content::File { size: was, .. })) =
            (content, base.content())
        else {
            return false;
        };
        // From the future: written before the clock forgot the time, as one without a battery does.
        let is_to_come =
            |time_ns: i64| u64::try_from(time_ns / 1_000_000).is_ok_and(|ms| ms > time.wall_ms);
        let is_older = |time_ns: i64| time_ns < before_ns || is_to_come(time_ns);
        // Another file, which has got this name since the power came back, is what somebody has put
        // there.
        let is_put_there =
            !base.seen.last().is_same_file(&stat.stamp) && !is_older(stat.stamp.ctime_ns);
        let is_shorter = size < was && is_older(stat.stamp.mtime_ns) && !is_put_there;
        is_shorter || base.seen.proof() == Some(stat.stamp)
    }

    /// The index's version is wanted again; what is on the disk goes to the trash when it comes.
    pub(in super::super) fn restore_torn(
        &mut self,
        path: &RelPath,
        row: Option<Row>,
        stat: &Stat,
        time: Time,
    ) -> Result<()> {
        let Some(mut row) = row else { return Ok(()) };
        warn!("{path} was cut short by a power cut: it is fetched from the other nodes");
        row.base = row.base_version().cloned().map(|version| {
            let said =
                row.bits().map_or(0, |bits| bits.handed_on(stat.mode, self.config.keeps_bits));
            let bits = Bits { found: stat.mode, said };
            Base { held: Provenance::Torn(Box::new(version)), seen: Seen::at(stat.stamp), bits }
        });
        row.standing = Standing::Known;
        self.put(path, &row)?;
        self.place(path, None, time)
    }
}

/// Is it what a power cut has left, and was nothing but named anew since? Once that is doubted, it
/// is to be believed.
pub(in super::super) fn is_still_torn(row: &Row, stat: &Stat) -> bool {
    let torn = row.base.as_ref().filter(|base| base.is_torn());
    torn.and_then(|base| base.seen.proof())
        .is_some_and(|was| was == Stamp { ctime_ns: was.ctime_ns, ..stat.stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = CLOCK_SET_FORWARD.as_millis() as u64;
    const SUSPECT_MS: u64 = TORN_SUSPECT.as_millis() as u64;
    const START_MS: u64 = 1_795_300_000_000;

    fn after(start: Instant, seconds: u64, wall_ms: u64) -> Time {
        Time { now: start + Duration::from_secs(seconds), wall_ms }
    }

    #[test]
    fn what_was_written_before_the_clock_was_set_forward_is_not_durable_yet() {
        let start = Instant::now();
        let mut durable = Durable::new(0, after(start, 0, START_MS));
        let mut before_ms =
            |seconds, wall_ms| durable.now_before_ms(after(start, seconds, wall_ms));
        assert_eq!(before_ms(10, START_MS + 10_000), START_MS + 10_000 - SUSPECT_MS);
        let next_year_ms = START_MS + 365 * 24 * HOUR_MS;
        assert_eq!(before_ms(20, next_year_ms), START_MS + 10_000 - SUSPECT_MS);
        assert_eq!(
            before_ms(30, next_year_ms * 2),
            START_MS + 10_000 - SUSPECT_MS,
            "set forward once more"
        );
        let later_ms = next_year_ms * 2 + HOUR_MS;
        assert_eq!(before_ms(3630, later_ms), later_ms - SUSPECT_MS, "it is by now");
        assert_eq!(before_ms(3640, START_MS), START_MS - SUSPECT_MS, "set back");
        assert_eq!(before_ms(3641, 5), 0, "to 1970");
    }
}
