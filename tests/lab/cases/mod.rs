//! What a LAN of nodes must do, by theme.

mod backups;
mod chaos;
mod conflicts;
mod discovery;
mod edits;
mod errors;
mod flow;
mod growing;
mod harness;
mod ignore;
mod large;
mod lost_index;
mod mapped;
mod missing;
mod mounts;
mod names;
mod networks;
mod offline;
mod owners;
mod process;
mod renames;
mod service;
mod sparse;
mod start;
mod unwritable;
mod watching;
