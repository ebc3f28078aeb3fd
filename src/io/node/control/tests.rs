use std::{
    io::BufRead,
    os::unix::{fs::MetadataExt, net::UnixStream as StdStream},
};

use mio::{Events, Poll};

use super::*;
use crate::{
    io::{disk::testing::BOUND, node::state},
    model::limits::CONTROL_TIMEOUT,
};

const FIRST: usize = 7;

struct Server {
    poll: Poll,
    control: Control,
    now: Instant,
}

impl Server {
    fn new(dir: &Path) -> Self {
        let poll = Poll::new().unwrap();
        let control = Control::bind(poll.registry(), FIRST, dir).unwrap();
        Self { poll, control, now: Instant::now() }
    }

    /// Takes in what is ready, and waits for it if need be.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(BOUND)).unwrap();
        assert!(!events.is_empty(), "nothing happened in time");
        events.iter().for_each(|event| self.control.handle_event(event.token(), event, self.now));
    }

    fn next_request(&mut self) -> ClientId {
        loop {
            if let Some((client, _)) = self.control.poll_request() {
                return client;
            }
            self.turn();
        }
    }
}

fn connect(dir: &Path) -> StdStream {
    let stream = with_socket_path(dir, |path| StdStream::connect(path)).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

fn rest(mut stream: StdStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_request_is_answered_once_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    let mode = fs::metadata(dir.path().join(SOCKET)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = connect(dir.path());
    stream.write_all(b"sta").unwrap();
    server.turn();
    assert_eq!(server.control.poll_request(), None);
    stream.write_all(b"tus\n").unwrap();
    let client = server.next_request();
    assert_eq!(server.control.poll_request(), None);
    server.control.answer(client, "{}");
    assert_eq!(rest(stream), "{}\n");
    assert_eq!(server.control.poll_timeout(), None, "a closed client has a deadline");
}

#[test]
fn a_long_answer_waits_for_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    let mut stream = connect(dir.path());
    stream.write_all(b"status\n").unwrap();
    let client = server.next_request();
    let answer = "x".repeat(4 << 20);
    server.control.answer(client, &answer);
    assert!(server.control.poll_timeout().is_some(), "more was taken than a socket holds");
    let mut reader = io::BufReader::new(stream);
    let mut got = 0;
    while got < answer.len() + 1 {
        let count = reader.fill_buf().unwrap().len();
        reader.consume(count);
        got += count;
        if got < answer.len() + 1 && reader.buffer().is_empty() {
            server.control.handle_ready(Token(FIRST + 1), server.now);
        }
    }
    assert_eq!(reader.fill_buf().unwrap(), b"", "it is not closed");
}

#[test]
fn nonsense_and_floods_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    let mut unknown = connect(dir.path());
    unknown.write_all(b"reboot\n").unwrap();
    server.turn();
    assert!(rest(unknown).contains("unknown request"));
    let mut endless = connect(dir.path());
    endless.write_all(&[b'x'; MAX_CONTROL_REQUEST_BYTES + 1]).unwrap();
    server.turn();
    assert!(server.control.clients.iter().all(Option::is_none));
}

#[test]
fn clients_are_bounded_in_number_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    let kept: Vec<StdStream> = (0..MAX_CONTROL_CLIENTS).map(|_| connect(dir.path())).collect();
    let one_more = connect(dir.path());
    server.turn();
    assert_eq!(rest(one_more), "");
    assert_eq!(server.control.poll_timeout(), Some(server.now + CONTROL_TIMEOUT));
    server.control.handle_timeout(server.now + CONTROL_TIMEOUT);
    kept.into_iter().for_each(|stream| assert_eq!(rest(stream), ""));
    assert_eq!(server.control.poll_timeout(), None);
}

#[test]
fn an_answer_never_reaches_a_later_client() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    let mut first = connect(dir.path());
    first.write_all(b"status\n").unwrap();
    let old = server.next_request();
    server.control.handle_timeout(server.now + CONTROL_TIMEOUT);
    let mut second = connect(dir.path());
    second.write_all(b"status\n").unwrap();
    let new = server.next_request();
    server.control.answer(old, "old");
    server.control.answer(new, "new");
    assert_eq!((rest(first), rest(second)), (String::new(), "new\n".to_owned()));
}

#[test]
fn paths_longer_than_an_address_work() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("d".repeat(200));
    fs::create_dir(&dir).unwrap();
    let mut server = Server::new(&dir);
    let mut stream = connect(&dir);
    stream.write_all(b"status\n").unwrap();
    let client = server.next_request();
    server.control.answer(client, "{}");
    assert_eq!(rest(stream), "{}\n");
    let there = with_linked_path(&dir, |path| Ok(path.exists())).unwrap();
    assert!(there, "the other way to shorten a path does not lead there");
    drop(server);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_left_over_is_replaced_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    let server = Server::new(dir.path());
    connect(dir.path());
    drop(server);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn who_asks_nobody_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(ask(dir.path(), Request::Status), Err(AskError::State(_))));
    assert!(matches!(ask(&dir.path().join("missing"), Request::Status), Err(AskError::State(_))));
    let state_dir = state::state_dir(dir.path());
    fs::create_dir(&state_dir).unwrap();
    assert!(matches!(ask(dir.path(), Request::Status), Err(AskError::NotRunning(_))));
    drop(std::os::unix::net::UnixListener::bind(state_dir.join(SOCKET)).unwrap());
    assert!(matches!(ask(dir.path(), Request::Status), Err(AskError::NotRunning(_))));
}

#[test]
fn every_request_is_understood_as_it_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path());
    for (text, request) in Request::ALL {
        assert_eq!((request.line(), text.len() < MAX_CONTROL_REQUEST_BYTES), (text, true));
        let mut stream = connect(dir.path());
        stream.write_all(format!("{text}\n").as_bytes()).unwrap();
        let (client, asked) = loop {
            match server.control.poll_request() {
                Some(asked) => break asked,
                None => server.turn(),
            }
        };
        assert_eq!(asked, request);
        server.control.answer(client, "{}");
    }
}
