//! What acts: the only system calls, the only `Poll`, the only reading of the clock.

pub mod identity;
pub mod net;
pub mod secure;
