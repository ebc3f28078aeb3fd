//! The group's key, and the join code: the key as people type it on the next machine.
//!
//! A join code is 28 characters of Crockford's base32 (no I, L, O, U) in groups of 4: the key's 128
//! bits, then the lowest 12 bits of the key's CRC-32. Those 12 bits find every error in one
//! character and every swap of two neighbours; a test tries them all.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SYMBOLS: usize = 28;
const GROUP: usize = 4;
/// Symbols that hold bits of the key alone; the one after them holds 3 of the key, and 2 of the
/// checksum.
const KEY_SYMBOLS: usize = 25;

/// What the members of a group share. Whoever has it can read and write the directory.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupKey([u8; 16]);

impl GroupKey {
    /// The key with these bytes, which must come from a good random source.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The published key of `--open`: it keeps nobody out.
    pub fn open() -> Self {
        Self(*b"p2pnetwork--open")
    }

    /// Is this the published key?
    pub fn is_open(&self) -> bool {
        *self == Self::open()
    }

    /// The bytes, for the file that keeps them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A key for one purpose. Keys of different purposes say nothing about each other, nor about
    /// the group key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.chain_update(purpose).finalize().into_bytes().into()
    }

    /// The key as people type it, such as `00SR-40M4-...`. As secret as the key.
    pub fn join_code(&self) -> String {
        let symbols = encode(u128::from_be_bytes(self.0), checksum(&self.0));
        let groups: Vec<String> = symbols
            .chunks(GROUP)
            .map(|group| {
                group.iter().map(|&symbol| ALPHABET[usize::from(symbol)] as char).collect()
            })
            .collect();
        groups.join("-")
    }
}

impl fmt::Debug for GroupKey {
    /// Never shows the key: what is debug-printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupKey(..)")
    }
}

/// Why some text is not a join code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinCodeError {
    /// A character that no join code has.
    BadCharacter {
        /// The character.
        character: char,
        /// Its place in the text, from 1.
        position: usize,
    },
    /// Not 28 letters and digits.
    WrongLength {
        /// How many there are, dashes and spaces not counted.
        found: usize,
    },
    /// The characters do not belong together: at least one is mistyped.
    BadChecksum,
}

impl fmt::Display for JoinCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCharacter { character, position } => {
                write!(
                    f,
                    "join code: {character:?} at position {position} cannot be part of a join code"
                )
            }
            Self::WrongLength { found } => {
                write!(
                    f,
                    "join code: it has {found} letters and digits instead of {SYMBOLS}; type all \
                    of it"
                )
            }
            Self::BadChecksum => f.write_str(
                "join code: at least one character is mistyped; compare it with what 'p2pnetwork \
                 invite' prints",
            ),
        }
    }
}

impl std::error::Error for JoinCodeError {}

impl FromStr for GroupKey {
    type Err = JoinCodeError;

    /// Reads a join code as people type it: in any case, O for 0, I or L for 1, with or without
    /// dashes and spaces.
    fn from_str(text: &str) -> Result<Self, JoinCodeError> {
        let (key, check) = decode(&read_symbols(text)?);
        let bytes = key.to_be_bytes();
        if check == checksum(&bytes) { Ok(Self(bytes)) } else { Err(JoinCodeError::BadChecksum) }
    }
}

fn checksum(key: &[u8; 16]) -> u16 {
    (crc32fast::hash(key) & 0xfff) as u16
}

fn read_symbols(text: &str) -> Result<[u8; SYMBOLS], JoinCodeError> {
    let mut symbols = [0; SYMBOLS];
    let mut found = 0;
    for (at, character) in text.chars().enumerate() {
        if character == '-' || character.is_whitespace() {
            continue;
        }
        let symbol = symbol_of(character)
            .ok_or(JoinCodeError::BadCharacter { character, position: at + 1 })?;
        if let Some(place) = symbols.get_mut(found) {
            *place = symbol;
        }
        found += 1;
    }
    if found == SYMBOLS { Ok(symbols) } else { Err(JoinCodeError::WrongLength { found }) }
}

fn symbol_of(character: char) -> Option<u8> {
    let meant = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|&letter| letter as char == meant).map(|at| at as u8)
}

