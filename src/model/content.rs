//! Where content is cut into chunks, and how the chunks' digests become the content's. Pure: bytes
//! in, cuts out.
//!
//! The cuts are those of FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking for Data
//! Deduplication Based Storage Systems", IEEE TPDS 2020) at normalisation level 3, with the masks
//! and the gear table of the `fastcdc` crate. That level keeps lengths nearest to the average: an
//! edit costs the chunk that it falls into, and most fall into long ones. The crate's own loop
//! wants a whole chunk in memory; this one takes the bytes as they come and remembers 12 bytes. All
//! nodes must cut alike, so the cuts are part of the protocol.

use fastcdc::v2020::{Normalization, get_gear_with_seed, select_masks};
use sha2::{Digest as _, Sha256};

use serde::{Deserialize, Serialize};

use crate::model::{
    entry::Digest,
    limits::{CHUNK_AVERAGE_BYTES, CHUNK_MAX_BYTES, CHUNK_MIN_BYTES},
};

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Length in bytes, 1 to `MAX_CHUNK_BYTES`.
    pub length: u32,
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

impl Chunk {
    /// The chunk of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u32, digest: sha256(bytes) }
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The digest of content that consists of `chunks`: of one chunk, the chunk's; of none, that of no
/// bytes; of more, SHA-256 over each chunk's length (u32, little endian) and digest.
pub fn combine(chunks: impl Iterator<Item = Chunk>) -> Digest {
    let mut content = ContentDigest::default();
    chunks.for_each(|chunk| content.push(chunk));
    content.finish()
}

/// The chunk that a long row of zeros is cut into, as it is in the holes of a sparse file. It is
/// never read, sent or written: everybody can make it.
pub const ZEROS: Chunk = Chunk {
    length: CHUNK_MAX_BYTES,
    digest: Digest([
        0x30, 0xe1, 0x49, 0x55, 0xeb, 0xf1, 0x35, 0x22, 0x66, 0xdc, 0x2f, 0xf8, 0x06, 0x7e, 0x68,
        0x10, 0x46, 0x07, 0xe7, 0x50, 0xab, 0xb9, 0xd3, 0xb3, 0x65, 0x82, 0xb8, 0xaf, 0x90, 0x9f,
        0xcb, 0x58,
    ]),
};

/// [`combine`] for chunks that come one after the other.
#[derive(Debug, Clone, Default)]
pub struct ContentDigest {
    /// Over all chunks so far.
    all: Sha256,
    first: Option<Digest>,
    count: u32,
    size: u64,
}

impl ContentDigest {
    /// Appends a chunk.
    pub fn push(&mut self, chunk: Chunk) {
        self.all.update(chunk.length.to_le_bytes());
        self.all.update(chunk.digest.0);
        self.first.get_or_insert(chunk.digest);
        self.count = self.count.saturating_add(1);
        self.size += u64::from(chunk.length);
    }

    /// Number of chunks so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of bytes of the chunks so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The content's digest.
    pub fn finish(self) -> Digest {
        match self.first {
            Some(first) if self.count == 1 => first,
            Some(_) => Digest(self.all.finalize().into()),
            None => sha256(&[]),
        }
    }
}

/// Finds the ends of chunks in bytes that come in slices of any length.
#[derive(Debug, Clone)]
pub struct Cutter {
    gear: &'static [u64; 256],
    /// Before the average length a cut is made less likely, ...
    mask_before_average: u64,
    /// ... after it more likely, so that lengths stay near the average.
    mask_after_average: u64,
    /// Gear hash of the bytes since the smallest length.
    hash: u64,
    /// Bytes of the current chunk so far.
    length: usize,
}

impl Default for Cutter {
    fn default() -> Self {
        let (mask_before_average, mask_after_average) =
            select_masks(CHUNK_AVERAGE_BYTES as usize, Normalization::Level3);
        Self { gear: gear(), mask_before_average, mask_after_average, hash: 0, length: 0 }
    }
}

impl Cutter {
    /// Takes the next `bytes`. `Some(n)`: the chunk ends after the first `n` of them (0 means:
    /// before them), and the rest has to be given again. `None`: all are taken, and the chunk goes
    /// on.
    pub fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = (CHUNK_MIN_BYTES as usize).saturating_sub(self.length).min(bytes.len());
        self.length += at;
        for (end, mask) in [
            (CHUNK_AVERAGE_BYTES as usize, self.mask_before_average),
            (CHUNK_MAX_BYTES as usize, self.mask_after_average),
        ] {
            let until = bytes.len().min(at + end.saturating_sub(self.length));
            let found = self.find(&bytes[at..until], mask);
            self.length += found.unwrap_or(until - at);
            at += found.unwrap_or(until - at);
            if found.is_some() {
                return self.cut(at);
            }
        }
        if at < bytes.len() { self.cut(at) } else { None }
    }

