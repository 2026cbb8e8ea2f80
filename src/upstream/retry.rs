//! One retry, for a connection that closes while a request goes out on it.
//!
//! An origin may close an idle connection in the moment in which a request goes out on it. Then nothing comes
//! back, and it is unknown whether the origin saw the request. Sent again on a fresh connection, it is
//! answered. There is a retry only if the connection is not known to be fresh: a fresh one that closes says
//! something about the origin, and where that is unknown, a second try does no harm. Only a request that may
//! be repeated and can be is sent again (RFC 9110 §9.2.2), and only once: the second try makes its own
//! connection, so its failure is a real one. A timeout is not retried: the origin works on the request, and
//! another would double the work.
//!
//! One case cannot be told apart with reqwest: a connection that closes within the head of the
//! response fails in the same words as one that closes before it. It is retried too.

use http::Method;

use super::probe::ConnectionProbe;
use super::{Error, ErrorKind};

/// Returns whether a request may be sent a second time at all.
pub(super) fn repeatable(method: &Method, has_body: bool) -> bool {
    !has_body && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns whether a second try may succeed after this failure of the first.
pub(super) fn mends(error: &Error, probe: &ConnectionProbe) -> bool {
    error.kind == ErrorKind::Reset && !probe.fresh()
}
