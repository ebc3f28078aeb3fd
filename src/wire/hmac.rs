//! HMAC-SHA-256 (RFC 2104). Small enough to stand here, instead of a crate of its own.

use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = 64;

/// The code of all `parts`, one after the other. The key is at most one block long.
pub fn hmac_sha256<const N: usize>(key: &[u8; N], parts: &[&[u8]]) -> [u8; 32] {
    const { assert!(N <= BLOCK_BYTES, "a longer key would have to be hashed first") };
    let mut block = [0; BLOCK_BYTES];
    block[..N].copy_from_slice(key);
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    parts.iter().for_each(|part| inner.update(part));
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// Are the two equal? The time it takes does not say where they differ.
pub fn equal_in_constant_time<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn agrees_with_rfc_4231() {
        // Test cases 1 to 4; the later ones have keys longer than a block, or cut the code.
        assert_eq!(
            hex(&hmac_sha256(&[0x0b; 20], &[b"Hi There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac_sha256(&[0xaa; 20], &[&[0xdd; 50]])),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        );
        let key: [u8; 25] = std::array::from_fn(|at| at as u8 + 1);
        assert_eq!(
            hex(&hmac_sha256(&key, &[&[0xcd; 50]])),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        );
    }

    #[test]
    fn compares() {
        assert!(equal_in_constant_time(&[1, 2, 3], &[1, 2, 3]));
        assert!(!equal_in_constant_time(&[1, 2, 3], &[1, 2, 7]));
    }
}
