//! What acts: the only system calls, the only `Poll`, the only reading of the clock.

pub mod arp_socket;
pub mod identity;
pub mod neighbours;
pub mod net;
pub mod secure;
pub mod watch;
