//! A directory as a value that can be compared: names, kinds, contents, permission bits, times,
//! link targets.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::Path,
};

use sha2::{Digest, Sha256};

/// The node's own state, which is no part of the tree.
pub const STATE_DIR: &str = ".p2pnetwork";

/// Everything below a root by path, the root itself and the node's state left out.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// One path.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the bytes.
        hash: [u8; 32],
        /// Permission bits.
        mode: u32,
        /// Modification time in ns since 1970.
        mtime_ns: i128,
    },
    /// A directory with its permission bits.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { size, hash, mode, mtime_ns } => {
                write!(f, "file {size} bytes {:02x?} mode {mode:o} mtime {mtime_ns}", &hash[..4])
            }
            Self::Directory { mode } => write!(f, "directory mode {mode:o}"),
            Self::Symlink { target } => write!(f, "link to {}", target.escape_ascii()),
        }
    }
}

/// Reads trees again and again without hashing what has not changed.
#[derive(Default)]
pub struct Reader {
    hashes: HashMap<(u64, u64, u64, i128, i128), [u8; 32]>,
}

impl Reader {
    /// The tree below `root` now; an error when it changed under the reader's hands.
    pub fn read(&mut self, root: &Path) -> io::Result<Tree> {
        let mut tree = Tree::new();
        self.read_directory(root, &[], &mut tree)?;
        Ok(tree)
    }

    fn read_directory(
        &mut self,
        directory: &Path,
        prefix: &[u8],
        tree: &mut Tree,
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if prefix.is_empty() && entry.file_name() == STATE_DIR {
                continue;
            }
            let name = [prefix, entry.file_name().as_bytes()].concat();
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path)?;
            let kind = metadata.file_type();
            if kind.is_dir() {
                let children = [&name[..], b"/"].concat();
                tree.insert(name, Node::Directory { mode: metadata.permissions().mode() & 0o7777 });
                self.read_directory(&path, &children, tree)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path)?.as_os_str().as_bytes().to_vec();
                tree.insert(name, Node::Symlink { target });
            } else if !(kind.is_fifo() || kind.is_socket()) {
                tree.insert(name, self.read_file(&path, &metadata)?);
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, metadata: &fs::Metadata) -> io::Result<Node> {
        let mtime_ns = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
        let ctime_ns = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        let stamp = (metadata.dev(), metadata.ino(), metadata.len(), mtime_ns, ctime_ns);
        let hash = match self.hashes.get(&stamp) {
            Some(&hash) => hash,
            None => hash_file(path)?,
        };
        self.hashes.insert(stamp, hash);
        Ok(Node::File { size: metadata.len(), hash, mode: metadata.mode() & 0o7777, mtime_ns })
    }
}

/// The first `limit` lines of what differs between two trees.
pub fn difference(left: &Tree, right: &Tree, limit: usize) -> String {
    let mut paths: Vec<_> = left.keys().chain(right.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let lines = paths.into_iter().filter(|&path| left.get(path) != right.get(path));
    lines
        .take(limit)
        .map(|path| {
            format!("  {}: {:?} / {:?}\n", path.escape_ascii(), left.get(path), right.get(path))
        })
        .collect()
}

fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}
