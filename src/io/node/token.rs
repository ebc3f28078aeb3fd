//! Which source an event is of.

use mio::Token;

use crate::{
    io::{net::NET_TOKENS, node::control::CONTROL_TOKENS},
    model::limits::MAX_INTERFACES,
};

/// SIGTERM, SIGINT.
pub const SIGNALS: Token = Token(0);
/// The native file watch.
pub const WATCH: Token = Token(1);
/// Word of changes of the network.
pub const NETWORK: Token = Token(2);
/// The control socket and its clients.
pub const CONTROL: usize = 3;
/// The raw ARP sockets.
pub const ARP: usize = CONTROL + CONTROL_TOKENS;
/// Ports 2194 and 2195, and every connection on them.
pub const NET: usize = ARP + MAX_INTERFACES;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A signal came.
    Signals,
    /// The watch has events.
    Watch,
    /// Addresses or carriers have changed.
    Network,
    /// The control socket or one of its clients.
    Control,
    /// The ARP socket in this place of the table.
    Arp(usize),
    /// One of the `Net`'s sockets.
    Net,
}

/// The source of an event.
pub fn source(token: Token) -> Source {
    match token {
        SIGNALS => Source::Signals,
        WATCH => Source::Watch,
        NETWORK => Source::Network,
        Token(at) if at < ARP => Source::Control,
        Token(at) if at < NET => Source::Arp(at - ARP),
        Token(_) => Source::Net,
    }
}

const _: () = assert!(NET + NET_TOKENS < usize::MAX / 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_source() {
        assert_eq!(source(Token(CONTROL)), Source::Control);
        assert_eq!(source(Token(ARP)), Source::Arp(0));
        assert_eq!(source(Token(NET - 1)), Source::Arp(MAX_INTERFACES - 1));
        assert_eq!(source(Token(NET)), Source::Net);
    }
}
