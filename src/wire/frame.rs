//! Messages in the sealed byte stream of port 2195.
//!
//! The stream is a row of records: a length (u16, big endian), then that many sealed bytes. The
//! opened bytes of all records, put together, are a row of messages: a length (u32, big endian),
//! then the message. So many small messages share a record, and a large one spans several, by the
//! same rule.
//!
//! What is not sealed right is never looked at. A message's length is compared with
//! [`MAX_MESSAGE_BYTES`] as soon as it is there, and no buffer ever grows by more than the bytes
//! that have arrived. No I/O here, and no keys: [`Seal`] and [`Open`] stand for them.

use std::{fmt, ops::Range};

use crate::model::limits::{IDLE_BUFFER_BYTES, MAX_MESSAGE_BYTES};

/// Bytes that sealing adds to a record.
pub const TAG_BYTES: usize = 16;
/// Largest sealed record, in bytes; as in the Noise specification, section 3.
pub const MAX_RECORD_BYTES: usize = 65_535;
/// Largest record before sealing, in bytes.
pub const MAX_PLAIN_BYTES: usize = MAX_RECORD_BYTES - TAG_BYTES;

const RECORD_HEADER_BYTES: usize = 2;
const MESSAGE_HEADER_BYTES: usize = 4;

/// Seals one record after the other.
pub trait Seal {
    /// Seals `plain`, which is not empty, into `sealed`, which is [`TAG_BYTES`] longer.
    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]);
}

/// Opens one record after the other.
pub trait Open {
    /// Opens `sealed` into `plain`, which is [`TAG_BYTES`] shorter; `Err` when it was not sealed by
    /// the peer.
    fn open(&mut self, sealed: &[u8], plain: &mut [u8]) -> Result<(), Forged>;
}

/// A record is not what the peer sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

/// Why a stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A record was changed on the way, or is too short to be one.
    Forged,
    /// A message is said to have this many bytes, more than [`MAX_MESSAGE_BYTES`].
    TooLong(u32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forged => f.write_str("data was damaged or forged on the way"),
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "the peer announced a message of {bytes} bytes, at most {MAX_MESSAGE_BYTES} \
                     are taken"
                )
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Messages on their way into a socket. Empty ones hold next to no memory.
#[derive(Debug, Default)]
pub struct FrameWriter {
    /// The record that is being filled; always room for one byte more.
    plain: Vec<u8>,
    sealed: Vec<u8>,
    /// Bytes of `sealed` that the socket has taken.
    sent: usize,
}

impl FrameWriter {
    /// Bytes that wait, sealed or not.
    pub fn len(&self) -> usize {
        self.plain.len() + self.sealed.len() - self.sent
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message of at most [`MAX_MESSAGE_BYTES`]. Records that it fills are sealed.
    pub fn push(&mut self, message: &[u8], key: &mut impl Seal) {
        assert!(
            message.len() <= MAX_MESSAGE_BYTES,
            "nobody would take a message of {} bytes",
            message.len()
        );
        self.append(&(message.len() as u32).to_be_bytes(), key);
        self.append(message, key);
    }

    /// Adds bytes that are sent as they are: the handshake.
    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.sealed.extend_from_slice(bytes);
    }

    /// Seals what has been added, so that all of it can be sent.
    pub fn finish(&mut self, key: &mut impl Seal) {
        if !self.plain.is_empty() {
            self.seal_record(key);
        }
    }

    /// Gives back the memory of buffers that nothing waits in. They are kept from one message to
    /// the next: fresh pages for each turn would cost as much as the sealing.
    pub fn release(&mut self) {
        for buffer in
            [&mut self.plain, &mut self.sealed].into_iter().filter(|buffer| buffer.is_empty())
        {
            buffer.shrink_to(IDLE_BUFFER_BYTES);
        }
    }

    /// The sealed bytes that the socket has not taken yet.
    pub fn unsent(&self) -> &[u8] {
        &self.sealed[self.sent..]
    }

    /// The socket has taken the first `bytes` of [`Self::unsent`].
    pub fn mark_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.sealed.len());
        if self.sent == self.sealed.len() {
            self.sealed.clear();
            self.sent = 0;
        } else if self.sent > self.sealed.len() / 2 {
            self.sealed.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn append(&mut self, mut bytes: &[u8], key: &mut impl Seal) {
        while !bytes.is_empty() {
            let room = MAX_PLAIN_BYTES - self.plain.len();
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.plain.extend_from_slice(fits);
            if self.plain.len() == MAX_PLAIN_BYTES {
                self.seal_record(key);
            }
            bytes = rest;
        }
    }

    fn seal_record(&mut self, key: &mut impl Seal) {
        let length = (self.plain.len() + TAG_BYTES) as u16;
        self.sealed.extend_from_slice(&length.to_be_bytes());
        let at = self.sealed.len();
        self.sealed.resize(at + usize::from(length), 0);
        key.seal(&self.plain, &mut self.sealed[at..]);
        self.plain.clear();
    }
}

