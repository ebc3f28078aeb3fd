//! The one packet of port 2194: who is there, and does it know the group's key?
//!
//! The caller sends a [`Hello`], the callee answers with its own, both close. The tag proves the
//! key without showing it. That of an answer covers the caller's nonce as well, so neither an old
//! answer nor the caller's own hello passes for one. An old *call* can be replayed; all that it
//! brings about is a dial to whoever replayed it, and port 2195 has a handshake of its own.
//!
//! Big endian, [`HELLO_BYTES`] long in every protocol version:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |  0 |  8 | magic, `p2pnet` 0 1 |
//! |  8 |  2 | lowest protocol version spoken on 2195 |
//! | 10 |  2 | highest |
//! | 12 | 16 | nonce |
//! | 28 |  8 | instance |
//! | 36 |  8 | node id |
//! | 44 |  2 | sync port |
//! | 46 | 16 | tag: HMAC-SHA-256 of role (0 call, 1 answer), caller's nonce (answers), all before |
//! | 62 |  4 | CRC-32 of all before |

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{
    model::version::NodeId,
    wire::{join_code::GroupKey, message::PROTOCOL},
};

/// Length of a hello in bytes.
pub const HELLO_BYTES: usize = TAG_END + 4;

const MAGIC: [u8; 8] = *b"p2pnet\0\x01";
const FIELDS_END: usize = 46;
const TAG_END: usize = FIELDS_END + TAG_BYTES;
const TAG_BYTES: usize = 16;

/// Random, never used twice: it ties an answer to its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// Proves membership of the group on 2194; derived from the group key.
#[derive(Clone)]
pub struct HelloKey([u8; 32]);

impl From<&GroupKey> for HelloKey {
    fn from(group: &GroupKey) -> Self {
        Self(group.derive("p2pnetwork hello 1"))
    }
}

impl fmt::Debug for HelloKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HelloKey(..)")
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version that it speaks on its sync port.
    pub protocol_min: u16,
    /// Highest protocol version that it speaks on its sync port.
    pub protocol_max: u16,
    /// Fresh for every hello.
    pub nonce: Nonce,
    /// Drawn at each start of the process: tells a node's own echo from another with the same
    /// identity.
    pub instance: u64,
    /// The node's id.
    pub node: NodeId,
    /// TCP port of its data; not 0.
    pub sync_port: u16,
}

/// Why some bytes are not a hello for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// Another program.
    NotHello,
    /// Damaged on the way.
    BadChecksum,
    /// The tag is not right: another group's node, or an answer to something else.
    OtherGroup,
    /// A member of the group, but no protocol version is common.
    OtherProtocol {
        /// Lowest that the other speaks.
        min: u16,
        /// Highest that the other speaks.
        max: u16,
    },
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHello => f.write_str("another program answers there"),
            Self::BadChecksum => f.write_str("the hello was damaged on the way"),
            Self::OtherGroup => f.write_str("a node of another group"),
            Self::OtherProtocol { min, max } => write!(
                f,
                "it speaks protocol {min} to {max}, this node speaks {PROTOCOL}: update the older \
                 of the two"
            ),
        }
    }
}

impl std::error::Error for HelloError {}

impl Hello {
    /// The hello of a node that speaks what this program speaks.
    pub fn new(node: NodeId, instance: u64, sync_port: u16, nonce: Nonce) -> Self {
        Self { protocol_min: PROTOCOL, protocol_max: PROTOCOL, nonce, instance, node, sync_port }
    }

    /// The bytes; `answering` is the caller's nonce when this is an answer.
    pub fn encode(&self, key: &HelloKey, answering: Option<&Nonce>) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.protocol_min.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.protocol_max.to_be_bytes());
        bytes[12..28].copy_from_slice(&self.nonce.0);
        bytes[28..36].copy_from_slice(&self.instance.to_be_bytes());
        bytes[36..44].copy_from_slice(&self.node.0);
        bytes[44..FIELDS_END].copy_from_slice(&self.sync_port.to_be_bytes());
        let tag = tag(&bytes, key, answering);
        bytes[FIELDS_END..TAG_END].copy_from_slice(&tag);
        let checksum = crc32fast::hash(&bytes[..TAG_END]);
        bytes[TAG_END..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Reads a hello; `answering` is the nonce that we called with when this is to be an answer.
    ///
    /// The tag is checked before the protocol range: only a member is told to update.
    pub fn decode(
        bytes: &[u8; HELLO_BYTES],
        key: &HelloKey,
        answering: Option<&Nonce>,
    ) -> Result<Self, HelloError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(HelloError::NotHello);
        }
        if u32::from_be_bytes(field(bytes, TAG_END)) != crc32fast::hash(&bytes[..TAG_END]) {
            return Err(HelloError::BadChecksum);
        }
        let said: [u8; TAG_BYTES] = field(bytes, FIELDS_END);
        if !bool::from(said.ct_eq(&tag(bytes, key, answering))) {
            return Err(HelloError::OtherGroup);
        }
        let hello = Self::read_fields(bytes);
        if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
            return Err(HelloError::OtherProtocol {
                min: hello.protocol_min,
                max: hello.protocol_max,
            });
        }
        if hello.sync_port == 0 { Err(HelloError::NotHello) } else { Ok(hello) }
    }

    fn read_fields(bytes: &[u8; HELLO_BYTES]) -> Self {
        Self {
            protocol_min: u16::from_be_bytes(field(bytes, 8)),
            protocol_max: u16::from_be_bytes(field(bytes, 10)),
            nonce: Nonce(field(bytes, 12)),
            instance: u64::from_be_bytes(field(bytes, 28)),
            node: NodeId(field(bytes, 36)),
            sync_port: u16::from_be_bytes(field(bytes, 44)),
        }
    }
}

