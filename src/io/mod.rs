//! What acts: the only system calls, the only `Poll`, the only reading of the clock.
//!
//! [`files`] is the seam to the file system, [`watch`] tells what users do there, [`disk`] reads
//! and changes the directory, [`net`] has the sockets, and [`node`] puts all of it into one loop.
//! Each may use those before it.

pub mod disk;
pub mod files;
pub mod net;
pub mod node;
pub mod watch;
