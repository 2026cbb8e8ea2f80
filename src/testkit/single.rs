//! The whole single flight for a value that is one JSON text: the seed's contract, S1–S18.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::dust::{Entry, Error, Number};
use crate::flight::{
    Entered, Flight, Found, Judge, Judged, Names, Product, Published, Standing, Uncoordinated,
};

/// How [`run`] treats a value.
#[derive(Clone)]
pub struct Options {
    /// Returns whether a value is fresh, by its own timestamps, so that all instances agree (*freshness
    /// mode*). Without it any value is final (*presence mode*, S15).
    pub fresh: Option<Fresh>,
    /// How long to wait for another instance's fill (S11).
    pub wait_timeout: Duration,
    /// The lock key, if not `_dust:sf/<key>`.
    pub lock_key: Option<Arc<str>>,
}

/// A freshness rule.
pub type Fresh = Arc<dyn Fn(&Json) -> bool + Send + Sync>;

/// The outcome of a fill's work (S4).
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A result to be shared.
    Publish(Json),
    /// A failure that must not be remembered, with its reason (S6).
    Abort(String),
}

/// What [`run`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Flown {
    /// The value; the same shape whatever its source (S16).
    pub value: Json,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is the last known value, returned because the deadline passed (S13).
    pub stale: bool,
    /// Whether it was coordinated by the store (S14).
    pub coordinated: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was stored already (S1).
    Cached,
    /// The work was done here (S4).
    Computed,
    /// Another instance did it meanwhile (S9).
    Awaited,
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The work was aborted, for this reason (S6).
    #[error("aborted: {0}")]
    Aborted(String),
    /// The lease was lost during the run; a newer holder owns the result (S5).
    #[error("fenced: the lease was lost on the way")]
    Fenced,
    /// The store cannot coordinate, and that is an error here (S14).
    #[error("unavailable: {}", .0.as_str())]
    Unavailable(Uncoordinated),
    /// The deadline passed (S13).
    #[error("timed out waiting for another's result")]
    TimedOut,
    /// The result could not be published (S5).
    #[error(transparent)]
    Store(#[from] Error),
}

/// Runs `work` for `key` under coordination, or returns the result of another instance's run. `work` is
/// given the fence, or `None` when it runs uncoordinated. It must be idempotent: it runs at least once.
///
/// Cancel safe: dropped while it fills, it releases the lease; while it waits, it withdraws.
pub async fn run<F, R>(flight: &Arc<Flight>, key: &str, options: &Options, work: F) -> Result<Flown, RunError>
where
    F: FnOnce(Option<Number>) -> R + Send,
    R: Future<Output = Work> + Send,
{
    let mut names = Names::of(key);
    if let Some(lock) = &options.lock_key {
        names.lock = Arc::clone(lock);
    }
    let deadline = Instant::now() + options.wait_timeout;
    let plain = |value, source| Flown { value, source, stale: false, coordinated: true };
    let fill = match flight.enter(&names, deadline, 0, options).await {
        Entered::Cached(value) => return Ok(plain(value, Source::Cached)),
        Entered::Awaited(value) => return Ok(plain(value, Source::Awaited)),
        Entered::TimedOut(Some(value)) => return Ok(Flown { stale: true, ..plain(value, Source::Cached) }),
        Entered::TimedOut(None) => return Err(RunError::TimedOut),
        Entered::Unavailable(why) => return Err(RunError::Unavailable(why)),
        Entered::Won(fill) | Entered::Alone(fill) => fill,
    };
    let coordinated = fill.coordinated();
    match work(fill.lease().map(|lease| lease.token)).await {
        Work::Abort(reason) => {
            fill.abort(None).await;
            Err(RunError::Aborted(reason))
        }
        Work::Publish(value) => {
            match fill.publish(Product::new(value.to_string(), None), || Standing::Live).await {
                Published::Computed(_) | Published::Covered | Published::Offered => {
                    Ok(Flown { coordinated, ..plain(value, Source::Computed) })
                }
                Published::Fenced => Err(RunError::Fenced),
                Published::Failed(error) => Err(RunError::Store(error)),
            }
        }
    }
}

// === impl Options ===

impl Options {
    /// Presence mode. It waits for the lease's time to live and five seconds.
    pub fn new(flight: &Flight) -> Self {
        Self {
            fresh: None,
            wait_timeout: flight.settings().lease_ttl + Duration::from_secs(5),
            lock_key: None,
        }
    }

    /// Freshness mode.
    #[must_use]
    pub fn fresh(self, fresh: impl Fn(&Json) -> bool + Send + Sync + 'static) -> Self {
        Self { fresh: Some(Arc::new(fresh)), ..self }
    }
}

impl Judge for Options {
    type Found = Json;

    fn judge(&self, found: &Found, _: Option<Number>) -> Judged<Json> {
        match found.value.as_ref().and_then(decode) {
            Some(json) if self.fresh.as_ref().is_none_or(|fresh| fresh(&json)) => Judged::Found(json),
            Some(_) | None => Judged::Absent,
        }
    }

    fn stale(&self, value: Option<&Entry>) -> Option<Json> {
        self.fresh.as_ref().and_then(|_| value.and_then(decode))
    }
}

impl Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("freshness", &self.fresh.is_some())
            .field("wait_timeout", &self.wait_timeout)
            .field("lock_key", &self.lock_key)
            .finish()
    }
}

/// Decodes a value: one scalar leaf of JSON text. Text that is not JSON counts as absent.
fn decode(entry: &Entry) -> Option<Json> {
    entry.text().and_then(|text| serde_json::from_str(text).ok())
}

// === impl Source ===

impl Source {
    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Computed => "computed",
            Self::Awaited => "awaited",
        }
    }
}
