//! The only reading of the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::seam::Time;

/// Both clocks, now. A wall clock before 1970 reads as 1970.
pub fn read() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { now: Instant::now(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
}

/// When the machine was booted, in ns since 1970, by today's clock.
pub fn boot_time_ns() -> i64 {
    #[cfg(target_os = "linux")]
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (now.tv_sec - since_boot.tv_sec) * 1_000_000_000 + (now.tv_nsec - since_boot.tv_nsec)
}
