//! Large files that were read lately are left alone for a while.

use std::time::{Duration, Instant};

use crate::model::limits::{FULL_SCAN_INTERVAL, REREAD_BYTES_PER_S};

/// How soon a large file that was read may be read again. One change is never made to wait; the
/// next is, so that a file that is saved all the time is not read all the time.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) read_at: Instant,
    pub(super) rest: Duration,
    /// It was read twice within the time that one rest takes.
    pub(super) is_due: bool,
}

impl Rest {
    pub(super) fn until(&self) -> Instant {
        self.read_at + self.rest
    }
}

/// How long a file is left alone of which so many bytes were read.
pub(super) fn rest_after(read_bytes: u64) -> Duration {
    let rest = Duration::from_micros(read_bytes.saturating_mul(1_000_000) / REREAD_BYTES_PER_S);
    rest.min(FULL_SCAN_INTERVAL)
}
