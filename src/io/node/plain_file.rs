//! Opening a file by a name under which something else may be.
//!
//! A pipe with nobody at its other end would make the program wait, and a device may do anything
//! when it is opened: neither is opened, and the error says what is there.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens the file at `path`, through symbolic links, as `options` say.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if let Ok(found) = fs::metadata(path) {
        refuse_others(found.file_type())?;
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    // It may have been put there meanwhile.
    refuse_others(file.metadata()?.file_type())?;
    Ok(file)
}

fn refuse_others(found: FileType) -> io::Result<()> {
    let what = match found {
        _ if found.is_file() => return Ok(()),
        _ if found.is_dir() => "a directory",
        _ if found.is_fifo() => "a named pipe",
        _ if found.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {what}, not a file")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    use super::*;

    #[test]
    fn only_files_are_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        mknodat(CWD, at("pipe"), Kind::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        let others =
            [("", "a directory"), ("pipe", "pipe"), ("socket", "socket"), ("null", "device")];
        for (name, what) in others {
            for options in [File::options().read(true), File::options().append(true).create(true)] {
                let error = open(&at(name), options).unwrap_err().to_string();
                assert!(error.contains(what), "{name}: {error}");
            }
        }
        symlink("file", at("link")).unwrap();
        assert!(open(&at("link"), File::options().append(true).create(true)).is_ok());
        assert!(open(&at("file"), File::options().read(true)).is_ok());
    }
}
