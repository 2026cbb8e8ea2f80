//! One retry, for the one failure that is nobody's fault.
//!
//! An origin may close an idle connection in the moment in which a request goes out on it. Then
//! nothing came back, and whether the request was seen cannot be known; sent again on a fresh
//! connection it is answered. This holds only for a connection that is not known to be fresh (a fresh
//! one that closes says something about the origin; where nobody knows, a second try does no harm), only for what may be repeated and can be
//! (RFC 9110 §9.2.2), and only once: the second try makes its own connection, so its failure is
//! a real one. A timeout is not such a failure: the origin has work with the request, and another
//! would double it.
//!
//! One case cannot be told apart with reqwest: a connection that closes within the head of the
//! response fails in the same words as one that closes before it. It is retried too.

use http::Method;

use super::probe::Probe;
use super::{Error, ErrorKind};

/// Whether a request may be sent a second time at all.
pub(super) fn repeatable(method: &Method, has_body: bool) -> bool {
    !has_body && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether this failure of the first try is one that a second mends.
pub(super) fn mends(error: &Error, probe: &Probe) -> bool {
    error.kind == ErrorKind::Reset && !probe.fresh()
}
