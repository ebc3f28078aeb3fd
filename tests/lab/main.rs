//! The whole program on a LAN of its own: each host is a network namespace on one bridge and runs
//! the real binary on the real ports, found by real ARP.
//!
//! Needs `ip` (iproute2), `unshare`, `nsenter` and `setpriv` (util-linux), and root or unprivileged
//! user namespaces; where they are missing every test fails and says what to do. Nothing is made
//! outside the namespaces but directories below `target/tmp`.
#![cfg(target_os = "linux")]

mod cases;
mod harness;
