//! What decides: pure, given time and randomness as arguments.

pub mod discovery;
pub mod entry;
pub mod version;
