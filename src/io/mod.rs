//! What acts: system calls, sockets, files, and the loop that drives them.
pub mod watch;

pub mod arp_socket;
pub mod neighbours;
//! What acts: the only system calls, the only `Poll`, the only reading of the clock.

pub mod identity;
pub mod net;
pub mod secure;
