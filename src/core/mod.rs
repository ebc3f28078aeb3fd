//! What decides: pure, given time and randomness as arguments.

pub mod discovery;
pub mod engine;
pub mod ignore;
pub mod random;
pub mod reconcile;
pub mod seam;
