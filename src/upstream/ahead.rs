//! What of a body is there already when its head is.
//!
//! A body that is broken from its first byte on, and came with its head, fails the exchange: nobody has
//! been told of the head yet. The library decodes a body in a task of its own, and only once it is asked
//! for; so that task is given a few turns. Time is not waited for: what is still on its way comes later.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use futures_util::{FutureExt as _, future};
use tokio::task::yield_now;

use super::{Body, Error};

/// How often the library gets a turn.
const TURNS: usize = 8;

/// Returns the body, of which so much as is there was looked at.
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

/// The body, from its first bytes on.
fn again(first: Bytes, rest: Body) -> Body {
    Box::pin(stream::once(future::ready(Ok(first))).chain(rest))
}
