//! x

pub mod arp_socket;
pub mod neighbours;
