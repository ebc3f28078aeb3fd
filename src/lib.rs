//! One directory, kept identical on every machine of a LAN.
//!
//! The program is two rings with one seam between them:
//!
//! * [`core`] decides. It is pure: no sockets, no files outside the index, no clock, no random source.
//! * [`io`] acts. It makes the system calls and owns the only `Poll` and the only reading of the clock.
//!
//! Beside them [`wire`] turns bytes into meaning and back without I/O, and [`index`] is the database that
//! the core reads and writes. Every capacity and interval stands in [`limits`].
//!
//! Reading order: [`path`], [`core::version`], [`core::entry`], [`core::reconcile`], [`index`],
//! [`core::engine`], [`io::event_loop`].

pub mod cli;
pub mod config;
pub mod core;
pub mod index;
pub mod io;
pub mod limits;
pub mod path;
pub mod wire;
