//! The right to fill a key, from winning it to spending it (S3–S7, S14).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::dust::{Beside, Entry, Known, Landing, Lease, Note, Number, Publication, Publish, Put, Written};

use super::handback::Pending;
use super::heartbeat::{Heartbeat, Lost};
use super::lease::Asked;
use super::{Flight, Names, Noted, Published, Standing, Uncoordinated};

/// The right to fill one key: a lease with its heartbeat, or, when the store cannot coordinate,
/// permission to fill without one. Every ending takes it by value, so it ends once:
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
/// Dropped without an ending, its heartbeat stops and the lease is released in the background, so
/// that waiting requests elect again at once. Dropped by a panic or outside a tokio runtime, it
/// releases nothing: the lease expires (S7).
#[derive(Debug)]
#[must_use = "dropped, it hands the key on"]
pub struct Fill(Box<Parts>);

/// What a fill consists of. In a box, as a fill is handed on from step to step some thirty times.
#[derive(Debug)]
struct Parts {
    flight: Arc<Flight>,
    names: Names,
    right: Right,
    found: Found,
}

/// What is published at the names of a flight. Entries that are no text count as absent (S16).
#[derive(Debug, Default)]
pub struct Found {
    /// The value.
    pub value: Option<Entry>,
    /// The body that was published with the value, if it lies beside it and was not read before.
    pub body: Option<Bytes>,
    /// The verdict.
    pub verdict: Option<Entry>,
}

/// The result of a fill.
#[derive(Debug, Clone)]
pub struct Product {
    /// The text of the value.
    pub text: String,
    /// When it expires, with all bytes that belong to it; never if `None`.
    pub ttl: Option<Duration>,
    /// The whole body and its name, if it is to lie beside the value ([`Beside`]).
    pub body: Option<(String, Bytes)>,
    /// The names of bytes in the store that the text goes on naming.
    pub keeps: Vec<String>,
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
    /// Released while the fill goes on, whose result is offered at its end; the token.
    Yielded(Number),
    /// Released, or held by another fill now; the token.
    Spent(Number),
}

// === impl Found ===

impl Found {
    /// The numbers of what was found.
    pub fn known(&self) -> Known {
        Known::of(self.value.as_ref(), self.verdict.as_ref())
    }
}

// === impl Product ===

impl Product {
    /// A text that expires after `ttl`.
    pub fn new(text: impl Into<String>, ttl: Option<Duration>) -> Self {
        Self { text: text.into(), ttl, body: None, keeps: Vec::new() }
    }

    fn at<'a>(&'a self, key: &'a str) -> Publish<'a> {
        let body = self.body.as_ref().map(|(name, bytes)| Beside { name, bytes });
        Publish { key, text: &self.text, expires_in: self.ttl, body, keeps: &self.keeps }
    }
}

// === impl Fill ===

impl Fill {
    /// A fill under a lease that was asked for at `sent`.
    pub(super) fn under(flight: &Arc<Flight>, names: &Names, lease: Lease, sent: Instant) -> Self {
        let beat = Heartbeat::start(flight, lease.clone(), sent);
        Self::new(flight, names, Right::Leased { lease, beat })
    }

    pub(super) fn alone(flight: &Arc<Flight>, names: &Names, why: Uncoordinated) -> Self {
        Self::new(flight, names, Right::Lone { why, began: flight.seen() })
    }

    fn new(flight: &Arc<Flight>, names: &Names, right: Right) -> Self {
        Self(Box::new(Parts {
            flight: Arc::clone(flight),
            names: names.clone(),
            right,
            found: Found::default(),
        }))
    }

    pub(super) fn with(mut self, found: Found) -> Self {
        self.0.found = found;
        self
    }

    /// Reads what is published now (F2). On an error the lease is released in the background.
    pub async fn looked(mut self) -> crate::dust::Result<Self> {
        self.0.found = self.0.flight.look_again(&self.0.names).await?;
        Ok(self)
    }

    /// The lease's token; of an uncoordinated fill, the highest number known here when it began. The
    /// upstream request is younger than it, so no stamp up to this number covers the result.
    pub fn token(&self) -> Number {
        match &self.0.right {
            Right::Leased { lease, .. } => lease.token,
            Right::Lone { began, .. } => *began,
            Right::Yielded(token) | Right::Spent(token) => *token,
        }
    }

