//! x
pub mod apply;
pub mod barrier;
pub mod disk;
pub mod hash;
pub mod sys;
pub mod temp;
#[cfg(test)]
pub(crate) mod testing;
pub mod trash;
