//! A table of connections of fixed size, where the place is the token, and packets of fixed size.

use std::io::{self, Read};

use mio::Token;

/// A table whose places are the tokens from `first` on.
#[derive(Debug)]
pub(super) struct Slots<T> {
    first: usize,
    items: Box<[Option<T>]>,
}

impl<T> Slots<T> {
    /// A table of `capacity` places.
    pub(super) fn new(first: usize, capacity: usize) -> Self {
        Self { first, items: (0..capacity).map(|_| None).collect() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.items.len()
    }

    /// A free place and its token; `None` when the table is full.
    pub(super) fn free(&self) -> Option<(usize, Token)> {
        let at = self.items.iter().position(Option::is_none)?;
        Some((at, Token(self.first + at)))
    }

    /// The place that this token belongs to, taken or not.
    pub(super) fn place(&self, token: Token) -> Option<usize> {
        token.0.checked_sub(self.first).filter(|&at| at < self.items.len())
    }

    pub(super) fn put(&mut self, at: usize, item: T) {
        debug_assert!(self.items[at].is_none());
        self.items[at] = Some(item);
    }

    pub(super) fn take(&mut self, at: usize) -> Option<T> {
        self.items[at].take()
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.items[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.items[at].as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    pub(super) fn enumerate(&self) -> impl Iterator<Item = (usize, &T)> {
        self.items.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }

    /// The first place whose item is like this.
    pub(super) fn position(&self, mut is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        self.items.iter().position(|item| item.as_ref().is_some_and(&mut is_it))
    }
}

/// A packet of `N` bytes that is on its way in. Never reads a byte beyond it.
#[derive(Debug)]
pub(super) struct Packet<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Packet<N> {
    pub(super) fn new() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }

    /// Reads on. The packet when it is complete, `None` when the rest has not arrived yet.
    /// A connection that is closed before is an `UnexpectedEof`.
    pub(super) fn read_from(&mut self, source: &mut impl Read) -> io::Result<Option<&[u8; N]>> {
        while self.filled < N {
            match source.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tokens() {
        let mut slots = Slots::new(10, 2);
        for wanted in [10, 11] {
            let (at, token) = slots.free().unwrap();
            assert_eq!(token, Token(wanted));
            assert_eq!(slots.place(token), Some(at));
            slots.put(at, wanted);
        }
        assert_eq!(slots.free(), None);
        assert_eq!(slots.take(0), Some(10));
        assert_eq!(slots.free(), Some((0, Token(10))));
        assert_eq!([9, 12].map(|token| slots.place(Token(token))), [None, None]);
    }

    #[test]
    fn a_packet_is_read_to_its_end_and_not_beyond() {
        let mut source: &[u8] = &[1, 2, 3, 4, 5];
        let mut packet = Packet::<4>::new();
        assert_eq!(packet.read_from(&mut source).unwrap(), Some(&[1, 2, 3, 4]));
        assert_eq!(source, [5]);
        let error = Packet::<4>::new().read_from(&mut source).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