/// Messages on their way out of a socket. Holds at most the bytes fed while [`Self::is_hungry`],
/// one record and one message, and after a small portion next to no memory.
#[derive(Debug, Default)]
pub struct FrameReader {
    sealed: Vec<u8>,
    /// Bytes of `sealed` that have been opened.
    opened: usize,
    plain: Vec<u8>,
    /// Bytes of `plain` that have been handed out.
    taken: usize,
    /// May there be a message in the buffers?
    is_fed: bool,
    /// Did the last bytes come in a small portion? Then large buffers are of no use any more. Fresh
    /// pages for each message of a long transfer would cost as much as the opening, so they are
    /// kept as long as that lasts.
    is_slack: bool,
}

impl FrameReader {
    /// Is there no further message without further bytes?
    pub fn is_hungry(&self) -> bool {
        !self.is_fed
    }

    /// Takes bytes from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        debug_assert!(self.is_hungry(), "the messages at hand come first");
        self.sealed.drain(..self.opened);
        self.opened = 0;
        self.sealed.extend_from_slice(bytes);
        self.is_fed = true;
        self.is_slack = bytes.len() <= IDLE_BUFFER_BYTES;
    }

    /// Where the next message lies, for [`Self::message`]; `None` when it has not arrived yet.
    pub fn next_message(
        &mut self,
        key: &mut impl Open,
    ) -> Result<Option<Range<usize>>, FrameError> {
        loop {
            if let Some(range) = self.take_message()? {
                return Ok(Some(range));
            }
            if !self.open_record(key)? {
                self.rest();
                return Ok(None);
            }
        }
    }

    /// The message that [`Self::next_message`] found last.
    pub fn message(&self, range: Range<usize>) -> &[u8] {
        &self.plain[range]
    }

    fn take_message(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let Some(header) = self.plain[self.taken..].first_chunk::<MESSAGE_HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header);
        if length as usize > MAX_MESSAGE_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let start = self.taken + MESSAGE_HEADER_BYTES;
        let end = start + length as usize;
        if end > self.plain.len() {
            return Ok(None);
        }
        self.taken = end;
        Ok(Some(start..end))
    }

    /// Opens one record behind what is in `plain`; false when none is complete.
    fn open_record(&mut self, key: &mut impl Open) -> Result<bool, FrameError> {
        let rest = &self.sealed[self.opened..];
        let Some((header, rest)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes(*header));
        if length < TAG_BYTES {
            return Err(FrameError::Forged);
        }
        let Some(record) = rest.get(..length) else { return Ok(false) };
        self.plain.drain(..self.taken);
        self.taken = 0;
        let at = self.plain.len();
        self.plain.resize(at + length - TAG_BYTES, 0);
        key.open(record, &mut self.plain[at..]).map_err(|Forged| FrameError::Forged)?;
        self.opened += RECORD_HEADER_BYTES + length;
        Ok(true)
    }

    fn rest(&mut self) {
        self.is_fed = false;
        for (buffer, used) in
            [(&mut self.sealed, &mut self.opened), (&mut self.plain, &mut self.taken)]
        {
            if *used == buffer.len() {
                buffer.clear();
                *used = 0;
                if self.is_slack {
                    buffer.shrink_to(IDLE_BUFFER_BYTES);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Stands for a key: adds a tag that depends on all bytes and on the record's number.
    #[derive(Default)]
    struct Toy(u32);

    impl Toy {
        fn tag(&mut self, plain: &[u8]) -> [u8; TAG_BYTES] {
            self.0 += 1;
            let sum = crc32fast::hash(plain) ^ self.0;
            let mut tag = [0; TAG_BYTES];
            tag[..4].copy_from_slice(&sum.to_be_bytes());
            tag
        }
    }

    impl Seal for Toy {
        fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) {
            sealed[..plain.len()].copy_from_slice(plain);
            sealed[plain.len()..].copy_from_slice(&self.tag(plain));
        }
    }

    impl Open for Toy {
        fn open(&mut self, sealed: &[u8], plain: &mut [u8]) -> Result<(), Forged> {
            let (body, tag) = sealed.split_at(plain.len());
            plain.copy_from_slice(body);
            if tag == self.tag(body) { Ok(()) } else { Err(Forged) }
        }
    }

    fn seal_all(messages: &[Vec<u8>]) -> Vec<u8> {
        let (mut writer, mut key) = (FrameWriter::default(), Toy::default());
        messages.iter().for_each(|message| writer.push(message, &mut key));
        writer.finish(&mut key);
        writer.unsent().to_vec()
    }

    fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut reader, mut key) = (FrameReader::default(), Toy::default());
        let mut messages = Vec::new();
        for part in bytes.chunks(step) {
            reader.feed(part);
            while let Some(range) = reader.next_message(&mut key)? {
                messages.push(reader.message(range).to_vec());
            }
        }
        Ok(messages)
    }

    /// A stream of one record with these opened bytes.
    fn record(plain: &[u8]) -> Vec<u8> {
        let mut bytes = ((plain.len() + TAG_BYTES) as u16).to_be_bytes().to_vec();
        bytes.resize(2 + plain.len() + TAG_BYTES, 0);
        Toy::default().seal(plain, &mut bytes[2..]);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn round_trip(lengths in prop::collection::vec(prop_oneof![
            8 => 0..300usize,
            1 => Just(MAX_PLAIN_BYTES - 4), 1 => Just(MAX_PLAIN_BYTES), 1 =>
                Just(MAX_MESSAGE_BYTES),
        ], 0..20), step in prop_oneof![1..10usize, 1..100_000usize]) {
            let messages: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(at, &length)| vec![at as u8; length]).collect();
            prop_assert_eq!(read_all(&seal_all(&messages), step), Ok(messages));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), step in 1..100usize) {
            let _ = read_all(&bytes, step);
        }

        #[test]
        fn a_flipped_bit_is_found(at in 2..322usize, bit in 0..8u32) {
            let mut bytes = seal_all(&[vec![7; 300]]);
            prop_assert_eq!(bytes.len(), 322);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read_all(&bytes, 1000), Err(FrameError::Forged));
        }
    }

    #[test]
    fn small_messages_share_a_record() {
        let bytes = seal_all(&vec![vec![1; 60]; 1000]);
        assert_eq!(bytes.len(), 1000 * 64 + 2 + TAG_BYTES);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_length_alone() {
        let stream = record(&(MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes());
        assert_eq!(read_all(&stream, 1000), Err(FrameError::TooLong(MAX_MESSAGE_BYTES as u32 + 1)));
        let stream = record(&u32::MAX.to_be_bytes());
        assert_eq!(read_all(&stream, 1), Err(FrameError::TooLong(u32::MAX)));
        assert_eq!(read_all(&[0, 15], 2), Err(FrameError::Forged), "too short for a tag");
    }

    #[test]
    fn what_is_announced_is_not_allocated() {
        let (mut reader, mut key) = (FrameReader::default(), Toy::default());
        reader.feed(&record(&(MAX_MESSAGE_BYTES as u32).to_be_bytes()));
        assert_eq!(reader.next_message(&mut key), Ok(None));
        reader.feed(&[0xff, 0xff, 0]);
        assert_eq!(reader.next_message(&mut key), Ok(None));
        assert!(reader.plain.capacity() + reader.sealed.capacity() <= 2 * IDLE_BUFFER_BYTES);
    }

    #[test]
    fn idle_buffers_are_small() {
        let (mut writer, mut reader) = (FrameWriter::default(), FrameReader::default());
        let (mut seal, mut open) = (Toy::default(), Toy::default());
        for message in [&[1; MAX_MESSAGE_BYTES][..], &[2]] {
            writer.push(message, &mut seal);
            writer.finish(&mut seal);
            reader.feed(writer.unsent());
            assert!(matches!(reader.next_message(&mut open), Ok(Some(_))));
            assert_eq!(reader.next_message(&mut open), Ok(None));
            writer.mark_sent(writer.len());
        }
        writer.release();
        assert!(writer.plain.capacity() + writer.sealed.capacity() <= 2 * IDLE_BUFFER_BYTES);
        assert!(reader.plain.capacity() + reader.sealed.capacity() <= 2 * IDLE_BUFFER_BYTES);
    }

    #[test]
    fn partial_writes_keep_the_rest() {
        let messages: Vec<Vec<u8>> = (0..50).map(|at| vec![at; 5000]).collect();
        let (mut writer, mut key) = (FrameWriter::default(), Toy::default());
        let mut wire = Vec::new();
        for message in &messages {
            writer.push(message, &mut key);
            writer.finish(&mut key);
            let taken = writer.unsent().len().min(3333);
            wire.extend_from_slice(&writer.unsent()[..taken]);
            writer.mark_sent(taken);
        }
        wire.extend_from_slice(writer.unsent());
        assert_eq!(read_all(&wire, 64 * 1024), Ok(messages));
    }
}
