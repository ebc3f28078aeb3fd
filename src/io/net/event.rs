//! What [`Net`](super::Net) tells its caller, and why things ended.

use std::{
    error, fmt, io,
    net::{IpAddr, SocketAddr},
};

use crate::{
    model::{limits::MAX_KNOCKS, version::NodeId},
    wire::{
        frame::FrameError,
        hello::{Hello, HelloError},
        session::HandshakeError,
    },
};

/// Something happened on the network.
#[derive(Debug, PartialEq, Eq)]
pub enum NetEvent<'a> {
    /// A knock was answered by a member of the group.
    KnockAnswered {
        /// Whom we knocked at.
        address: SocketAddr,
        /// What it says of itself.
        hello: Hello,
    },
    /// Nobody answered a knock.
    KnockFailed {
        /// Whom we knocked at.
        address: SocketAddr,
        /// What became of it.
        error: KnockError,
    },
    /// A knock was answered, by something else than a member of the group.
    Stranger {
        /// Whom we knocked at.
        address: SocketAddr,
        /// What is wrong with the answer.
        error: HelloError,
    },
    /// A member of the group knocked here, and has its answer.
    Called {
        /// Where from.
        ip: IpAddr,
        /// What it says of itself.
        hello: Hello,
    },
    /// Something else knocked here. It got no answer.
    StrangerCalled {
        /// Where from.
        ip: IpAddr,
        /// What is wrong with its hello.
        error: HelloError,
    },
    /// The node at this address has proved who it is; messages can be sent to it.
    OutboundUp {
        /// The node.
        node: NodeId,
        /// Its sync port.
        address: SocketAddr,
    },
    /// The outcome of a dial, or the end of a link. Each successful `dial` is followed by exactly
    /// one.
    OutboundClosed {
        /// The node.
        node: NodeId,
        /// What ended it.
        reason: CloseReason,
    },
    /// A node has proved who it is; its messages follow.
    InboundUp {
        /// The node.
        node: NodeId,
        /// Where from; the port is of no use.
        address: SocketAddr,
    },
    /// Nothing has come on a node's inbound link since before a keep-alive was due. Told again as
    /// long as that is so.
    Late {
        /// The node.
        node: NodeId,
    },
    /// The end of an inbound link. Each `InboundUp` is followed by exactly one.
    InboundClosed {
        /// The node.
        node: NodeId,
        /// What ended it.
        reason: CloseReason,
    },
    /// Somebody called on the sync port and was not let in.
    InboundRefused {
        /// Where from.
        ip: IpAddr,
        /// Why.
        error: HandshakeError,
    },
    /// A message from a node whose inbound link is up.
    Message {
        /// Who says it.
        node: NodeId,
        /// The message, opened but not decoded.
        bytes: &'a [u8],
    },
}

/// Why a knock had no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnockError {
    /// [`MAX_KNOCKS`] are under way.
    TooMany,
    /// No connection, or no answer, in time.
    TimedOut,
    /// Closed without an answer: another group, or this node is called by too many.
    Closed,
    /// What the system said, such as "connection refused".
    Io(io::ErrorKind),
}

impl fmt::Display for KnockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "{MAX_KNOCKS} others are being knocked at"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Closed => f.write_str("closed without an answer"),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}

impl error::Error for KnockError {}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// This node closed it.
    Asked,
    /// The peer closed it.
    PeerClosed,
    /// The peer closed it before it was up: another group key, or its table is full.
    Refused,
    /// No connection in time. A firewall, or the machine is off.
    ConnectTimedOut,
    /// This machine's own address on it is gone, or the carrier of that network.
    AddressGone,
    /// Connected, but not authenticated in time.
    HandshakeTimedOut,
    /// The peer is not whom it should be.
    Handshake(HandshakeError),
    /// Nothing came for so long that the peer must be gone.
    Silent,
    /// The peer has taken nothing for so long that it must be gone.
    Stalled,
    /// The peer spoke where it must only listen.
    SpokeBack,
    /// The bytes are not what the peer sealed, or not a message.
    Frame(FrameError),
    /// The node has made a new inbound link.
    Replaced,
    /// The table of links is full.
    TooMany,
    /// What the system said.
    Io(io::ErrorKind),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("closed by this node"),
            Self::PeerClosed => f.write_str("closed by the peer"),
            Self::Refused => f.write_str("the peer closed it during the handshake"),
            Self::ConnectTimedOut => {
                f.write_str("no connection in time; is its port open in the firewall?")
            }
            Self::AddressGone => f.write_str("this machine has left that network"),
            Self::HandshakeTimedOut => f.write_str("not authenticated in time"),
            Self::Handshake(error) => error.fmt(f),
            Self::Silent => f.write_str("nothing was heard of it for too long"),
            Self::Stalled => f.write_str("it took nothing for too long"),
            Self::SpokeBack => f.write_str("it spoke on a connection that goes one way only"),
            Self::Frame(error) => error.fmt(f),
            Self::Replaced => f.write_str("replaced by a newer connection"),
            Self::TooMany => f.write_str("too many nodes"),
            Self::Io(kind) => write!(f, "{kind}"),
        }
    }
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::PeerClosed,
            kind => Self::Io(kind),
        }
    }
}

/// Why a port cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address and port.
    pub address: SocketAddr,
    /// The flag that chooses another port.
    pub flag: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, flag, error } = self;
        write!(f, "cannot listen on {address}: {error}; ")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "stop the program that uses the port, or give {flag}")
            }
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("give --bind an address of this machine")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "ports below 1024 need privileges, give {flag}")
            }
            _ => write!(f, "another port can be given by {flag}"),
        }
    }
}

impl error::Error for BindError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}
