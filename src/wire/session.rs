//! The handshake of port 2195, and sealing and opening after it.
//!
//! `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` (the Noise Protocol Framework, revision 34), with the
//! psk derived from the group key. Three packets of fixed size:
//!
//! | packet | bytes | content |
//! |--------|------:|---------|
//! | call, from the dialling side | [`CALL_BYTES`] | preamble, then `psk, e` |
//! | answer, from the accepting side | [`ANSWER_BYTES`] | `e, ee, s, es` |
//! | proof, from the dialling side | [`PROOF_BYTES`] | `s, se` |
//!
//! The preamble is all that is ever sent in the clear: magic (8 bytes), protocol version (u16, big
//! endian), the dialling node's id, the id of the node that it means to reach. Both sides put it,
//! after a string that names the purpose and the direction, into the prologue; and both check that
//! the other's static key has the id that the preamble says. A call of another group is recognised
//! by its first packet, before any reckoning with keys.

use std::fmt;

use snow::{Builder, HandshakeState, TransportState};

use crate::{
    model::version::NodeId,
    wire::{
        frame::{Forged, Open, Seal, TAG_BYTES},
        identity::{Identity, node_id},
        join_code::GroupKey,
        message::PROTOCOL,
    },
};

/// Length of the first packet in bytes.
pub const CALL_BYTES: usize = PREAMBLE_BYTES + KEY_BYTES + TAG_BYTES;
/// Length of the second packet in bytes.
pub const ANSWER_BYTES: usize = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + TAG_BYTES;
/// Length of the third packet in bytes.
pub const PROOF_BYTES: usize = (KEY_BYTES + TAG_BYTES) + TAG_BYTES;

const KEY_BYTES: usize = 32;
const PREAMBLE_BYTES: usize = 26;
const MAGIC: [u8; 8] = *b"p2pdata\x01";
const PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";
const PURPOSE: &[u8] = b"p2pnetwork data from caller to callee";

/// Proves membership of the group on 2195; derived from the group key.
#[derive(Clone)]
pub struct SyncKey([u8; 32]);

impl From<&GroupKey> for SyncKey {
    fn from(group: &GroupKey) -> Self {
        Self(group.derive("p2pnetwork data 1"))
    }
}

impl fmt::Debug for SyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncKey(..)")
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// Another program.
    NotHandshake,
    /// The caller speaks another version of the protocol.
    OtherProtocol(u16),
    /// The caller means another node: this address was that node's once.
    NotForThisNode(NodeId),
    /// The caller has this very node's id: a copied state directory, or the node itself.
    OwnIdentity,
    /// The other does not know the group key, or the packet was changed on the way.
    WrongKey,
    /// The other's key is not the one of the node that it says it is.
    WrongNode(NodeId),
    /// The system gives no random numbers.
    NoRandomness,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHandshake => f.write_str("another program calls there"),
            Self::OtherProtocol(version) => write!(
                f,
                "it speaks protocol {version}, this node speaks {PROTOCOL}: update the older of \
                 the two"
            ),
            Self::NotForThisNode(node) => write!(f, "the call was meant for node {node}"),
            Self::OwnIdentity => f.write_str(
                "it has this node's identity: if a directory was copied, remove \
                 .p2pnetwork/identity in the copy",
            ),
            Self::WrongKey => f.write_str(
                "it does not know the group's key: join it with the \
                group's join code",
            ),
            Self::WrongNode(node) => {
                write!(f, "it is not the node that it says it is, its key is that of {node}")
            }
            Self::NoRandomness => f.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The dialling side between its call and the answer.
#[derive(Debug)]
pub struct Dialling {
    noise: HandshakeState,
    callee: NodeId,
}

impl Dialling {
    /// Starts: the packet is the call.
    pub fn new(
        identity: &Identity,
        key: &SyncKey,
        callee: NodeId,
    ) -> Result<(Self, [u8; CALL_BYTES]), HandshakeError> {
        let preamble = preamble(identity.node(), callee);
        let prologue = prologue(&preamble);
        let mut noise = builder(identity, key, &prologue).build_initiator().expect(PREREQUISITES);
        let mut call = [0; CALL_BYTES];
        call[..PREAMBLE_BYTES].copy_from_slice(&preamble);
        write(&mut noise, &mut call[PREAMBLE_BYTES..])?;
        Ok((Self { noise, callee }, call))
    }

    /// Goes on with the answer: the packet is the proof, and messages can be sealed at once.
    pub fn finish(
        mut self,
        answer: &[u8; ANSWER_BYTES],
    ) -> Result<(Sealer, [u8; PROOF_BYTES]), HandshakeError> {
        read(&mut self.noise, answer)?;
        check_remote(&self.noise, self.callee)?;
        let mut proof = [0; PROOF_BYTES];
        write(&mut self.noise, &mut proof)?;
        Ok((Sealer(self.noise.into_transport_mode().expect(FINISHED)), proof))
    }
}

