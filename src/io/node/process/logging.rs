//! Where log lines go: stderr or a file, one line an event, with UTC time and level.
//!
//! A file can be moved away while the node runs, as logrotate does: after [`reopen`] there is a new
//! one of the old name.

use std::{
    fmt, fs,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};
use time::macros::format_description;

use crate::io::node::plain_file;

/// Why there can be no log.
#[derive(Debug)]
pub struct LogError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, error) = (self.path.display(), &self.error);
        let way_out = match error.kind() {
            io::ErrorKind::NotFound => {
                "make the directory that it is to be in, or choose another file"
            }
            io::ErrorKind::Other => {
                "choose a file, or leave the flag out: the log then goes to stderr"
            }
            _ => "choose a file that can be written",
        };
        write!(f, "--log-file {path}: {error}; {way_out}")
    }
}

impl std::error::Error for LogError {}

/// Logs from here on, appending to `file` or else on stderr. To be called once; a second call
/// changes nothing.
pub fn init(level: LevelFilter, file: Option<&Path>) -> Result<(), LogError> {
    let target: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(LogFile::open(path)?),
        None => Box::new(io::stderr()),
    };
    let is_timed = file.is_some() || !is_journal();
    // An error means that a logger is there already.
    let _ = WriteLogger::init(level, format(is_timed), target);
    Ok(())
}

/// The file of `--log-file` is opened anew by its name; without one nothing happens. If it cannot
/// be opened, the log goes on in the old one.
pub fn reopen() {
    REOPEN.store(true, Ordering::Relaxed);
    log::logger().flush();
}

/// Asks the writer, which the logger owns, to open its file anew.
static REOPEN: AtomicBool = AtomicBool::new(false);

struct LogFile {
    path: PathBuf,
    file: fs::File,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, LogError> {
        // Absolute, since a later look for the name has to find the same place.
        let path =
            std::path::absolute(path).map_err(|error| LogError { path: path.to_owned(), error })?;
        open(&path).map(|file| Self { path, file })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        if REOPEN.swap(false, Ordering::Relaxed) {
            match open(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => writeln!(self.file, "the log goes on here: {error}")?,
            }
        }
        self.file.flush()
    }
}

fn open(path: &Path) -> Result<fs::File, LogError> {
    let opened = plain_file::open(path, fs::OpenOptions::new().append(true).create(true));
    opened.map_err(|error| LogError { path: path.to_owned(), error })
}

/// RFC 3339 in seconds, and the level; no module names, since the lines are for people.
fn format(is_timed: bool) -> simplelog::Config {
    let mut builder = ConfigBuilder::new();
    builder
        .set_time_format_custom(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
        ))
        .set_time_level(if is_timed { LevelFilter::Error } else { LevelFilter::Off })
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    builder.build()
}

/// Does stderr lead to systemd's journal, which knows the time itself? See `JOURNAL_STREAM` in
/// systemd.exec(5).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use log::{Level, Log, Record};

    use super::*;

    #[test]
    fn a_line_has_time_and_level() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let logger = WriteLogger::new(LevelFilter::Info, format(true), open(file.path()).unwrap());
        logger.log(&Record::builder().level(Level::Warn).args(format_args!("careful")).build());
        logger.flush();
        let line = fs::read_to_string(file.path()).unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{line}");
        assert_eq!(rest, "[WARN] careful\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        log.write_all(b"two\n").unwrap();
        REOPEN.store(true, Ordering::Relaxed);
        log.flush().unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error =
            init(LevelFilter::Info, Some(Path::new("/nowhere/node.log"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/node.log") && error.contains("--log-file"), "{error}");
        assert!(error.contains("make the directory"), "{error}");
        let error = open(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("a device") && error.contains("leave the flag out"), "{error}");
    }
}
