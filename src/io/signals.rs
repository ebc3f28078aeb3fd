//! SIGTERM and SIGINT, as something to poll. SIGXFSZ, so that a file beyond the process' limit is an error and no end.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

/// The signals that ask to stop.
pub struct Signals {
    source: signal_hook_mio::v1_0::Signals,
    stop: bool,
}

impl Signals {
    /// Takes the signals over from the system's default, which would end the process at once.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut source = signal_hook_mio::v1_0::Signals::new([SIGTERM, SIGINT, SIGXFSZ])?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Self { source, stop: false })
    }

    /// Some came.
    pub fn handle_ready(&mut self) {
        self.stop |= self.source.pending().any(|signal| signal != SIGXFSZ);
    }

    /// Has one of them asked to stop?
    pub fn stop_asked(&self) -> bool {
        self.stop
    }
}