/// The accepting side between its answer and the proof.
#[derive(Debug)]
pub struct Accepting {
    noise: HandshakeState,
    caller: NodeId,
}

impl Accepting {
    /// Starts with the call: the packet is the answer. From here on the caller is known to have the
    /// group key.
    pub fn new(
        identity: &Identity,
        key: &SyncKey,
        call: &[u8; CALL_BYTES],
    ) -> Result<(Self, [u8; ANSWER_BYTES]), HandshakeError> {
        let (preamble, first) =
            call.split_first_chunk().expect("a call is longer than its preamble");
        let caller = check_preamble(preamble, identity.node())?;
        let prologue = prologue(preamble);
        let mut noise = builder(identity, key, &prologue).build_responder().expect(PREREQUISITES);
        read(&mut noise, first)?;
        let mut answer = [0; ANSWER_BYTES];
        write(&mut noise, &mut answer)?;
        Ok((Self { noise, caller }, answer))
    }

    /// Goes on with the proof: the caller is who it says it is, and what it seals can be opened.
    pub fn finish(mut self, proof: &[u8; PROOF_BYTES]) -> Result<(NodeId, Opener), HandshakeError> {
        read(&mut self.noise, proof)?;
        check_remote(&self.noise, self.caller)?;
        Ok((self.caller, Opener(self.noise.into_transport_mode().expect(FINISHED))))
    }
}

/// Seals what the dialling side says.
#[derive(Debug)]
pub struct Sealer(TransportState);

impl Seal for Sealer {
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) {
        let length = self
            .0
            .write_message(plain, sealed)
            .expect("the record is short, the nonce has 64 bits");
        debug_assert_eq!(length, sealed.len());
    }
}

/// Opens what the accepting side hears.
#[derive(Debug)]
pub struct Opener(TransportState);

impl Open for Opener {
    fn open(&mut self, sealed: &[u8], plain: &mut [u8]) -> Result<(), Forged> {
        self.0.read_message(sealed, plain).map(drop).map_err(|_| Forged)
    }
}

const PREREQUISITES: &str = "the pattern needs a static key and a psk, and has both";
const FINISHED: &str = "all three packets have passed";

fn preamble(caller: NodeId, callee: NodeId) -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&PROTOCOL.to_be_bytes());
    bytes[10..18].copy_from_slice(&caller.0);
    bytes[18..].copy_from_slice(&callee.0);
    bytes
}

/// The caller, as the preamble says.
fn check_preamble(preamble: &[u8; PREAMBLE_BYTES], own: NodeId) -> Result<NodeId, HandshakeError> {
    let id =
        |at: usize| NodeId(*preamble[at..].first_chunk().expect("an id lies within the preamble"));
    let (caller, callee) = (id(10), id(18));
    let protocol = u16::from_be_bytes([preamble[8], preamble[9]]);
    if !preamble.starts_with(&MAGIC) {
        Err(HandshakeError::NotHandshake)
    } else if protocol != PROTOCOL {
        Err(HandshakeError::OtherProtocol(protocol))
    } else if callee != own {
        Err(HandshakeError::NotForThisNode(callee))
    } else if caller == own {
        Err(HandshakeError::OwnIdentity)
    } else {
        Ok(caller)
    }
}

fn prologue(preamble: &[u8; PREAMBLE_BYTES]) -> Vec<u8> {
    [PURPOSE, preamble].concat()
}

fn builder<'a>(identity: &'a Identity, key: &'a SyncKey, prologue: &'a [u8]) -> Builder<'a> {
    const ONCE: &str = "each parameter is given once";
    let builder = Builder::new(PATTERN.parse().expect("the pattern is a legal one"));
    let builder = builder.local_private_key(identity.private()).expect(ONCE);
    builder.psk(0, &key.0).expect(ONCE).prologue(prologue).expect(ONCE)
}

fn write(noise: &mut HandshakeState, packet: &mut [u8]) -> Result<(), HandshakeError> {
    let length = noise.write_message(&[], packet).map_err(|_| HandshakeError::NoRandomness)?;
    debug_assert_eq!(length, packet.len());
    Ok(())
}

fn read(noise: &mut HandshakeState, packet: &[u8]) -> Result<(), HandshakeError> {
    noise.read_message(packet, &mut []).map(drop).map_err(|_| HandshakeError::WrongKey)
}

