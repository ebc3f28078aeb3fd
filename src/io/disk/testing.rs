//! Trees on the real file system for tests, under every set of abilities that a system may have.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{
    core::seam::{Apply, Source},
    io::{
        disk::{
            change::{
                partial,
                stage::{Stage, Staged},
                temp::{self, Temp},
            },
            root::Root,
        },
        files::{FileSystem, Kernel, sys::Abilities},
    },
    model::{content::Chunk, entry::Stat, path::RelPath},
};

/// 2026-11-22, 12:00 UTC.
pub(crate) const NOW_MS: u64 = 1_795_348_800_000;
pub(crate) const TRASH_TODAY: &str = ".p2pnetwork/trash/2026-11-22";
/// What is waited for is there long before, on a busy machine too.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

pub(crate) struct Tree {
    /// Removed at the end.
    _outer: tempfile::TempDir,
    pub(crate) outside: PathBuf,
    pub(crate) at: PathBuf,
    pub(crate) root: Root,
}

/// A port of the loopback interface that refuses everybody, and whose socket keeps others from
/// listening there.
pub(crate) fn closed_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

pub(crate) fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text.as_ref()).unwrap()
}

/// Runs a test with all that the system can do, with each thing missing, and with nothing.
pub(crate) fn each_mode(test: impl Fn(&Tree)) {
    for able in [
        Abilities::ALL,
        Abilities { resolve_beneath: false, ..Abilities::ALL },
        Abilities { rename_flags: false, ..Abilities::ALL },
        Abilities::NONE,
    ] {
        test(&Tree::new(able));
    }
}

impl Tree {
    pub(crate) fn new(able: Abilities) -> Self {
        Self::on(Rc::new(Kernel), able)
    }

    pub(crate) fn on(files: Rc<dyn FileSystem>, able: Abilities) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let (at, outside) = (outer.path().join("root"), outer.path().join("outside"));
        fs::create_dir(&at).unwrap();
        fs::create_dir(&outside).unwrap();
        let root = Root::open_on(files, &at, able).unwrap();
        root.make_state_directory().unwrap();
        Self { _outer: outer, outside, at, root }
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Stat {
        fs::write(self.at.join(name), content).unwrap();
        self.stat(name).unwrap()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at.join(name)).unwrap()
    }

    pub(crate) fn make_directory(&self, name: &str) -> Stat {
        fs::create_dir_all(self.at.join(name)).unwrap();
        self.stat(name).unwrap()
    }

    pub(crate) fn symlink(&self, name: &str, target: &str) -> Stat {
        std::os::unix::fs::symlink(target, self.at.join(name)).unwrap();
        self.stat(name).unwrap()
    }

    pub(crate) fn stat(&self, name: &str) -> Option<Stat> {
        self.root.stat(&path(name)).unwrap()
    }

    pub(crate) fn temp(&self, name: &str, content: &[u8]) -> String {
        Temp::create(&self.root, name).unwrap().write_at(0, content).unwrap();
        name.into()
    }

    /// What was received for the file `name`, in place of what was before.
    pub(crate) fn received(&self, name: &str, content: &[u8]) -> Source {
        let digest = Chunk::of(name.as_bytes()).digest;
        let temp = partial::name(&digest);
        temp::remove(&self.root, temp.as_bytes()).unwrap();
        self.temp(&temp, content);
        Source::Partial(digest)
    }

    /// A change as it is carried out.
    pub(crate) fn staged(&self, apply: Apply) -> Staged {
        Stage::default().prepare(&self.root, apply).unwrap()
    }

    /// Number of temporary files left.
    pub(crate) fn temps(&self) -> usize {
        let mut found = vec![];
        assert!(temp::list(&self.root).unwrap().next_batch(1000, &mut found).unwrap());
        found.len()
    }

    /// All files below the trash of today and their content.
    pub(crate) fn trash(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = vec![];
        let top = self.at.join(TRASH_TODAY);
        let mut left = vec![top.clone()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let at = entry.unwrap().path();
                if at.is_dir() && !at.is_symlink() {
                    left.push(at);
                } else {
                    let content = fs::read_link(&at).map_or_else(
                        |_| fs::read(&at).unwrap(),
                        |to| to.into_os_string().into_encoded_bytes(),
                    );
                    found.push((
                        at.strip_prefix(&top).unwrap().to_string_lossy().into_owned(),
                        content,
                    ));
                }
            }
        }
        found.sort();
        found
    }
}