    /// Returns whether it runs under a lease.
    pub fn coordinated(&self) -> bool {
        self.lease().is_some()
    }

    /// Returns whether it runs without a lease because the store can't give one (S14).
    pub fn degraded(&self) -> bool {
        self.lone().is_some_and(|why| *why != Uncoordinated::Apart)
    }

    /// Returns why it runs without a lease, if it does.
    pub fn lone(&self) -> Option<&Uncoordinated> {
        match &self.0.right {
            Right::Lone { why, .. } => Some(why),
            Right::Leased { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    /// Returns whether it has released its lease and goes on ([`yield_lease`](Self::yield_lease)).
    pub fn yielded(&self) -> bool {
        matches!(self.0.right, Right::Yielded(_))
    }

    /// The lease it runs under, to fence other calls of the store with.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.0.right {
            Right::Leased { lease, .. } => Some(lease),
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    /// The names of the key that it fills.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The value that was stored when the lease was won (F2), to be validated or replaced. Without a
    /// lease, the last one that was read.
    pub fn value(&self) -> Option<&Entry> {
        self.0.found.value.as_ref()
    }

    /// The verdict that was stored when the lease was won: a growing body that may be resumed.
    pub fn verdict(&self) -> Option<&Entry> {
        self.0.found.verdict.as_ref()
    }

    /// Returns whether the lease is known to be lost. The fill may go on for its readers, and will not
    /// be published (S5).
    pub fn lost(&self) -> bool {
        self.how_lost().is_some()
    }

    /// Waits until the lease is lost; for ever if it never is, or there is none. Cancel safe.
    pub async fn until_lost(&self) {
        match &self.0.right {
            Right::Leased { beat, .. } => beat.until_lost().await,
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => std::future::pending().await,
        }
    }

    /// Writes the verdict under the fence. It expires after `ttl`.
    ///
    /// Dropped, it is unknown whether it landed.
    pub async fn note(&self, text: &str, ttl: Option<Duration>) -> Noted {
        self.side_put(&self.0.names.verdict, text, ttl).await
    }

    /// Writes another key under the same fence, such as a Vary node. It expires after `ttl`.
    ///
    /// Dropped, it is unknown whether it landed.
    pub async fn side_put(&self, key: &str, text: &str, ttl: Option<Duration>) -> Noted {
        let (lease, beat) = match &self.0.right {
            Right::Leased { lease, beat } => (lease, beat),
            // The verdict belongs to the next holder.
            Right::Yielded(_) => return Noted::Fenced,
            Right::Lone { .. } | Right::Spent(_) => return Noted::Unavailable,
        };
        if beat.lost().is_some() {
            return Noted::Fenced;
        }
        match self.0.flight.put_under(lease, key, text, ttl).await {
            Ok(Written::At(number)) => Noted::Written(number),
            Ok(Written::Fenced) => Noted::Fenced,
            Err(_) => Noted::Unavailable,
        }
    }

    /// Publishes the value under the fence and releases the lease, in one step (S4, S5). `standing` is called
    /// right before the write: a purge that came while the fill ran forbids it (F8).
    ///
    /// Without a lease, the value is offered once in the background (S14): `standing` is then called
    /// later, when a lease was won for it, and should return [`Standing::Covered`] unless the stamps are
    /// known for sure.
    ///
    /// Dropped, it is unknown whether it landed; the lease is released in the background.
    pub async fn publish(
        self,
        product: Product,
        standing: impl Fn() -> Standing + Send + 'static,
    ) -> Published {
        let began = match self.0.right {
            Right::Lone { began, .. } | Right::Yielded(began) => began,
            Right::Leased { .. } | Right::Spent(_) => return self.land(product, standing).await,
        };
        self.offer(product, move |there| there.number > began, standing)
    }

    /// Offers the value once, in the background, under a lease of its own. `newer` is given the value that
    /// is stored by then, and returns whether that one stays.
    pub fn offer(
        self,
        product: Product,
        newer: impl Fn(&Entry) -> bool + Send + 'static,
        standing: impl Fn() -> Standing + Send + 'static,
    ) -> Published {
        let offer = Offer { names: self.0.names.clone(), product };
        self.0.flight.background(offer.make(Arc::clone(&self.0.flight), newer, standing));
        Published::Offered
    }

    /// Ends the fill without a value: writes the verdict, if one is given (F7) with its time to live,
    /// and releases the lease (S6).
    ///
    /// Dropped, the lease is released in the background.
    pub async fn abort(self, verdict: Option<(&str, Option<Duration>)>) {
        let Some((text, expires_in)) = verdict else { return self.release().await };
        let lease = match &self.0.right {
            Right::Leased { lease, beat } if beat.lost().is_none() => lease,
            _ => return self.release().await,
        };
        let verdict = Some(Note { key: &self.0.names.verdict, text, expires_in });
        let landing = self.0.flight.publish(Publication { lease, value: None, verdict }).await;
        // Fenced: the key is the next holder's. Failed: nothing can be done about it.
        let _ = self.landed(landing).await;
    }

    /// Releases the lease before the fill is over. Nothing of the fill will be published, and later writes
    /// under the lease have no effect. The fill keeps its token.
    ///
    /// Dropped, the lease is released in the background.
    pub async fn give_up_lease(&mut self) {
        let Some(lease) = self.lease().cloned() else { return };
        let flight = Arc::clone(&self.0.flight);
        self.stop_beating();
        if flight.bounded(flight.dust.release(&lease)).await.is_ok() {
            self.spend();
        }
    }

    /// Releases the lease in the background while the fill goes on: a later request need not wait for its
    /// end. Its result is offered then ([`publish`](Self::publish)). Does nothing if the lease is lost.
    pub fn yield_lease(&mut self) {
        if self.lost() || self.lease().is_none() {
            return;
        }
        self.stop_beating();
        let right = Right::Yielded(self.token());
        if let Right::Leased { lease, .. } = std::mem::replace(&mut self.0.right, right) {
            self.0.flight.hand_back(Pending::Lease(lease));
        }
    }

    /// Releases the lease. Returns when the store has answered, or after one call bound; then the release
    /// goes on in the background.
    pub async fn release(mut self) {
        self.give_up_lease().await;
    }

    /// Publishes under the lease.
    async fn land(mut self, product: Product, standing: impl Fn() -> Standing) -> Published {
        let Right::Leased { lease, beat } = &self.0.right else { return Published::Fenced };
        match beat.lost() {
            None => {}
            // Released when this is dropped: the store may still hold it.
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
        let value = Some(product.at(&self.0.names.value));
        let landing = self.0.flight.publish(Publication { lease, value, verdict: None }).await;
        self.landed(landing).await
    }

    /// Ends the fill as its publication did.
    async fn landed(mut self, landing: crate::dust::Result<Landing>) -> Published {
        match landing {
            Ok(Landing::At(number)) => {
                self.stop_beating();
                self.spend();
                Published::Computed(number)
            }
            // Released in the background when this is dropped.
            Ok(Landing::Unreleased(number)) => Published::Computed(number),
            Ok(Landing::Fenced) => {
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
        match &self.0.right {
            Right::Leased { beat, .. } => beat.lost(),
            Right::Lone { .. } | Right::Yielded(_) | Right::Spent(_) => None,
        }
    }

    fn stop_beating(&self) {
        if let Right::Leased { beat, .. } = &self.0.right {
            beat.stop();
        }
    }

    /// Marks the lease as no longer held, so that the drop does not release it.
    fn spend(&mut self) {
        self.0.right = Right::Spent(self.token());
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if let Right::Leased { lease, .. } = std::mem::replace(&mut self.0.right, Right::Spent(0))
            && !std::thread::panicking()
        {
            self.0.flight.hand_back(Pending::Lease(lease));
        }
    }
}

// === impl Flight ===

impl Flight {
    async fn publish(&self, publication: Publication<'_>) -> crate::dust::Result<Landing> {
        let landing = self.bounded(self.dust.publish(publication)).await;
        if let Ok(Landing::At(number) | Landing::Unreleased(number)) = landing {
            self.saw(number);
        }
        landing
    }

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
    product: Product,
}

impl Offer {
    /// Makes one attempt, whose outcome is not reported. A slow uncoordinated fill must neither replace
    /// a newer result nor undo a purge.
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
            let _ = fill.land(self.product, standing).await;
        }
    }
}
