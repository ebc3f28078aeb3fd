//! x
pub mod watch;
