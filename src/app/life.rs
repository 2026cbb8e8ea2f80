//! The end of the process: which signal began it, and how it ended.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::telemetry::Log;

/// The signals that the process listens to, and the admin port's own.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    others: Vec<(&'static str, Signal)>,
    knocks: mpsc::Receiver<()>,
    door: mpsc::Sender<()>,
}

/// How the process ended; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything under way has ended (0).
    Drained,
    /// The grace was over before that (3). Holds how many guards were still held.
    GraceOver(usize),
    /// A second signal came (4).
    Second(&'static str),
}

/// Signals that mean nothing here, and that would end a process without a handler. Scripts send them to
/// any program, because some programs reopen their log at SIGUSR1 or read their settings at SIGHUP.
/// SIGXFSZ comes with a write over the file size limit. (Rust's runtime ignores SIGPIPE. SIGQUIT and
/// SIGABRT are for an operator that wants the process dead, with a core.)
const OTHERS: [(&str, Number); 6] = [
    ("SIGHUP", Number::HUP),
    ("SIGUSR1", Number::USR1),
    ("SIGUSR2", Number::USR2),
    ("SIGALRM", Number::ALARM),
    ("SIGVTALRM", Number::VTALARM),
    ("SIGXFSZ", Number::XFSZ),
];

impl Signals {
    /// Begins to listen. From here on SIGTERM and SIGINT no longer end the process by themselves,
    /// and those that mean nothing here no longer end it at all.
    pub fn listen() -> std::io::Result<Self> {
        let (door, knocks) = mpsc::channel(1);
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            others: OTHERS.iter().map(listen_to).collect::<Result<_, _>>()?,
            knocks,
            door,
        })
    }

    /// The sender by which the admin port begins the drain.
    pub fn knock(&self) -> mpsc::Sender<()> {
        self.door.clone()
    }

    /// Waits for a signal or a request that begins the drain, and returns its name.
    pub async fn first(&mut self, log: &Log) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.knocks.recv() => return "POST /v1/drain",
                other = poll_fn(|cx| poll_others(&mut self.others, cx)) => means_nothing(other, log),
            }
        }
    }

    /// Waits for a second signal, which ends the process at once.
    pub async fn second(&mut self, log: &Log) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                other = poll_fn(|cx| poll_others(&mut self.others, cx)) => means_nothing(other, log),
            }
        }
    }
}

fn listen_to((name, number): &(&'static str, Number)) -> std::io::Result<(&'static str, Signal)> {
    Ok((name, signal(SignalKind::from_raw(number.as_raw()))?))
}

/// The next of these signals that came.
fn poll_others(others: &mut [(&'static str, Signal)], cx: &mut Context<'_>) -> Poll<&'static str> {
    for (name, signal) in others {
        if signal.poll_recv(cx).is_ready() {
            return Poll::Ready(name);
        }
    }
    Poll::Pending
}

fn means_nothing(signal: &str, log: &Log) {
    match signal {
        "SIGHUP" => log.warn(
            "sighup",
            "SIGHUP does nothing yet: settings are read at the start only; restart to take new ones",
        ),
        // The write that caused it fails, and that error is logged where it happens.
        "SIGXFSZ" => {}
        other => log.warn("signal", format!("{other} means nothing here, and does nothing")),
    }
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
