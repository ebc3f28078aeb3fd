//! The directory on this disk: listed, read, hashed, and changed, but never behind the back of its
//! users.
//!
//! [`tree`] is the whole of it for the node above. Must not know of a socket, or of what the
//! changes are for.

pub mod change;
#[cfg(test)]
mod folding;
pub mod housekeeping;
pub mod ignore_file;
pub mod jobs;
pub mod root;
#[cfg(test)]
pub(crate) mod testing;
pub mod trash;
pub mod tree;
