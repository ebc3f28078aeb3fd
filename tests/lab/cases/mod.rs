//! What a LAN of nodes must do, by theme.

mod backups;
mod conflicts;
mod discovery;
mod edits;
mod harness;
mod large;
mod names;
mod offline;
mod process;
mod renames;
mod service;
mod start;
mod watching;
