//! What acts: the only system calls, the only `Poll`, the only reading of the clock.

pub mod apply;
pub mod arp_socket;
pub mod barrier;
pub mod changes;
pub mod clock;
pub mod disk;
pub mod hash;
pub mod identity;
pub mod jobs;
pub mod neighbours;
pub mod net;
pub mod partial;
pub mod secure;
pub mod signals;
pub mod sys;
pub mod temp;
#[cfg(test)]
pub(crate) mod testing;
pub mod trash;
pub mod watch;
