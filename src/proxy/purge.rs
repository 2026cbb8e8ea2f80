//! Purges and invalidation. Both only write stamps (F8).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use crate::clock::millis;
use crate::dust::{Error, Number, within};
use crate::key::target::Refusal;
use crate::proxy::purge::invalidate::Called;
use crate::proxy::purge::order::Stamping;
use crate::proxy::state::Proxy;
use crate::tier::stamps::life::{OPERATOR, stamp_life};
use crate::tier::stamps::{Force, Scope};

mod groups;
pub(crate) mod invalidate;
pub(crate) mod listing;
mod matched;
mod numbers;
pub(crate) mod order;
pub(crate) mod owed;

pub use crate::key::purge::{MOST, Purge};
pub use listing::Wanted;
pub use matched::Matched;
pub use order::Order;

/// How long, in call bounds, a stamp write that the caller gave up may still end and be applied here at once.
/// It is not unlimited, because no other stamp of its URL is written meanwhile; a stamp that lands later is
/// heard of from the store.
const LATE: u32 = 5;
/// How many stamps are written at a time.
const AT_A_TIME: usize = 16;

/// A purge that every instance in `confirmed` has applied. An instance in `silent` serves from its memory no
/// longer than its trust lasts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purged {
    /// The highest number of its stamps; 0 if nothing was to be purged yet.
    pub number: Number,
    /// Instances that have applied it.
    pub confirmed: Vec<String>,
    /// Instances that did not confirm in time.
    pub silent: Vec<String>,
    /// How many records in this instance's memory it covers.
    pub matched: Matched,
    /// Whether it covers more than was named, because there was no room for so many stamps.
    pub coarsened: bool,
    /// How long it took, in ms.
    pub ms: u64,
}

/// Why nothing was purged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PurgeError {
    /// No request can have this URL.
    #[error("not a URL that a request could ask for: {}", .0)]
    Url(Refusal),
    /// Nothing can be meant by it.
    #[error("{0}")]
    Wrong(String),
    /// The store did not take the stamp, or did not say which instances there are: the purge can't be
    /// promised.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Purges one thing, as [`carry_out`] does.
pub(crate) async fn purge(proxy: &Proxy, what: &Purge, soft: bool) -> Result<Purged, PurgeError> {
    carry_out(proxy, &Order { what: vec![what.clone()], soft, ..Order::default() }).await
}

/// As [`carry_out`], in a task of its own: a purge that was begun is carried out and logged, whether or not its
/// client waits. The end of the process waits for it.
pub(crate) async fn to_the_end(proxy: &Arc<Proxy>, order: &Order) -> Result<Purged, PurgeError> {
    let (proxy, order) = (Arc::clone(proxy), order.clone());
    let task = tokio::spawn(async move {
        let _guard = proxy.drain.guard();
        carry_out(&proxy, &order).await
    });
    match task.await {
        Ok(purged) => purged,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(PurgeError::Store(Error::Unavailable("the process ends".into()))),
        },
    }
}

/// Purges. When this returns, no request that comes later is answered with what the purge covers, on this
/// instance or any that confirmed. If the store fails on the way, some of it may be purged already.
pub(crate) async fn carry_out(proxy: &Proxy, order: &Order) -> Result<Purged, PurgeError> {
    let began = Instant::now();
    let stampings = order.stampings(proxy)?;
    if order.dry_run {
        let full = || PurgeError::Store(Error::Unavailable("there is no room for its stamps".into()));
        let scopes = stampings.iter().map(|stamping| stamping.scope(proxy).ok_or_else(full));
        let scopes = scopes.collect::<Result<Vec<Scope>, _>>()?;
        let coarsened = stampings.iter().zip(&scopes).any(|(stamping, scope)| stamping.wanted() != *scope);
        let matched = matched::matched(proxy, &scopes).await;
        return Ok(Purged { matched, coarsened, ms: millis(began.elapsed()), ..Purged::default() });
    }
    let force = if order.soft { Force::Soft } else { Force::Hard };
    let writes = stampings.iter().cloned().map(|stamping| {
        let wanted = stamping.wanted();
        let write = write_stamp(proxy, stamping, force);
        async move { write.await.map(|(number, scope)| (number, scope, scope != wanted)) }
    });
    let mut written = stream::iter(writes).buffer_unordered(AT_A_TIME);
    let (mut number, mut scopes, mut coarsened) = (0, Vec::with_capacity(stampings.len()), false);
    let broken_off = |count, error: Error| {
        proxy.observer.half_purged(&order.audit(), count, &error);
        PurgeError::Store(error)
    };
    while let Some(one) = written.next().await {
        let (of, scope, coarser) = one.map_err(|error| broken_off(scopes.len(), error))?;
        (number, coarsened) = (of.max(number), coarsened | coarser);
        scopes.push(scope);
    }
    drop(written);
    let confirmed = async {
        match &proxy.member {
            None => Ok((vec![proxy.settings.instance.to_string()], Vec::new())),
            Some(member) => member.confirmed(number).await.map(|all| (all.confirmed, all.silent)),
        }
    };
    let (confirmed, matched) = join(confirmed, matched::matched(proxy, &scopes)).await;
    let (confirmed, silent) = confirmed.map_err(|error| broken_off(scopes.len(), error))?;
    proxy.observer.purged(&order.audit(), number, coarsened, began.elapsed());
    Ok(Purged { number, confirmed, silent, matched, coarsened, ms: millis(began.elapsed()) })
}

/// Writes one stamp. Returns its number, and what it covers. The caller waits no longer than for any call of a shared store; if the stamp lands a
/// moment later, it is applied here all the same.
async fn write_stamp(proxy: &Proxy, stamping: Stamping, force: Force) -> Result<(Number, Scope), Error> {
    let lives = match &stamping {
        Stamping::Url(called) => purge_lives(proxy, called).await,
        Stamping::Area(_) | Stamping::Tag(_) | Stamping::All => proxy.settings.max_life,
    };
    let (stamps, dust) = (proxy.stamps.clone(), proxy.dust.clone());
    let write = async move {
        match stamping {
            Stamping::Area(area) => stamps.write_area(&*dust, area, force).await,
            Stamping::Tag(name) => stamps.write_tag(&*dust, name, force).await,
            Stamping::Url(_) | Stamping::All => {
                let scope = stamping.wanted();
                let number = stamps.write(&*dust, scope, force, lives, true).await?;
                Ok((number, scope))
            }
        }
    };
    if proxy.member.is_none() {
        return write.await;
    }
    let late = proxy.flight.settings().call_bound * LATE;
    let write = tokio::spawn(within(late, write));
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
