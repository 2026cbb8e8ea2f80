//! Warms URLs: a few at a time, each again while others come first, until all have ended or nobody wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::admin::{WarmRequest, Warming};
use crate::app::App;
use crate::clock::{Dice, millis};
use crate::drain::Guard;
use crate::key::target;
use crate::proxy::{Proxy, WarmEnd, Warmed};

/// How many lists are warmed at a time on an instance.
pub(super) const LISTS: usize = 4;
/// An upstream's places are divided by this: so many are asked for at a time for all that is warmed.
const SHARE: usize = 4;
/// How long a URL is tried while others come first.
const PATIENCE: Duration = Duration::from_mins(2);
/// The pause before it is tried again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The places of each upstream for what is warmed, by name.
pub(super) type Places = BTreeMap<Arc<str>, Arc<Semaphore>>;

/// The ends so far.
#[derive(Default)]
struct Ends(Mutex<BTreeMap<&'static str, usize>>);

/// What the requests of a list share.
struct List {
    proxy: Arc<Proxy>,
    fields: HeaderMap,
    places: Arc<Places>,
    dice: Dice,
    ends: Ends,
    total: usize,
}

/// Warms a list. `turn` is held until its end; the drain ends it early.
pub(super) fn warm(
    app: &App,
    places: &Arc<Places>,
    request: WarmRequest,
    turn: OwnedSemaphorePermit,
    drain: Guard,
) -> Warming {
    let WarmRequest { urls, fields, at_a_time } = request;
    let list = Arc::new(List {
        proxy: app.node.proxy.clone(),
        fields,
        places: Arc::clone(places),
        dice: Dice::new(),
        ends: Ends::default(),
        total: urls.len(),
    });
    let each = list.clone();
    let asked = stream::iter(urls).map(move |url| {
        let list = each.clone();
        async move { list.warm(url).await }
    });
    let until = async move { drain.draining().await };
    let lines = asked.buffer_unordered(at_a_time).take_until(Box::pin(until));
    let summary = stream::once(async move {
        drop(turn);
        list.summary()
    });
    lines.chain(summary).boxed()
}

/// A share of what each upstream takes at a time, here or in the whole fleet, and at least one: for all lists.
pub(super) fn places(app: &App) -> Places {
    let origins = app.settings.origins();
    let names = app.node.proxy.routes().iter().map(|route| route.upstream.clone());
    names
        .map(|name| {
            let most = origins.get(&*name).map_or(1, |origin| {
                let fleet = origin.max_concurrent_fleet.unwrap_or(usize::MAX);
                origin.max_concurrent.min(fleet)
            });
            let share = (most / SHARE).clamp(1, Semaphore::MAX_PERMITS);
            (name, Arc::new(Semaphore::new(share)))
        })
        .collect()
}

// === impl List ===

impl List {
    async fn warm(&self, url: String) -> Value {
        let began = Instant::now();
        let (mut tries, mut pause) = (0, PAUSES.0);
        let warmed = loop {
            tries += 1;
            let warmed = self.once(&url).await;
            if warmed.end != WarmEnd::Busy || began.elapsed() >= PATIENCE {
                break warmed;
            }
            sleep(pause / 2 + self.dice.up_to(pause / 2)).await;
            pause = (pause * 2).min(PAUSES.1);
        };
        self.ends.note(warmed.end);
        json!({
            "url": url, "end": warmed.end.as_str(), "status": warmed.status, "bytes": warmed.bytes,
            "ms": millis(began.elapsed()), "tries": tries,
        })
    }

    async fn once(&self, url: &str) -> Warmed {
        let route = target::canonical_url(url).ok().and_then(|target| self.proxy.route_of(&target));
        let place = route.and_then(|route| self.places.get(&route.upstream));
        // It is never closed.
        let _place = match place {
            Some(place) => place.acquire().await.ok(),
            None => None,
        };
        self.proxy.warm(url, &self.fields).await
    }

    fn summary(&self) -> Value {
        let ends = self.ends.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done: usize = ends.values().sum();
        let mut told = json!({ "total": self.total, "done": done });
        for end in WarmEnd::ALL {
            told[end.as_str()] = ends.get(end.as_str()).copied().unwrap_or(0).into();
        }
        told
    }
}

// === impl Ends ===

impl Ends {
    fn note(&self, end: WarmEnd) {
        // One addition changes it: a panic elsewhere broke nothing.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(end.as_str()).or_default() += 1;
    }
}
