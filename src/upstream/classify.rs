//! Maps the errors of the client library to an [`ErrorKind`].

use std::error::Error as StdError;
use std::io;

use super::probe::ConnectionProbe;
use super::{Error, ErrorKind};

/// A failure before the head.
pub(super) fn head(error: &reqwest::Error, probe: &ConnectionProbe) -> Error {
    let kind = if let Some(broke) = probe.broke() {
        return broke;
    } else if error.is_connect() {
        connect_kind(error)
    } else {
        head_kind(error)
    };
    let mut detail = detail(error);
    if kind == ErrorKind::Tls {
        detail += tls_remedy(&detail);
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse_too_large) {
        // The library does not say which of the two.
        detail += ": more fields than server.max_fields, or a longer head than is read";
    }
    Error { kind, detail }
}

/// A failure after the head.
pub(super) fn body(error: &reqwest::Error, probe: &ConnectionProbe) -> Error {
    if let Some(broke) = probe.broke() {
        return broke;
    }
    // hyper's chunk decoder reports these two kinds if what comes is not a chunk.
    let kind = match io_kind(error) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => ErrorKind::Protocol,
        _ => ErrorKind::Truncated,
    };
    Error { kind, detail: detail(error) }
}

/// The chain of causes, without the URL: it may hold what clients sent.
pub(super) fn detail(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let word = error.to_string();
        if words.last() != Some(&word) {
            words.push(word);
        }
        cause = error.source();
    }
    if words.is_empty() { "refused by the client library".to_owned() } else { words.join(": ") }
}

/// What an operator does about a handshake that failed, if the library's words tell. They may change: then this
/// is left out.
fn tls_remedy(detail: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    if has(&["UnknownIssuer", "BadSignature", "CaUsedAsEndEntity"]) {
        ": no authority that is trusted has issued it; tls.ca names the file with the one that has"
    } else if has(&["not valid for name", "NotValidForName"]) {
        ": tls.server_name says which name the origin proves, if it is not that of its url"
    } else if has(&["certificate expired", "Expired"]) {
        ": the origin's certificate is to be renewed"
    } else if has(&["InvalidContentType"]) {
        ": no TLS is spoken there; the upstream's url may be meant with http://"
    } else {
        ""
    }
}

fn connect_kind(error: &reqwest::Error) -> ErrorKind {
    if error.is_timeout() {
        return ErrorKind::ConnectTimeout;
    }
    if io_error(error).is_some_and(is_ours) {
        return ErrorKind::Local;
    }
    match io_kind(error) {
        Some(io::ErrorKind::TimedOut) => ErrorKind::ConnectTimeout,
        // TCP fails as refused or unreachable. Only a TLS handshake is cut off, or reports a bad message as
        // invalid data.
        Some(
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe,
        ) => ErrorKind::Tls,
        _ => ErrorKind::Connect,
    }
}

fn head_kind(error: &reqwest::Error) -> ErrorKind {
    if error.is_builder() {
        return ErrorKind::Protocol;
    }
    if let Some(hyper) = find::<hyper::Error>(error) {
        if hyper.is_body_write_aborted() {
            return ErrorKind::RequestBody;
        }
        if hyper.is_parse() {
            return ErrorKind::Protocol;
        }
    }
    match io_kind(error) {
        // An alert after the handshake: a client certificate is refused only then (TLS 1.3).
        Some(io::ErrorKind::InvalidData) => ErrorKind::Tls,
        _ => ErrorKind::Reset,
    }
}

/// Returns whether this machine, and not the way to the origin, is short of something: descriptors of the
/// process or the system, ports, buffers, memory.
pub(super) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}

/// The kind of the innermost I/O error.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    io_error(error).map(io::Error::kind)
}

/// The innermost I/O error.
fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    let mut found = None;
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some(innermost(io));
        }
        cause = error.source();
    }
    found
}

/// Unwraps nested I/O errors: `source()` skips an I/O error that is wrapped in another.
fn innermost(mut error: &io::Error) -> &io::Error {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        error = inner;
    }
    error
}

pub(super) fn find<T: StdError + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_network_says() {
        use rustix::io::Errno;
        let is_ours = |errno: Errno| is_ours(&errno.into());
        assert!(
            [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS]
                .map(is_ours)
                .iter()
                .all(|is| *is)
        );
        assert!(![Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::TIMEDOUT].map(is_ours).iter().any(|is| *is));
    }
}
