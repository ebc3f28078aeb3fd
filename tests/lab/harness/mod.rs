//! Builds a LAN, runs nodes on it and waits for their directories to be equal.

pub mod host;
pub mod lab;
pub mod net;
pub mod observer;
pub mod status;
pub mod traffic;
pub mod tree;
pub mod wait;

pub use host::Host;
pub use lab::Lab;
pub use net::is_root;
pub use observer::Observer;
pub use wait::{DEFAULT_BOUND, wait_identical, wait_until};

/// Deterministic bytes that do not compress and hold no repeated chunk (xorshift64*, Vigna 2016).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
