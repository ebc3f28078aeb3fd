//! SIGTERM, SIGINT and SIGHUP, as something to poll. SIGXFSZ, so that a file beyond the process'
//! limit is an error and no end.

use std::io::{self, IsTerminal};

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// The signals that ask for something.
pub struct Signals {
    source: signal_hook_mio::v1_0::Signals,
    /// SIGHUP comes from the terminal that the node was started in, which is gone by then.
    on_terminal: bool,
    stop: bool,
    hangup: bool,
}

impl Signals {
    /// Takes the signals over from the system's default, which would end the process at once.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut source = signal_hook_mio::v1_0::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Self { source, on_terminal: io::stderr().is_terminal(), stop: false, hangup: false })
    }

    /// Some came.
    pub fn handle_ready(&mut self) {
        for signal in self.source.pending() {
            match signal {
                SIGXFSZ => {}
                SIGHUP if !self.on_terminal => self.hangup = true,
                _ => self.stop = true,
            }
        }
    }

    /// Has one of them asked to stop?
    pub fn stop_asked(&self) -> bool {
        self.stop
    }

    /// Has one of them asked for a new log file? Told once.
    pub fn take_hangup(&mut self) -> bool {
        std::mem::take(&mut self.hangup)
    }
}
