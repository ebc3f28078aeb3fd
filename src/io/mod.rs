//! What acts: system calls, sockets, files, and the loop that drives them.
pub mod watch;

pub mod arp_socket;
pub mod banner;
pub mod control;
pub mod lan_scan;
pub mod logging;
pub mod neighbours;
pub mod node;
pub mod report;
pub mod state;
