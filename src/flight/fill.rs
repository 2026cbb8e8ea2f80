//! The right to fill a key, from winning it to spending it (S3–S7, S14).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::dust::{Entry, Lease, Number, Put, Written};

use super::handback::Pending;
use super::heartbeat::{Heartbeat, Lost};
use super::lease::Asked;
use super::{Flight, Names, Noted, Published, Standing, Uncoordinated};

/// The right to fill one key: a lease with its heartbeat, or, when the store cannot coordinate,
/// leave to go on without. Every ending takes it by value, so it ends once:
///
/// ```compile_fail,E0382
/// # use dustgate::flight::{Fill, Standing};
/// async fn twice(fill: Fill) {
///     let _ = fill.publish("{}", None, || Standing::Live).await;
///     let _ = fill.publish("{}", None, || Standing::Live).await;
/// }
/// ```
///
/// ```compile_fail,E0382
/// # use dustgate::flight::{Fill, Standing};
/// async fn after_aborting(fill: Fill) {
///     fill.abort(None).await;
///     let _ = fill.publish("{}", None, || Standing::Live).await;
/// }
/// ```
///
/// Dropped without an ending it hands on: the heartbeat stops and the lease is given back in the
/// background, so that others re-elect at once. Dropped by a panic it gives nothing back: the
/// lease runs out (S7). Outside a tokio runtime the lease runs out too.
#[derive(Debug)]
#[must_use = "dropped, it hands the key on"]
pub struct Fill {
    flight: Arc<Flight>,
    names: Names,
    right: Right,
    found: Found,
}

/// What was published when the right was won.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) value: Option<Entry>,
    pub(super) verdict: Option<Entry>,
}

#[derive(Debug)]
enum Right {
    Leased {
        lease: Lease,
        beat: Heartbeat,
    },
    Lone {
        why: Uncoordinated,
        began: Number,
    },
    /// Given back while the fill goes on, to be offered at its end; its token.
    Yielded(Number),
    /// Given back, or another's by now; its token.
    Spent(Number),
}

// === impl Fill ===

impl Fill {
    /// Under a lease that was asked for at `sent`.
    pub(super) fn under(flight: &Arc<Flight>, names: &Names, lease: Lease, sent: Instant) -> Self {
        let beat = Heartbeat::start(flight, lease.clone(), sent);
        Self::new(flight, names, Right::Leased { lease, beat })
    }

    pub(super) fn alone(flight: &Arc<Flight>, names: &Names, why: Uncoordinated) -> Self {
        Self::new(flight, names, Right::Lone { why, began: flight.seen() })
    }

    fn new(flight: &Arc<Flight>, names: &Names, right: Right) -> Self {
        Self { flight: Arc::clone(flight), names: names.clone(), right, found: Found::default() }
    }

    pub(super) fn with(mut self, found: Found) -> Self {
        self.found = found;
        self
    }

    /// Looks at what is published now (F2). An error gives the lease back in the background.
    pub async fn looked(mut self) -> crate::dust::Result<Self> {
        self.found = self.flight.look_again(&self.names).await?;
        Ok(self)
    }

    /// The lease's token; uncoordinated, the highest number known here when the fill began.
    /// Either way it is what the bytes are asked for under: no stamp up to it covers them.
    pub fn token(&self) -> Number {
        match &self.right {
            Right::Leased { lease, .. } => lease.token,
            Right::Lone { began, .. } => *began,
            Right::Yielded(token) | Right::Spent(token) => *token,
        }
    }

    /// Whether it runs under a lease.
    pub fn coordinated(&self) -> bool {
        self.lease().is_some()
    }

    /// Whether it runs without a lease because the store can't give one (S14).
    pub fn degraded(&self) -> bool {
        self.lone().is_some_and(|why| *why != Uncoordinated::Apart)
    }

