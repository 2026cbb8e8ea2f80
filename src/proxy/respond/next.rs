//! What a request does next. A room that can't answer it says where it goes on, and the way of a request
//! ([`Proxy::handle`](super::Proxy::handle)) takes it there: no room calls the one that it came from.

use std::sync::Arc;

use http::Response;

use crate::body::Error as BodyError;
use crate::policy::PassReason;
use crate::proxy::lookup::CacheSlot;
use crate::proxy::request::CacheRequest;
use crate::proxy::respond::body::ReplyBody;
use crate::tier::Stored;

/// Where a request goes on.
pub(crate) enum Next {
    /// To its client: this is its answer.
    Answer(Response<ReplyBody>),
    /// To a flight, which it leads or follows. What is stored may be stale, and may be served so.
    Miss(CacheRequest, CacheSlot, Option<Arc<Stored>>),
    /// Upstream, by itself.
    Pass(CacheRequest, Option<CacheSlot>, PassReason),
    /// Elsewhere: the bytes of what it was to be given can't be read.
    Unreadable(CacheRequest, Arc<Stored>, BodyError),
}
