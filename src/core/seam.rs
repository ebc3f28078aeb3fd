//! The only words between the core, which decides, and the shell, which acts.
//!
//! Nothing here does anything. An [`Output`] that asks for something is answered by the [`Input`]
//! that its comment names, later and in any order; the core never waits for one in the middle of a
//! decision.

#![allow(
    missing_docs,
    reason = "every variant is documented, and its fields are named for what they are"
)]

use std::{net::SocketAddr, ops::Range, time::Instant};

use crate::{
    model::{
        content::Chunk,
        entry::{Content, Digest, Stamp, Stat},
        path::RelPath,
        version::NodeId,
    },
    wire::message::Message,
};

/// The clocks, read once a turn.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Runs forward; for every deadline.
    pub now: Instant,
    /// ms since 1970; may be wrong, jump and run backwards. Only ever decides between concurrent
    /// versions.
    pub wall_ms: u64,
}

/// What the watch tells: something on the disk may have changed. Never inside the node's own state
/// directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something about this path: made, written, deleted, its mode or times set. For a directory
    /// itself: what it holds may have changed (kqueue says no more than that). The root for the
    /// root's own mode and times.
    Path { path: RelPath, hint: Hint },
    /// What was at `from`, where something else may be already, is now at `to`, as it was; what
    /// `to` held before is gone. Everything below a directory has moved along, and is watched under
    /// its new path.
    Renamed { from: RelPath, to: RelPath },
    /// Events were lost: everything must be compared, and every directory watched anew, which also
    /// puts right the paths of those that moved unseen.
    Overflow,
    /// No events come from this directory and what is below any more, though it may still be there.
    Lost { directory: RelPath },
    /// The root itself was deleted, moved or unmounted. Nothing is watched any more.
    RootGone,
}

/// When a path that may have changed is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Closed, renamed, deleted, ...: look at it now.
    Settled,
    /// It is new and not a directory. A file that was opened will be closed; a hard link, a
    /// symbolic link or a device never will, and inotify does not tell which it is.
    Created,
    /// It is being written: it is read when it has been quiet for a while.
    Writing,
    /// Somebody who could write to it closed it, or unmapped it: it is read now, whatever its stamp
    /// says. A store to a mapped page that has not reached the disk yet leaves the times as they
    /// are.
    Closed,
    /// A directory was moved here from where no watch sees it: whatever is known of it, it is
    /// listed and watched anew.
    Arrived,
}

/// Which of the two connections with a node: one carries what we say, the other what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The node connected to us and speaks.
    Inbound,
    /// We connected to the node and speak.
    Outbound,
}

/// Why a path is left alone that something is mounted on, or whose way leads over another file
/// system.
pub const COVERED: &str = "another file system is mounted here, or is a part of this one (a \
    subvolume); what it covers is left as it was";

/// Why a change to the disk was not made. Unless it says otherwise, the disk is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyFailure {
    /// The path holds something else than the index says: a local edit that is not noticed yet.
    Unexpected(Option<Stat>),
    /// The directory holds something.
    NotEmpty,
    /// The directory above is not there.
    Parent,
    /// The content to copy or to install is not what it was said to be.
    Content,
    /// Nothing can be put at the path for now, for this reason: it was not tried.
    NotWritable(String),
    /// The system said no, for this reason.
    System(String),
    /// The same, when the change may have been made already.
    UnknownOutcome(String),
}

/// What a path was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This, with the list of chunks of a file that has more than one. When it has grown meanwhile,
    /// this is what it held when the reading began.
    Content { stat: Stat, content: Content, chunks: Vec<Chunk>, has_grown: bool },
    /// It changed while it was read.
    Changed,
    /// Nothing.
    Gone,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// A name that a directory lists, and what it is; an error's text when that cannot be told.
pub type ListedEntry = (Box<[u8]>, Result<Stat, String>);

/// A step of listing a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Some of its entries; `last` when there are no more. `watched` is false when no events come
    /// from it.
    Batch { entries: Vec<ListedEntry>, watched: bool, last: bool },
    /// It is not there.
    Gone,
    /// It cannot be listed, for this reason.
    Unreadable(String),
}

/// What `.p2pignore` holds: nothing when it is not there, `None` while it is being changed, and an
/// error's text when that cannot be told.
pub type RuleText = Result<Option<Vec<u8>>, String>;

