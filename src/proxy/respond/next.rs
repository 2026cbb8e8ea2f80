//! What a request does next. A room that can't answer it returns where it goes on, and
//! [`Proxy::handle`](super::Proxy::handle) takes it there: no room calls the one that called it.

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
    /// To its client, with this response.
    Answer(Response<ReplyBody>),
    /// To a flight, which it leads or follows. The stored response, if any, is stale and may have to be
    /// served as such.
    Miss(CacheRequest, CacheSlot, Option<Arc<Stored>>),
    /// Upstream, by itself.
    Pass(CacheRequest, Option<CacheSlot>, PassReason),
    /// To another response: the bytes of this stored one can't be read.
    Unreadable(CacheRequest, Arc<Stored>, BodyError),
}
