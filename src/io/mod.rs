//! x
pub mod watch;

pub mod arp_socket;
pub mod neighbours;
