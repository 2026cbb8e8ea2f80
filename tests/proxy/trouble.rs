//! The request that leads does not decide for the others: a failure, an error or an answer that is
//! not to be shared binds its like, and all when a second leader has come to the same.

use crate::support::client::{Asked, RequestFacts};
use crate::support::origin::Seen;
use crate::support::{Answer, Gate, Origin, Proxy, Reply, all};

mod failures;
mod passes;
mod stale;

const HERD: usize = 30;

/// A proxy that believes every client what its address is.
async fn before(origin: &Origin) -> Proxy {
    Proxy::before(origin).server("trusted_proxies = [\"127.0.0.0/8\"]").await
}

/// A request of the client with this number, of a user agent of its own.
fn of(proxy: &Proxy, client: usize) -> RequestFacts {
    from(proxy, client).field("User-Agent", &format!("agent/{client}"))
}

/// A request from the address with this number.
fn from(proxy: &Proxy, client: usize) -> RequestFacts {
    proxy.get("/a").field("X-Forwarded-For", &format!("192.0.2.{client}"))
}

fn evil(proxy: &Proxy) -> RequestFacts {
    of(proxy, 200).field("X-Evil", "1")
}

fn is_evil(seen: &Seen) -> bool {
    !seen.field("x-evil").is_empty()
}

/// An origin that answers `bad` to the evil request, held until the gate opens, and else `good`.
async fn spoilt_by_one(bad: Answer, good: Answer, gate: &Gate) -> Origin {
    let origin = Origin::start().await;
    let gate = gate.clone();
    origin.on_each("/a", move |seen| if is_evil(seen) { bad.clone().held_by(&gate) } else { good.clone() });
    origin
}

/// The evil request leads, and thirty others wait behind it when it is answered.
async fn herd_behind_evil(proxy: &Proxy, origin: &Origin, gate: &Gate) -> (Reply, Vec<Reply>) {
    let (leader, others) = waiting_behind_evil(proxy, origin).await;
    gate.open();
    let others = all(others.into_iter().map(reply)).await;
    (reply(leader).await, others)
}

/// The evil request, which leads, and thirty others, which wait behind it.
async fn waiting_behind_evil(proxy: &Proxy, origin: &Origin) -> (Asked, Vec<Asked>) {
    let leader = evil(proxy).asked().await;
    origin.asked("/a", 1).await;
    let others = all((0..HERD).map(|client| of(proxy, client).asked())).await;
    proxy.until_followers(HERD).await;
    (leader, others)
}

async fn reply(asked: Asked) -> Reply {
    asked.head().await.expect("an answer").rest().await
}