/// 5 bits a symbol, the most significant first: 128 of the key, 12 of the checksum.
fn encode(key: u128, check: u16) -> [u8; SYMBOLS] {
    let symbol = |at| match at {
        0..KEY_SYMBOLS => (key >> (123 - 5 * at)) as u8 & 31,
        KEY_SYMBOLS => (key as u8 & 7) << 2 | (check >> 10) as u8,
        26 => (check >> 5) as u8 & 31,
        _ => check as u8 & 31,
    };
    std::array::from_fn(symbol)
}

fn decode(symbols: &[u8; SYMBOLS]) -> (u128, u16) {
    let (whole, rest) = symbols.split_at(KEY_SYMBOLS);
    let key = whole.iter().fold(0, |key, &symbol| key << 5 | u128::from(symbol));
    let shared = rest[0];
    let check = rest[1..]
        .iter()
        .fold(u16::from(shared & 3), |check, &symbol| check << 5 | u16::from(symbol));
    (key << 3 | u128::from(shared >> 2), check)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> GroupKey {
        GroupKey::new(std::array::from_fn(|at| at as u8 * 17))
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 16]) {
            let key = GroupKey::new(bytes);
            prop_assert_eq!(key.join_code().parse(), Ok(key));
        }

        #[test]
        fn one_wrong_character_is_found(bytes: [u8; 16], at in 0..SYMBOLS, other in 1..32u8) {
            let key = GroupKey::new(bytes);
            let mut symbols = encode(u128::from_be_bytes(key.0), checksum(&key.0));
            symbols[at] ^= other;
            let code: String = symbols.iter()
                .map(|&symbol| ALPHABET[usize::from(symbol)] as char).collect();
            prop_assert_eq!(code.parse::<GroupKey>(), Err(JoinCodeError::BadChecksum));
        }

        #[test]
        fn never_panics(text in ".{0,80}") {
            let _ = text.parse::<GroupKey>();
        }
    }

    /// The CRC is affine over XOR, so an error is found in every code or in none: one key proves it
    /// for all.
    #[test]
    fn every_wrong_character_and_every_swap_is_found() {
        let is_found = |pattern: &[(usize, u8)]| {
            let mut symbols = encode(u128::from_be_bytes(key().0), checksum(&key().0));
            pattern.iter().for_each(|&(at, error)| symbols[at] ^= error);
            let (key, check) = decode(&symbols);
            checksum(&key.to_be_bytes()) != check
        };
        for error in 1..32 {
            for at in 0..SYMBOLS {
                assert!(is_found(&[(at, error)]), "error {error} at {at}");
            }
            for at in 1..SYMBOLS {
                assert!(is_found(&[(at - 1, error), (at, error)]), "swap by {error} at {at}");
            }
        }
    }

    #[test]
    fn reads_what_people_type() {
        let code = key().join_code();
        assert_eq!(code.len(), SYMBOLS + SYMBOLS / GROUP - 1);
        assert!(code.split('-').all(|group| group.len() == GROUP));
        let sloppy = code.replace('-', " ").replace('0', "o").replace('1', "l").to_lowercase();
        assert_eq!(sloppy.parse(), Ok(key()));
        assert_eq!(format!("  {}\n", code.replace('-', "").replace('1', "I")).parse(), Ok(key()));
    }

    #[test]
    fn says_what_is_wrong() {
        let bad = JoinCodeError::BadCharacter { character: 'U', position: 6 };
        assert_eq!("0000-U".parse::<GroupKey>(), Err(bad));
        assert!(bad.to_string().contains("'U' at position 6"));
        assert_eq!("0000-0000".parse::<GroupKey>(), Err(JoinCodeError::WrongLength { found: 8 }));
        let long = key().join_code() + "0";
        assert_eq!(long.parse::<GroupKey>(), Err(JoinCodeError::WrongLength { found: 29 }));
    }

    #[test]
    fn never_shows_the_key_and_keeps_purposes_apart() {
        assert_eq!(format!("{:?}", key()), "GroupKey(..)");
        assert_ne!(key().derive("a"), key().derive("b"));
        assert_ne!(key().derive("a"), GroupKey::open().derive("a"));
        assert!(GroupKey::open().is_open() && !key().is_open());
    }
}
