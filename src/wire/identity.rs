//! Who a device is: its static X25519 key (RFC 7748), and the node's id, which is the first 8 bytes
//! of the SHA-256 of its public key.

use std::fmt;

use sha2::{Digest, Sha256};
use snow::{
    params::DHChoice,
    resolvers::{CryptoResolver, DefaultResolver},
};

use crate::model::version::NodeId;

/// Length of a private or public key in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of [`Identity::to_text`] in bytes.
pub const TEXT_BYTES: usize = TITLE.len() + 2 * KEY_BYTES + 1;

const TITLE: &str = "p2pnetwork identity 1\n";

/// Who this device is.
#[derive(Clone)]
pub struct Identity {
    private: [u8; KEY_BYTES],
    node: NodeId,
}

impl Identity {
    /// The identity with this private key, which must come from a good random source.
    pub fn new(private: [u8; KEY_BYTES]) -> Self {
        let mut dh = DefaultResolver
            .resolve_dh(&DHChoice::Curve25519)
            .expect("the crate is built with Curve25519");
        dh.set(&private);
        Self { private, node: node_id(dh.pubkey()) }
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The private key, for the handshake.
    pub(super) fn private(&self) -> &[u8; KEY_BYTES] {
        &self.private
    }

    /// A liar: it has one key and says that it is the node of another.
    #[cfg(test)]
    pub(crate) fn impostor(private: [u8; KEY_BYTES], claimed: NodeId) -> Self {
        Self { private, node: claimed }
    }

    /// As it is kept: a line that names it, then the private key as 64 hexadecimal digits.
    pub fn to_text(&self) -> String {
        let digits: String = self.private.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{TITLE}{digits}\n")
    }

    /// `None` when the text is none that [`Self::to_text`] makes.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let digits = text.strip_prefix(TITLE)?.strip_suffix('\n')?;
        if digits.len() != 2 * KEY_BYTES || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut private = [0; KEY_BYTES];
        for (at, byte) in private.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self::new(private))
    }
}

impl fmt::Debug for Identity {
    /// Never shows the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node)
    }
}

/// The id of the node that has this public key.
pub fn node_id(public: &[u8]) -> NodeId {
    NodeId(*Sha256::digest(public).first_chunk().expect("a digest is longer than a node id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_identity_is_not_taken_for_one() {
        let identity = Identity::new([7; KEY_BYTES]);
        let good = identity.to_text();
        assert_eq!(good.len(), TEXT_BYTES);
        assert_eq!(
            Identity::from_text(good.as_bytes()).map(|read| read.private),
            Some(identity.private)
        );
        for bad in
            [String::new(), good[1..].to_owned(), good.replace('7', "x"), good.clone() + "\n"]
        {
            assert!(Identity::from_text(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_id_is_the_start_of_the_keys_digest() {
        // The key's public half, by another implementation of RFC 7748, is
        // 13be4feaeaf204c7fd3358fc9c007218...
        assert_eq!(Identity::new([7; KEY_BYTES]).node().to_string(), "0f6d2553ff0c0f44");
    }
}
