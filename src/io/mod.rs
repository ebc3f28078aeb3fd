//! x
pub mod apply;
pub mod barrier;
pub mod disk;
pub mod hash;
pub mod sys;
pub mod temp;
pub mod trash;
