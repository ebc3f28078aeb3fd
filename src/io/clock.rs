//! The only reading of the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::seam::Time;

/// Both clocks, now. A wall clock before 1970 reads as 1970.
pub fn read() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { now: Instant::now(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
}