fn field<const N: usize>(bytes: &[u8; HELLO_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("every field lies within the hello")
}

fn tag(bytes: &[u8; HELLO_BYTES], key: &HelloKey, answering: Option<&Nonce>) -> [u8; TAG_BYTES] {
    let mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    let mac = match answering {
        None => mac.chain_update([0]),
        Some(nonce) => mac.chain_update([1]).chain_update(nonce.0),
    };
    let code: [u8; 32] = mac.chain_update(&bytes[..FIELDS_END]).finalize().into_bytes().into();
    *code.first_chunk().expect("the code is longer than the tag")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello::new(NodeId([7; 8]), 0x0102_0304_0506_0708, 2195, Nonce([9; 16]))
    }

    fn key(byte: u8) -> HelloKey {
        HelloKey::from(&GroupKey::new([byte; 16]))
    }

    #[test]
    fn has_the_documented_layout() {
        let bytes = hello().encode(&key(1), None);
        assert_eq!(HELLO_BYTES, 66);
        assert_eq!(&bytes[..12], b"p2pnet\0\x01\0\x02\0\x02");
        assert_eq!(bytes[12..28], [9; 16]);
        assert_eq!(bytes[28..36], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[36..44], [7; 8]);
        assert_eq!(bytes[44..46], [0x08, 0x93]);
    }

    #[test]
    fn another_group_is_told_from_another_program() {
        let bytes = hello().encode(&key(1), None);
        assert_eq!(Hello::decode(&bytes, &key(1), None), Ok(hello()));
        assert_eq!(Hello::decode(&bytes, &key(2), None), Err(HelloError::OtherGroup));
        assert_eq!(Hello::decode(&[0; HELLO_BYTES], &key(1), None), Err(HelloError::NotHello));
    }

    #[test]
    fn an_answer_counts_for_its_call_alone() {
        let (mine, old) = (Nonce([1; 16]), Nonce([2; 16]));
        let answer = hello().encode(&key(1), Some(&mine));
        assert_eq!(Hello::decode(&answer, &key(1), Some(&mine)), Ok(hello()));
        for other in [Some(&old), None] {
            assert_eq!(Hello::decode(&answer, &key(1), other), Err(HelloError::OtherGroup));
        }
        let reflected = hello().encode(&key(1), None);
        let answer = Hello::decode(&reflected, &key(1), Some(&hello().nonce));
        assert_eq!(answer, Err(HelloError::OtherGroup), "our own call is no answer");
    }

    #[test]
    fn only_members_are_told_to_update() {
        let newer = Hello { protocol_min: PROTOCOL + 1, protocol_max: PROTOCOL + 4, ..hello() };
        let bytes = newer.encode(&key(1), None);
        let wanted = HelloError::OtherProtocol { min: PROTOCOL + 1, max: PROTOCOL + 4 };
        assert_eq!(Hello::decode(&bytes, &key(1), None), Err(wanted));
        assert_eq!(Hello::decode(&bytes, &key(2), None), Err(HelloError::OtherGroup));
        let wider = Hello { protocol_min: 0, ..newer };
        assert_eq!(Hello::decode(&wider.encode(&key(1), None), &key(1), None), Ok(wider));
    }

    #[test]
    fn a_port_that_cannot_be_dialled_is_refused() {
        let bytes = Hello { sync_port: 0, ..hello() }.encode(&key(1), None);
        assert_eq!(Hello::decode(&bytes, &key(1), None), Err(HelloError::NotHello));
    }

    proptest! {
        #[test]
        fn round_trip(node: [u8; 8], instance: u64, sync_port in 1..=u16::MAX, nonce: [u8; 16],
            call: [u8; 16]) {
            let hello = Hello::new(NodeId(node), instance, sync_port, Nonce(nonce));
            let bytes = hello.encode(&key(1), Some(&Nonce(call)));
            prop_assert_eq!(Hello::decode(&bytes, &key(1), Some(&Nonce(call))), Ok(hello));
        }

        #[test]
        fn damage_is_found(at in 0..HELLO_BYTES, error in 1..=u8::MAX) {
            let mut bytes = hello().encode(&key(1), None);
            bytes[at] ^= error;
            let wanted = if at < 8 { HelloError::NotHello } else { HelloError::BadChecksum };
            prop_assert_eq!(Hello::decode(&bytes, &key(1), None), Err(wanted));
        }

        #[test]
        fn forged_fields_are_found(at in 8..TAG_END, error in 1..=u8::MAX) {
            let mut bytes = hello().encode(&key(1), None);
            bytes[at] ^= error;
            let checksum = crc32fast::hash(&bytes[..TAG_END]);
            bytes[TAG_END..].copy_from_slice(&checksum.to_be_bytes());
            prop_assert_eq!(Hello::decode(&bytes, &key(1), None), Err(HelloError::OtherGroup));
        }
    }
}
