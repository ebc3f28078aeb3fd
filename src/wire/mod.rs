//! Bytes to meaning and back, without I/O.

pub mod arp;
pub mod frame;
#[cfg(test)]
pub(crate) mod golden;
pub mod hello;
mod hmac;
pub mod join_code;
pub mod message;
