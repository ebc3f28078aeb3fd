//! What acts: system calls, sockets, files, and the loop that drives them.
pub mod watch;

pub mod arp_socket;
pub mod neighbours;