/// Something happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The watch tells of a change.
    Changed(Change),
    /// Answers [`Output::LoadIgnoreRules`]: what `.p2pignore` holds. Where it is a symbolic link,
    /// the paths that it led through.
    IgnoreRules { text: RuleText, through: Vec<RelPath> },
    /// The root is not what it was, for this reason; or it is what it was (`None`). Answers
    /// [`Output::CheckRoot`], and comes now and then unasked.
    Paused { reason: Option<String> },
    /// Answers [`Output::Inspect`]; an error's text when it cannot be told.
    Seen { path: RelPath, stat: Result<Option<Stat>, String> },
    /// Answers [`Output::List`], in one or more steps.
    Listed { directory: RelPath, listed: Listed },
    /// Answers [`Output::Read`].
    Read { path: RelPath, found: Found },
    /// Answers [`Output::Apply`]: what is there now.
    Applied { path: RelPath, result: Result<Option<Stat>, ApplyFailure> },
    /// Answers [`Output::Copy`].
    Copied { digest: Digest, result: Result<(), ApplyFailure> },
    /// Answers [`Output::Assemble`]: the chunks of which the partial file has the right bytes now.
    Assembled { digest: Digest, result: Result<Vec<u32>, ApplyFailure> },
    /// A piece could not be written ([`Output::WritePiece`]), or the disk has no room for those
    /// that are to come ([`Output::Assemble`]).
    PieceFailed { digest: Digest, reason: String },
    /// A piece that was to be sent ([`Transmit::Piece`]) could not be read from there. Renames that
    /// the watch had not told yet were told before this.
    PieceMissing {
        node: NodeId,
        source: PieceSource,
        digest: Digest,
        range: Range<u64>,
        why: MissingPiece,
    },
    /// A person says whether the paths that are held since they are missing were deleted; if not,
    /// they are to be fetched. Nothing comes of it when none are.
    MissingDecided { were_deleted: bool },
    /// Answers [`Output::SyncNames`]; an error's text when the disk does not promise to keep them.
    NamesSynced { result: Result<(), String> },
    /// All that was decided is done and durable, and so is what users have written; the node stops.
    /// The last that is said.
    Stopped,
    /// A connection is up and has proved the group key.
    LinkUp { node: NodeId, direction: Direction, address: SocketAddr },
    /// A node was reached at this address, which is to be tried first at the next start.
    Reached { node: NodeId, address: SocketAddr },
    /// A connection is gone.
    LinkDown { node: NodeId, direction: Direction },
    /// A node says something.
    Message { node: NodeId, message: Message<'a> },
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `lstat` the path: answered by [`Input::Seen`].
    Inspect { path: RelPath },
    /// Watch the directory, then list it: answered by [`Input::Listed`].
    List { directory: RelPath },
    /// Read and hash what is there: answered by [`Input::Read`].
    Read { path: RelPath, stat: Stat },
    /// Change the disk: answered by [`Input::Applied`].
    Apply(Apply),
    /// Copy a file on this disk, wanted at `to`, to the partial file `digest`, unless nothing can
    /// be put there: answered by [`Input::Copied`].
    Copy { from: RelPath, stamp: Stamp, to: RelPath, digest: Digest, size: u64 },
    /// Write bytes to the partial file `digest`: only a failure is answered, by
    /// [`Input::PieceFailed`].
    WritePiece { digest: Digest, offset: u64, bytes: Vec<u8> },
    /// Find out which chunks the partial file `digest` of an earlier try has, and copy those that
    /// the old version of the file, with these chunks, has; unless nothing can be put at the path:
    /// answered by [`Input::Assembled`], or [`Input::PieceFailed`].
    Assemble {
        path: RelPath,
        digest: Digest,
        chunks: Vec<Chunk>,
        old: Option<(RelPath, Stamp, Vec<Chunk>)>,
    },
    /// Close the partial file `digest`, and keep it for another try.
    ClosePartial { digest: Digest },
    /// What has come for the partial file `from` may be of use to `to`, of `size` bytes, which has
    /// none yet: it is its partial file now.
    AdoptPartial { from: Digest, to: Digest, size: u64 },
    /// Drop the partial file `digest`.
    DropPartial { digest: Digest },
    /// Read `.p2pignore`: answered by [`Input::IgnoreRules`].
    LoadIgnoreRules,
    /// Look whether the root is what it was: answered by [`Input::Paused`].
    CheckRoot,
    /// Make the names durable that were given since the last time, so that the index may be:
    /// answered by [`Input::NamesSynced`].
    SyncNames,
    /// Close both connections with a node, for this reason.
    Close { node: NodeId, reason: String },
}

/// One change to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// What to change.
    pub path: RelPath,
    /// What must be there; `None` is nothing. Compared at the last moment: anything else stays
    /// untouched.
    pub expect: Option<Stamp>,
    /// Keep what is there under this name, too, before it is replaced: it lost against a concurrent
    /// version. If the name is taken, it was kept before.
    pub keep: Option<RelPath>,
    /// What to do.
    pub action: Action,
}

/// What to make of a path. A file or link that gives way goes to the trash; a directory that does
/// has to be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A file of these bytes.
    WriteFile { source: Source, mode: u16, mtime_ns: i64 },
    /// A directory. One that is there gets the mode.
    MakeDirectory { mode: u16 },
    /// A symbolic link.
    MakeSymlink { target: Box<[u8]> },
    /// The same content with other permission bits, and, for a file, another modification time. A
    /// symbolic link has neither and stays as it is.
    SetMetadata { mode: u16, mtime_ns: Option<i64> },
    /// Nothing: a file or link goes to the trash.
    RemoveFile,
    /// Nothing: an empty directory goes.
    RemoveDirectory,
    /// The file at `from`, which is still at `stamp`: it is renamed.
    RenameFrom { from: RelPath, stamp: Stamp },
    /// What is here and the file at `with`, which is still at `stamp`, exchange their names. When
    /// it is done, [`Input::Applied`] tells of both.
    Exchange { with: RelPath, stamp: Stamp },
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From here.
    Bytes(Vec<u8>),
    /// From the partial file of this digest.
    Partial(Digest),
}

/// What a node is to be told next; the shell reads the bytes that are wanted and sends it.
#[derive(Debug, Clone, PartialEq)]
pub enum Transmit {
    /// As it is.
    Message(Message<'static>),
    /// An update ([`Message::Update`]), with the file's bytes when it still is at this stamp.
    Update { message: Message<'static>, inline: Option<Stamp> },
    /// A piece ([`Message::Piece`]) from there. If it cannot be read: [`Input::PieceMissing`], and
    /// this node is told nothing else before that.
    Piece { source: PieceSource, digest: Digest, offset: u64, length: u32 },
}

/// Why a piece that a node asked for is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingPiece {
    /// The file is not what it was.
    Gone,
    /// The file cannot be read at present: the disk fails, or something is mounted over it.
    Unreadable,
}

/// Where a piece is read from.
#[derive(Debug, Clone, PartialEq)]
pub enum PieceSource {
    /// The file at `path`, while it is at `stamp`.
    File { path: RelPath, stamp: Stamp },
    /// The partial file of the piece's digest.
    Partial,
}
