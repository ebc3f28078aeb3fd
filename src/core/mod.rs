//! What decides: pure, given time and randomness as arguments.

pub mod calendar;
pub mod content;
pub mod entry;
pub mod version;