    /// Why it runs without a lease, if it does.
    pub fn lone(&self) -> Option<&Uncoordinated> {
        match &self.right {
            Right::Lone { why, .. } => Some(why),
            Right::Leased { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    /// Whether it has given its lease back and goes on ([`yield_lease`](Self::yield_lease)).
    pub fn yielded(&self) -> bool {
        matches!(self.right, Right::Yielded(_))
    }

    /// The lease it runs under: a fence for other calls of the store.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.right {
            Right::Leased { lease, .. } => Some(lease),
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    /// The names it fills.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The value that was there when the lease was won (F2): what to validate, or replace. The
    /// last one read before, when uncoordinated.
    pub fn value(&self) -> Option<&Entry> {
        self.found.value.as_ref()
    }

    /// The verdict that was there when the lease was won: what to resume.
    pub fn verdict(&self) -> Option<&Entry> {
        self.found.verdict.as_ref()
    }

    /// Whether the lease is known to be lost: the fill may go on for its readers, and will not
    /// be published (S5).
    pub fn lost(&self) -> bool {
        self.how_lost().is_some()
    }

    /// Waits until the lease is lost; for ever if it never is, or there is none. Cancel safe.
    pub async fn until_lost(&self) {
        match &self.right {
            Right::Leased { beat, .. } => beat.until_lost().await,
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => std::future::pending().await,
        }
    }

    /// Writes the verdict, under the fence. Gone after `ttl`.
    ///
    /// Dropped, it is unknown whether it landed.
    pub async fn note(&self, text: &str, ttl: Option<Duration>) -> Noted {
        self.side_put(&self.names.verdict, text, ttl).await
    }

    /// Writes another key under the same fence, such as a Vary node. Gone after `ttl`.
    ///
    /// Dropped, it is unknown whether it landed.
    pub async fn side_put(&self, key: &str, text: &str, ttl: Option<Duration>) -> Noted {
        let (lease, beat) = match &self.right {
            Right::Leased { lease, beat } => (lease, beat),
            // Whoever leads by now has the word.
            Right::Yielded(_) => return Noted::Fenced,
            Right::Lone { .. } | Right::Spent(_) => return Noted::Unavailable,
        };
        if beat.lost().is_some() {
            return Noted::Fenced;
        }
        match self.flight.put_under(lease, key, text, ttl).await {
            Ok(Written::At(number)) => Noted::Written(number),
            Ok(Written::Fenced) => Noted::Fenced,
            Err(_) => Noted::Unavailable,
        }
    }

    /// Publishes the value under the fence, then releases (S4, S5). `standing` is asked right
    /// before the write: a purge that came while the fill ran forbids it (F8). Gone after `ttl`.
    ///
    /// Uncoordinated, the value is offered once in the background (S14): `standing` is then asked
    /// later, when a lease was won for it, and should answer [`Standing::Covered`] unless the
    /// stamps are known for sure.
    ///
    /// Dropped, it is unknown whether it landed; the lease is given back in the background.
    pub async fn publish(
        self,
        text: &str,
        ttl: Option<Duration>,
        standing: impl Fn() -> Standing + Send + 'static,
    ) -> Published {
        let began = match self.right {
            Right::Lone { began, .. } | Right::Yielded(began) => began,
            Right::Leased { .. } | Right::Spent(_) => return self.land(text, ttl, standing).await,
        };
        self.offer(text, ttl, move |there| there.number > began, standing)
    }

    /// Offers the value once, in the background, whatever lease it runs under: `newer` says whether what is
    /// at the key by then stays.
    pub fn offer(
        self,
        text: &str,
        ttl: Option<Duration>,
        newer: impl Fn(&Entry) -> bool + Send + 'static,
        standing: impl Fn() -> Standing + Send + 'static,
    ) -> Published {
        let offer = Offer { names: self.names.clone(), text: text.to_owned(), ttl };
        self.flight.background(offer.make(Arc::clone(&self.flight), newer, standing));
        Published::Offered
    }

    /// Ends the fill with nothing published, after an optional verdict (F7) with its time to
    /// live, and releases (S6).
    ///
    /// Dropped, the lease is given back in the background.
    pub async fn abort(self, verdict: Option<(&str, Option<Duration>)>) {
        if let Some((text, ttl)) = verdict {
            // Fenced or unavailable: there is nobody who would read it, or nothing to do about it.
            let _ = self.note(text, ttl).await;
        }
        self.release().await;
    }

    /// Gives the lease back before the fill is over: nothing of it will be published, and what is
    /// written under it from now on lands nowhere. It keeps its token.
    ///
    /// Dropped, the lease is given back in the background.
    pub async fn give_up_lease(&mut self) {
        let Some(lease) = self.lease().cloned() else { return };
        let flight = Arc::clone(&self.flight);
        self.stop_beating();
        if flight.bounded(flight.dust.release(&lease)).await.is_ok() {
            self.spend();
        }
    }

    /// Gives the lease back in the background while the fill goes on: a request that comes from now on need
    /// not wait for its end. What it brings is offered then ([`publish`](Self::publish)). A lease that is
    /// lost stays lost.
    pub fn yield_lease(&mut self) {
        if self.lost() || self.lease().is_none() {
            return;
        }
        self.stop_beating();
        let right = Right::Yielded(self.token());
        if let Right::Leased { lease, .. } = std::mem::replace(&mut self.right, right) {
            self.flight.hand_back(Pending::Lease(lease));
        }
    }

    /// Gives the lease back, and answers when the store has, or after one call bound; then it is
    /// given back in the background.
    pub async fn release(mut self) {
        self.give_up_lease().await;
    }

    /// Publishes under the lease.
    async fn land(mut self, text: &str, ttl: Option<Duration>, standing: impl Fn() -> Standing) -> Published {
        let Right::Leased { lease, beat } = &self.right else { return Published::Fenced };
        match beat.lost() {
            None => {}
            // Given back as it is dropped: the store may hold it still.
            Some(Lost::Silence) => return Published::Fenced,
            Some(Lost::NotHeld) => {
                self.spend();
                return Published::Fenced;
            }
        }
        if standing() == Standing::Covered {
            self.release().await;
            return Published::Covered;
        }
        match self.flight.put_under(lease, &self.names.value, text, ttl).await {
            Ok(Written::At(number)) => {
                self.release().await;
                Published::Computed(number)
            }
            Ok(Written::Fenced) => {
                self.spend();
                Published::Fenced
            }
            Err(error) => {
                self.release().await;
                Published::Failed(error)
            }
        }
    }

    fn how_lost(&self) -> Option<Lost> {
        match &self.right {
            Right::Leased { beat, .. } => beat.lost(),
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    fn stop_beating(&self) {
        if let Right::Leased { beat, .. } = &self.right {
            beat.stop();
        }
    }

    /// Nothing is held any more, so nothing is given back.
    fn spend(&mut self) {
        self.right = Right::Spent(self.token());
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if let Right::Leased { lease, .. } = std::mem::replace(&mut self.right, Right::Spent(0))
            && !std::thread::panicking()
        {
            self.flight.hand_back(Pending::Lease(lease));
        }
    }
}

// === impl Flight ===

impl Flight {
    async fn put_under(
        &self,
        lease: &Lease,
        key: &str,
        text: &str,
        ttl: Option<Duration>,
    ) -> crate::dust::Result<Written> {
        let how = Put { fence: Some(lease), expires_in: ttl, durable: false };
        let written = self.bounded(self.dust.put(key, text, how)).await;
        if let Ok(Written::At(number)) = written {
            self.saw(number);
        }
        written
    }
}

// === impl Offer ===

/// The result of a fill that has no lease at its end.
struct Offer {
    names: Names,
    text: String,
    ttl: Option<Duration>,
}

impl Offer {
    /// One attempt, with no word to anybody: a slow uncoordinated fill must neither replace a
    /// newer result nor undo a purge.
    async fn make(
        self,
        flight: Arc<Flight>,
        newer: impl Fn(&Entry) -> bool + Send + 'static,
        standing: impl Fn() -> Standing + Send + 'static,
    ) {
        let Ok(Asked::Won(fill)) = flight.ask(&self.names).await else { return };
        let Ok(there) = flight.bounded(flight.dust.entry(&self.names.value)).await else { return };
        if there.is_some_and(|there| newer(&there)) {
            fill.release().await;
        } else {
            let _ = fill.land(&self.text, self.ttl, standing).await;
        }
    }
}
