//! What commands print. All of it goes this way, since much of it was written by others: URLs, tags, fields, the
//! errors of an origin, the text of a store.

use std::fmt::Display;
use std::io::Write as _;

use crate::telemetry::printable;

/// A line, or lines.
pub(super) fn line(text: impl Display) {
    // A reader that has had enough is gone: `dustgate ls | head`.
    let _ = writeln!(std::io::stdout(), "{}", printable(&text.to_string()));
}

/// Lines that end with a line break.
pub(super) fn lines(text: impl Display) {
    let _ = write!(std::io::stdout(), "{}", printable(&text.to_string()));
}

/// Replaces the line of a terminal that shows how far a command has come; an empty one takes it away.
pub(super) fn progress(text: impl Display) {
    let mut terminal = std::io::stderr();
    // A terminal that takes no more has nobody before it.
    let _ = write!(terminal, "\r\x1b[K{}", printable(&text.to_string()));
    let _ = terminal.flush();
}

/// A line beside the result.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{}", printable(&text.to_string()));
}
