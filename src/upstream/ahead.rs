//! Looks at the bytes of a body that arrived together with its head.
//!
//! A body that is broken from its first byte on, and arrived with its head, fails the exchange: the head was
//! not passed on yet. The library decodes a body in a task of its own, and only once it is read, so that task
//! is given a few turns. There is no timed wait: bytes that are still on their way are read later.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use futures_util::{FutureExt as _, future};
use tokio::task::yield_now;

use super::{Body, Error};

/// How often the library's task gets a turn.
const TURNS: usize = 8;

/// Returns the body, after a look at the bytes that are there.
///
/// # Errors
/// The body broke off before its first byte.
pub(super) async fn look(mut body: Body) -> Result<Body, Error> {
    for _ in 0..TURNS {
        match body.next().now_or_never() {
            Some(Some(first)) => return Ok(again(first?, body)),
            Some(None) => return Ok(Box::pin(stream::empty())),
            None => yield_now().await,
        }
    }
    Ok(body)
}

/// Puts the first bytes back in front of the rest.
fn again(first: Bytes, rest: Body) -> Body {
    Box::pin(stream::once(future::ready(Ok(first))).chain(rest))
}
