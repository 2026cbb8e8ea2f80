//! Purges and invalidation. Both only write stamps (F8).

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::dust::{Error, Number, within};
use crate::key::target::{self, Refusal};
use crate::proxy::purge::invalidate::Called;
use crate::proxy::state::Proxy;
use crate::telemetry::labels;
use crate::tier::stamps::life::{OPERATOR, stamp_life};
use crate::tier::stamps::{Force, Scope};

pub(crate) mod invalidate;
pub(crate) mod owed;

/// How long, in call bounds, a stamp write that the caller gave up may still end and be applied here at once.
/// It is not unlimited, because no other stamp of its URL is written meanwhile; a stamp that lands later is
/// heard of from the store.
const LATE: u32 = 5;

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One URL, in all its variants, and whatever else its key consists of.
    Url(String),
    /// Everything.
    All,
}

/// A purge that every instance in `confirmed` has applied. An instance in `silent` serves from its memory no
/// longer than its trust lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// The stamp's number.
    pub number: Number,
    /// Instances that have applied it.
    pub confirmed: Vec<String>,
    /// Instances that did not confirm in time.
    pub silent: Vec<String>,
    /// How long it took, in ms.
    pub ms: u64,
}

/// Why nothing was purged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PurgeError {
    /// No request can have this URL.
    #[error("not a URL that a request could ask for: {}", .0)]
    Url(Refusal),
    /// The store did not take the stamp, or did not say which instances there are: the purge can't be
    /// promised.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Purges. When this returns, no request that comes later is answered with what the purge covers, on this
/// instance or any that confirmed.
pub(crate) async fn purge(proxy: &Proxy, what: &Purge, soft: bool) -> Result<Purged, PurgeError> {
    let began = Instant::now();
    let force = if soft { Force::Soft } else { Force::Hard };
    let (of, line, kind) = match what {
        Purge::All => (None, None, labels::Purge::All),
        Purge::Url(url) => {
            let text = text_of_url(proxy, url).map_err(PurgeError::Url)?;
            let line = text.lines().next().unwrap_or_default().to_owned();
            (Some(Called::of(&text)), Some(line), labels::Purge::Url)
        }
    };
    let number = write_purge(proxy, of, force).await?;
    let (confirmed, silent) = match &proxy.member {
        None => (vec![proxy.settings.instance.to_string()], Vec::new()),
        Some(member) => {
            let all = member.confirmed(number).await?;
            (all.confirmed, all.silent)
        }
    };
    let ms = crate::clock::millis(began.elapsed());
    proxy.observer.purged(kind, soft, number, line.as_deref(), began.elapsed());
    Ok(Purged { number, confirmed, silent, ms })
}

/// Writes the stamp of a purge. The caller waits no longer than for any call of a shared store; if the stamp
/// lands a moment later, it is applied here all the same.
async fn write_purge(proxy: &Proxy, of: Option<Called>, force: Force) -> Result<Number, Error> {
    let (scope, lives) = match &of {
        None => (Scope::All, proxy.settings.max_life),
        Some(called) => (Scope::Url(called.url), purge_lives(proxy, called).await),
    };
    if proxy.member.is_none() {
        return proxy.stamps.write(&*proxy.dust, scope, force, lives, true).await;
    }
    let (stamps, dust) = (proxy.stamps.clone(), proxy.dust.clone());
    let late = proxy.flight.settings().call_bound * LATE;
    let write =
        tokio::spawn(async move { within(late, stamps.write(&*dust, scope, force, lives, true)).await });
    let broken = |error: tokio::task::JoinError| Error::Broken(error.to_string());
    proxy.flight.bounded(async { write.await.map_err(broken)? }).await
}

/// How long the stamp of an operator's purge lives: at least a day, and as long as any record may if the
/// store does not say what it covers.
async fn purge_lives(proxy: &Proxy, of: &Called) -> Duration {
    let (now, max_life) = (proxy.now_ms(), proxy.settings.max_life);
    match invalidate::look_for(proxy, of).await {
        Ok(ends) => stamp_life(ends, now, max_life).max(OPERATOR),
        Err(_) => max_life,
    }
}

/// The text of the key that a URL has without request fields, by the rules of its route.
fn text_of_url(proxy: &Proxy, url: &str) -> Result<String, Refusal> {
    let target = target::canonical_url(url)?;
    let found = proxy.routes.route(&target, &http::Method::GET);
    let Ok(route) = found else { return Ok(target.to_string()) };
    let mut text = String::new();
    route.key_into(&mut text, &target, &HeaderMap::new());
    Ok(text)
}