fn check_remote(noise: &HandshakeState, claimed: NodeId) -> Result<(), HandshakeError> {
    let key = noise.get_remote_static().expect("the other's static key has just been read");
    let node = node_id(key);
    if node == claimed { Ok(()) } else { Err(HandshakeError::WrongNode(node)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SyncKey {
        SyncKey::from(&GroupKey::new([byte; 16]))
    }

    fn identity(byte: u8) -> Identity {
        Identity::new([byte; 32])
    }

    #[test]
    fn both_sides_know_each_other_and_the_link_works() {
        let (alice, bob) = (identity(1), identity(2));
        let (dialling, call) = Dialling::new(&alice, &key(1), bob.node()).unwrap();
        let (accepting, answer) = Accepting::new(&bob, &key(1), &call).unwrap();
        let (mut sealer, proof) = dialling.finish(&answer).unwrap();
        let (caller, mut opener) = accepting.finish(&proof).unwrap();
        assert_eq!(caller, alice.node());
        let (mut sealed, mut plain) = ([0; 5 + TAG_BYTES], [0; 5]);
        for text in [b"first", b"again"] {
            sealer.seal(text, &mut sealed);
            assert_eq!(opener.open(&sealed, &mut plain), Ok(()));
            assert_eq!(&plain, text);
        }
        assert_eq!(opener.open(&sealed, &mut plain), Err(Forged), "a record is taken once");
    }

    #[test]
    fn another_groups_call_is_refused_at_once() {
        let (_, call) = Dialling::new(&identity(1), &key(1), identity(2).node()).unwrap();
        let refused = Accepting::new(&identity(2), &key(2), &call).unwrap_err();
        assert_eq!(refused, HandshakeError::WrongKey);
    }

    #[test]
    fn every_byte_of_every_packet_counts() {
        let (alice, bob) = (identity(1), identity(2));
        let (_, call) = Dialling::new(&alice, &key(1), bob.node()).unwrap();
        for at in 0..CALL_BYTES {
            let mut changed = call;
            changed[at] ^= 1;
            assert!(Accepting::new(&bob, &key(1), &changed).is_err(), "byte {at} of the call");
        }
        for at in 0..ANSWER_BYTES {
            let (dialling, call) = Dialling::new(&alice, &key(1), bob.node()).unwrap();
            let (_, mut answer) = Accepting::new(&bob, &key(1), &call).unwrap();
            answer[at] ^= 1;
            assert!(dialling.finish(&answer).is_err(), "byte {at} of the answer");
        }
        for at in 0..PROOF_BYTES {
            let (dialling, call) = Dialling::new(&alice, &key(1), bob.node()).unwrap();
            let (accepting, answer) = Accepting::new(&bob, &key(1), &call).unwrap();
            let (_, mut proof) = dialling.finish(&answer).unwrap();
            proof[at] ^= 1;
            assert!(accepting.finish(&proof).is_err(), "byte {at} of the proof");
        }
    }

    /// A member of the group that claims another member's id.
    fn impostor() -> Identity {
        Identity::impostor([3; 32], identity(1).node())
    }

    #[test]
    fn nobody_passes_for_another_caller() {
        let (alice, bob) = (identity(1), identity(2));
        let (dialling, call) = Dialling::new(&impostor(), &key(1), bob.node()).unwrap();
        let (accepting, answer) = Accepting::new(&bob, &key(1), &call).unwrap();
        let (_, proof) = dialling.finish(&answer).unwrap();
        assert_eq!(
            accepting.finish(&proof).unwrap_err(),
            HandshakeError::WrongNode(identity(3).node())
        );
        assert_ne!(alice.node(), identity(3).node());
    }

    #[test]
    fn nobody_passes_for_another_callee() {
        let (dialling, call) = Dialling::new(&identity(2), &key(1), identity(1).node()).unwrap();
        let (_, answer) = Accepting::new(&impostor(), &key(1), &call).unwrap();
        assert_eq!(
            dialling.finish(&answer).unwrap_err(),
            HandshakeError::WrongNode(identity(3).node())
        );
    }

    #[test]
    fn an_old_handshake_is_of_no_use() {
        let (alice, bob) = (identity(1), identity(2));
        let (dialling, call) = Dialling::new(&alice, &key(1), bob.node()).unwrap();
        let (_, answer) = Accepting::new(&bob, &key(1), &call).unwrap();
        let (_, proof) = dialling.finish(&answer).unwrap();
        let (accepting, _) = Accepting::new(&bob, &key(1), &call).unwrap();
        assert_eq!(accepting.finish(&proof).unwrap_err(), HandshakeError::WrongKey);
    }

    #[test]
    fn says_what_is_wrong_before_any_key_is_used() {
        let (alice, bob, carol) = (identity(1), identity(2), identity(3));
        let (_, call) = Dialling::new(&alice, &key(1), carol.node()).unwrap();
        let accept = |call: &[u8; CALL_BYTES]| Accepting::new(&bob, &key(1), call).unwrap_err();
        assert_eq!(accept(&call), HandshakeError::NotForThisNode(carol.node()));
        let (_, mut call) = Dialling::new(&bob, &key(1), bob.node()).unwrap();
        assert_eq!(accept(&call), HandshakeError::OwnIdentity);
        call[9] ^= 0xff;
        assert_eq!(accept(&call), HandshakeError::OtherProtocol(PROTOCOL ^ 0xff));
        assert_eq!(accept(&[0; CALL_BYTES]), HandshakeError::NotHandshake);
    }
}
