//! Failures before the head, and whether the request may be sent again after them.

use std::error::Error as StdError;
use std::io;

use h2::Reason;

use super::super::probe::ConnectionProbe;
use super::super::{Error, ErrorKind, classify};

/// A failure before the head.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Error,
    pub(super) again: Again,
}

/// Whether a request is sent a second time after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The origin may have processed it, or a second try would fail as well.
    Never,
    /// If it may be repeated: the connection had answered before, and closed without a word.
    Repeatable,
    /// The origin did not process it.
    Always,
}

// === impl Trouble ===

impl Trouble {
    /// A failure without a second try.
    pub(super) fn last(error: Error) -> Self {
        Self { error, again: Again::Never }
    }
}

/// A failure between the sending and the head. `used`: the connection had answered before.
pub(super) fn head(error: &h2::Error, probe: &ConnectionProbe, used: bool) -> Trouble {
    if let Some(broke) = probe.broke() {
        return Trouble::last(broke);
    }
    let io = error.get_io().map(io::Error::kind);
    let kind = match io {
        // An alert after the handshake: a client certificate is refused only then (TLS 1.3).
        Some(io::ErrorKind::InvalidData) => ErrorKind::Tls,
        None if !error.is_remote() => ErrorKind::Protocol,
        _ => ErrorKind::Reset,
    };
    // GOAWAY fails only the streams above its last one; those below go on.
    let untouched =
        error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    let again = if untouched {
        Again::Always
    } else if kind == ErrorKind::Reset && io.is_some() && used {
        Again::Repeatable
    } else {
        Again::Never
    };
    Trouble { error: Error { kind, detail: error.to_string() }, again }
}

/// A failure before anything was sent: the connection has ended, or is about to.
pub(super) fn unsent(error: &h2::Error, probe: &ConnectionProbe) -> Trouble {
    let trouble = head(error, probe, true);
    let ended = error.is_io() || error.is_go_away();
    Trouble { again: if ended { Again::Always } else { trouble.again }, ..trouble }
}

/// A failure to make a connection.
pub(super) fn connect(error: &(dyn StdError + 'static)) -> Error {
    let mut words: Vec<String> = Vec::new();
    let mut cause = Some(error);
    let mut found = None;
    while let Some(error) = cause {
        let word = error.to_string();
        if words.last() != Some(&word) {
            words.push(word);
        }
        found = error.downcast_ref::<io::Error>().or(found);
        cause = error.source();
    }
    let kind = match found {
        Some(error) if classify::is_ours(error) => ErrorKind::Local,
        Some(error) if error.kind() == io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
        _ => ErrorKind::Connect,
    };
    Error { kind, detail: words.join(": ") }
}
