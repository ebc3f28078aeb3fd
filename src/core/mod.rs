//! What decides: pure, given time and randomness as arguments.

pub mod calendar;
pub mod content;
pub mod discovery;
pub mod engine;
pub mod entry;
pub mod ignore;
pub mod random;
pub mod reconcile;
pub mod seam;
pub mod version;
