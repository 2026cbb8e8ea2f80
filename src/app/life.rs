//! How a process comes to its end: which signal began it, and how it went.

use std::fmt;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::telemetry::Log;

/// The signals that the process listens to, and the admin port's own.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    knocks: mpsc::Receiver<()>,
    door: mpsc::Sender<()>,
}

/// How the process ended; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything under way has ended (0).
    Drained,
    /// The grace was over before that (3): so many were cut off.
    GraceOver(usize),
    /// A second signal came (4).
    Second(&'static str),
}

impl Signals {
    /// Begins to listen. From here on SIGTERM and SIGINT no longer end the process by themselves.
    pub fn listen() -> std::io::Result<Self> {
        let (door, knocks) = mpsc::channel(1);
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            knocks,
            door,
        })
    }

    /// What the admin port uses to begin the drain.
    pub fn knock(&self) -> mpsc::Sender<()> {
        self.door.clone()
    }

    /// Waits for whatever begins the drain.
    pub async fn first(&mut self, log: &Log) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.knocks.recv() => return "POST /v1/drain",
                _ = self.hup.recv() => no_reload(log),
            }
        }
    }

    /// Waits for a second signal, which ends the process at once.
    pub async fn second(&mut self, log: &Log) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.hup.recv() => no_reload(log),
            }
        }
    }
}

fn no_reload(log: &Log) {
    log.warn("sighup", "SIGHUP does nothing yet: settings are read at the start only");
}

impl Exit {
    /// The exit code of `dustgate serve`.
    pub fn code(self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::GraceOver(_) => 3,
            Self::Second(_) => 4,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("everything under way has ended"),
            Self::GraceOver(left) => write!(f, "the grace period is over, {left} under way were cut off"),
            Self::Second(signal) => write!(f, "a second {signal} came"),
        }
    }
}
