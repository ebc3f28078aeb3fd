//! What the process may do beyond what its user may: given up as soon as it is not needed any more.
//!
//! Raw sockets are the only thing that takes a capability, and all that there will ever be are
//! opened at the start (see [`crate::io::net::arp::SpareSocket`]). So nothing is kept, not even for
//! interfaces that come later.

use std::io;

/// Drops every capability for good, from all sets that this process may change.
///
/// Root is an exception: what makes root be root towards files of other users are four
/// capabilities, which stay, so that `sudo p2pnetwork run /home/pi/shared` can do what it was
/// started for: write there, and leave what it has received to the directory's user, with the
/// group's bit where the directory has it. The service's user has none.
#[cfg(target_os = "linux")]
pub fn drop_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let files = CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::CHOWN
        | CapabilitySet::FSETID;
    let keep = if rustix::process::geteuid().is_root() { files } else { CapabilitySet::empty() };
    let now = capabilities(None)?;
    let kept = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    // What is not permitted is not ambient either: capabilities(7).
    Ok(set_capabilities(None, kept)?)
}

/// There are no capabilities.
#[cfg(not(target_os = "linux"))]
pub fn drop_capabilities() -> io::Result<()> {
    Ok(())
}
