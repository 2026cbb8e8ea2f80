//! The upstream client against an origin of raw bytes, over real sockets.
//!
//! Time is real here: a socket does not pause. Limits are as short as they may be, and nothing
//! waits by the clock for something that can be waited for by itself.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "upstream/bound.rs"]
mod bound;
#[path = "upstream/fields.rs"]
mod fields;
#[path = "upstream/framing.rs"]
mod framing;
#[path = "upstream/queue.rs"]
mod queue;
#[path = "upstream/retry.rs"]
mod retry;
#[path = "upstream/reuse.rs"]
mod reuse;
#[path = "support/kit.rs"]
mod support;
#[path = "upstream/timeouts.rs"]
mod timeouts;
#[path = "upstream/tls.rs"]
mod tls;

use std::time::Duration;

use bytes::Bytes;
use dustgate::testkit::fixtures::request;
use dustgate::upstream::{Client, Error, Lane, Response, Settings, Upstream as _};
use futures_util::StreamExt as _;
use http::Method;

/// Long enough for a machine under load, short enough for a test.
const SHORT: Duration = Duration::from_millis(120);

fn client(url: &str, change: impl FnOnce(&mut Settings)) -> Client {
    let mut settings = Settings::new(url);
    change(&mut settings);
    Client::new(settings).unwrap()
}

fn plain(url: &str) -> Client {
    client(url, |_| {})
}

async fn get(client: &Client, target: &str) -> Result<Response, Error> {
    client.send(request(Method::GET, target)).await
}

/// All that came before the end or the break, and the break.
async fn read(response: Response) -> (String, Option<Error>) {
    let mut body = response.body;
    let mut all = Vec::new();
    let mut broke = None;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(error) => {
                broke = Some(error);
                assert!(body.next().await.is_none(), "nothing comes after a break");
                break;
            }
        }
    }
    (String::from_utf8(all).unwrap(), broke)
}

/// Lets tasks that are ready run: a connection goes back to the pool in one.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn pieces(list: &[&'static str]) -> dustgate::upstream::Body {
    let list: Vec<Result<Bytes, Error>> =
        list.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
    Box::pin(futures_util::stream::iter(list))
}
