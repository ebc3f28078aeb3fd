//! Which boot of the machine this is: tells a power cut from a killed process.

/// The system's name of this boot; empty where it has none, so that every unclean stop counts as a
/// kill.
pub fn id() -> Vec<u8> {
    #[cfg(target_os = "linux")]
    if let Ok(id) = std::fs::read("/proc/sys/kernel/random/boot_id") {
        return id;
    }
    Vec::new()
}
