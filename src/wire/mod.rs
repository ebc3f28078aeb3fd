//! Bytes to meaning and back, without I/O.

pub mod arp;
pub mod frame;
#[cfg(test)]
pub(crate) mod golden;
pub mod hello;
pub mod identity;
pub mod join_code;
pub mod message;
pub mod session;
