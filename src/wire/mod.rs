//! Bytes to meaning and back, without I/O.

pub mod message;
