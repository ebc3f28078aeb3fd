//! What acts: the only system calls, the only `Poll`, the only reading of the clock.

pub mod apply;
pub mod arp_socket;
pub mod assemble;
pub mod banner;
pub mod barrier;
pub mod boot;
pub mod changes;
pub mod clock;
pub mod control;
pub mod disk;
pub mod event_loop;
pub mod files;
#[cfg(test)]
mod folding;
pub mod hash;
pub mod housekeeping;
pub mod identity;
pub mod ignore_file;
pub mod index_mark;
pub mod jobs;
pub mod lan_scan;
pub mod logging;
mod names;
pub mod neighbours;
pub mod net;
pub mod node;
pub mod partial;
pub mod replica;
pub mod report;
pub mod rights;
pub mod secure;
pub mod service;
pub mod signals;
pub mod state;
pub mod stopwatch;
pub mod sys;
pub mod temp;
#[cfg(test)]
pub(crate) mod testing;
pub mod token;
pub mod trash;
pub mod tree;
pub mod watch;