    /// Bytes of the current chunk so far; 0 right after a cut.
    pub fn length(&self) -> usize {
        self.length
    }

    fn cut(&mut self, at: usize) -> Option<usize> {
        (self.hash, self.length) = (0, 0);
        Some(at)
    }

    /// The first of `bytes` that begins a new chunk.
    fn find(&mut self, bytes: &[u8], mask: u64) -> Option<usize> {
        let mut hash = self.hash;
        for (at, &byte) in bytes.iter().enumerate() {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
            if hash & mask == 0 {
                return Some(at);
            }
        }
        self.hash = hash;
        None
    }
}

fn gear() -> &'static [u64; 256] {
    let std::borrow::Cow::Borrowed(table) = get_gear_with_seed(0).0 else {
        unreachable!("without a seed the crate lends its table")
    };
    table.try_into().expect("the crate's gear table has one value for each byte")
}

#[cfg(test)]
pub(crate) mod tests {
    use fastcdc::v2020::FastCDC;
    use proptest::prelude::*;

    use super::*;

    /// Bytes that look random, from a seed (xorshift64*, Vigna 2016).
    pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
        };
        let mut bytes: Vec<u8> =
            std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
        bytes.truncate(length);
        bytes
    }

    fn lengths(bytes: &[u8], slice_bytes: usize) -> Vec<usize> {
        let (mut cutter, mut lengths, mut start, mut at) = (Cutter::default(), vec![], 0, 0);
        while at < bytes.len() {
            let slice = &bytes[at..bytes.len().min(at + slice_bytes)];
            at += slice.len();
            if let Some(cut) = cutter.push(slice) {
                at = at - slice.len() + cut;
                lengths.push(at - start);
                start = at;
            }
        }
        lengths.extend((start < bytes.len()).then_some(bytes.len() - start));
        lengths
    }

    #[test]
    fn zeros_are_cut_into_the_chunk_that_everybody_can_make() {
        let zeros = vec![0; 3 * CHUNK_MAX_BYTES as usize + 5];
        assert_eq!(
            lengths(&zeros, 60_000),
            [CHUNK_MAX_BYTES as usize; 3].into_iter().chain([5]).collect::<Vec<_>>()
        );
        assert_eq!(Chunk::of(&zeros[..CHUNK_MAX_BYTES as usize]), ZEROS);
    }

    /// The crate looks at bytes in pairs and so never cuts before an odd last one.
    fn without_tail_of_one(mut lengths: Vec<usize>) -> Vec<usize> {
        if lengths.len() > 1 && lengths.last() == Some(&1) {
            lengths.pop();
            *lengths.last_mut().unwrap() += 1;
        }
        lengths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cuts_where_the_crate_cuts(seed: u64, length in 0..3_000_000usize,
            slice in 1..200_000usize) {
            let bytes = noise(seed, length);
            let (min, average, max) = (CHUNK_MIN_BYTES, CHUNK_AVERAGE_BYTES, CHUNK_MAX_BYTES);
            let (min, average, max) = (min as usize, average as usize, max as usize);
            let theirs: Vec<_> =
                FastCDC::with_level(&bytes, min, average, max, Normalization::Level3)
                .map(|chunk| chunk.length)
                .collect();
            prop_assert_eq!(without_tail_of_one(lengths(&bytes, slice)),
                without_tail_of_one(theirs));
        }
    }

    #[test]
    fn cuts_stay_what_the_protocol_says() {
        assert_eq!(
            lengths(&noise(1, 1_500_000), 65_536),
            [272_394, 90_556, 127_471, 275_829, 283_587, 264_869, 185_294]
        );
    }

    #[test]
    fn zeros_are_cut_at_the_longest() {
        let max = CHUNK_MAX_BYTES as usize;
        assert_eq!(lengths(&vec![0; 2 * max + 5], 1000), [max, max, 5]);
        assert_eq!(lengths(&vec![0; max], 1000), [max]);
    }

    #[test]
    fn one_chunk_has_the_digest_of_its_bytes() {
        let chunk = |bytes: &[u8]| Chunk { length: bytes.len() as u32, digest: sha256(bytes) };
        assert_eq!(combine([].into_iter()), sha256(b""));
        assert_eq!(combine([chunk(b"abc")].into_iter()), sha256(b"abc"));
        let mut both = [3u32.to_le_bytes().to_vec(), sha256(b"abc").0.to_vec()].concat();
        both.extend(1u32.to_le_bytes());
        both.extend(sha256(b"d").0);
        assert_eq!(combine([chunk(b"abc"), chunk(b"d")].into_iter()), sha256(&both));
    }
}
