//! One directory, kept identical on every machine of a LAN.
//!
//! The program is two rings with one seam between them:
//!
//! * [`core`] decides. It is pure: no sockets, no files outside the index, no clock, no random
//!   source.
//! * [`io`] acts. It makes the system calls and owns the only `Poll` and the only reading of the
//!   clock.
//!
//! Below them [`model`] says what a path, its content and a version are, [`wire`] turns bytes into
//! meaning and back without I/O, and [`index`] is the database that the core reads and writes.
//! Every capacity and interval stands in [`model::limits`]. No module uses one of a later line of
//! this list: `model`, `wire`, `index`, `core`, `io::files`, `io::watch`, `io::disk`, `io::net`,
//! `io::node`, `cli`; a test reads the `use` lines.
//!
//! Reading order: [`model::path`], [`model::version`], [`model::entry`], [`core::reconcile`],
//! [`index`], [`core::engine`], [`io::node::event_loop`].

pub mod cli;
pub mod core;
pub mod index;
pub mod io;
pub mod model;
pub mod wire;
