//! What the kernel tells of files on any of the hosts, in the order in which it happened: one queue
//! for all.
//!
//! It tells what was done, and in which order, however late the test comes to look.

use std::{collections::HashMap, path::Path};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

/// One queue of inotify.
pub struct Observer {
    inotify: Inotify,
    labels: HashMap<WatchDescriptor, String>,
}

impl Observer {
    /// One that watches nothing yet.
    pub fn new() -> Self {
        let inotify = Inotify::init().expect("fs.inotify.max_user_instances allows one more");
        Self { inotify, labels: HashMap::new() }
    }

    /// Watches a file, or what is in a directory; what happens there is told under `label`. A watch
    /// follows what is renamed.
    pub fn watch(&mut self, label: &str, path: &Path, mask: WatchMask) {
        let descriptor =
            self.inotify.watches().add(path, mask).expect("it is there, and may be watched");
        self.labels.insert(descriptor, label.to_owned());
    }

    /// What has happened since the last call, oldest first, equal things in a row once: to `LABEL`
    /// for a watched file, to `LABEL/NAME` for what is in a watched directory. Directories that are
    /// listed are left out.
    pub fn happened(&mut self) -> Vec<(EventMask, String)> {
        let mut happened = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return happened,
                Err(error) => panic!("inotify: {error}"),
            };
            for event in events {
                assert!(
                    !event.mask.contains(EventMask::Q_OVERFLOW),
                    "more has happened than the queue holds"
                );
                let is_listing = EventMask::ISDIR | EventMask::ACCESS;
                let Some(label) =
                    self.labels.get(&event.wd).filter(|_| !event.mask.contains(is_listing))
                else {
                    continue;
                };
                let what = match event.name {
                    Some(name) => format!("{label}/{}", name.to_string_lossy()),
                    None => label.clone(),
                };
                happened.push((event.mask, what));
            }
        }
    }
}
