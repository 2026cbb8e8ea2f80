//! What a flight tells those who ride it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::sleep;

use crate::body::Growing;
use crate::dust::Number;
use crate::flight;
use crate::key::{Key, KeyHash};
use crate::policy::PassReason;
use crate::proxy::cause::Refused;
use crate::record::{Binding, Manifest, VaryNode};
use crate::tier::Stored;
use crate::upstream;

/// How long the owner's place at a body is kept while others wait for it: its task is awake by now.
const SEAT_IS_KEPT: Duration = Duration::from_secs(1);

/// The flights of this instance.
pub(crate) type Flights = flight::Flights<KeyHash, FlightOutcome, Info>;
/// The right to settle one.
pub(crate) type Leader = flight::Leader<KeyHash, FlightOutcome, Info>;
/// A place in one.
pub(crate) type Follower = flight::Follower<FlightOutcome, Info>;

/// What a list shows of a flight.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub key: Option<Key>,
    pub route: Option<Arc<str>>,
    pub began: Option<tokio::time::Instant>,
    pub phase: Phase,
    pub fence: Number,
    /// The token of the lease that lives on its lock, as its leader last saw it: another instance's, if
    /// that is what it waits for; 0 if none was seen.
    pub live: Arc<AtomicU64>,
    /// Why upstream is asked: what was stored, here or in the store.
    pub forward: Option<crate::policy::Fwd>,
    pub bytes: u64,
    /// Another instance leads: what is fetched there is ridden here.
    pub elsewhere: bool,
    /// A client has a place in it that is not a follower's: the one it was begun for.
    pub owned: bool,
    /// Those who are known to wait for its exchange.
    pub interest: upstream::Interest,
    /// It was given up because nobody was known to wait for it.
    pub unwanted: bool,
}

/// How far a flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Asking the store.
    #[default]
    Lease,
    /// Waiting for upstream's head.
    Headers,
    /// The body is coming.
    Body,
    /// Being published.
    Publish,
}

/// Moments of one instance in order: when a request arrived, when an exchange was sent (F5).
/// They are compared and never shown.
#[derive(Debug, Default)]
pub(crate) struct Moments(AtomicU64);

/// One of them.
pub(crate) type Moment = u64;

/// The verdict of a flight. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum FlightOutcome {
    /// A complete record: found in the store, awaited, or just validated.
    Stored(FoundRecord),
    /// A response that may be shared, its body on the way.
    Growing(Arc<Exchange>),
    /// There is a Vary node: look under the variant's key.
    Varies(Arc<VaryNode>),
    /// Not to be shared. The response is for the request that led, and everybody else goes
    /// upstream for its own.
    Pass(PassReason, Arc<PrivateResponse>),
    /// Upstream failed, for the requests that the failure binds.
    Failed(Arc<Failure>),
    /// The wait deadline passed, or the store is down and the route wants an error.
    Refused(Refused),
}

/// What a fill finds in the store.
#[derive(Debug)]
pub(crate) enum StoreSighting {
    /// The end of its own way.
    Told(FlightOutcome),
    /// A body that another instance is fetching.
    Elsewhere(Elsewhere),
}

/// A body that another instance is fetching, as far as that has told.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    /// The record, its manifest empty.
    pub head: Arc<Stored>,
    /// The segments that can be read.
    pub manifest: Manifest,
    /// The number it is filled under.
    pub token: Number,
}

/// A record that a flight came by.
#[derive(Debug, Clone)]
pub(crate) struct FoundRecord {
    /// The record.
    pub stored: Arc<Stored>,
    /// How.
    pub how: How,
    /// When the exchange that validated it was sent, and for whom.
    pub exchange: Option<(Moment, Option<Moment>)>,
    /// Whether the store was reachable.
    pub coordinated: bool,
}

/// How a record was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was in the store.
    Cached,
    /// Another instance put it there while we waited.
    Awaited,
    /// Upstream said 304.
    Validated,
}

/// One request to upstream whose response may be shared.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The record, its manifest still empty.
    pub head: Arc<Stored>,
    /// The bytes.
    pub growing: Growing,
    /// The length of the whole, where the head said it.
    pub len: Option<u64>,
    /// When it was sent.
    pub sent: Moment,
    /// The request it was made for.
    pub owner: Option<Moment>,
    /// The owner's place at the body, until it comes for it: what it reads first is not let go of.
    pub seat: Mutex<Option<crate::body::Reader>>,
    /// The fence.
    pub fence: Number,
    /// Whether it will be published.
    pub kept: bool,
    /// Whether the store was reachable.
    pub coordinated: bool,
    /// What the owner is given beside the record's fields, for this is its own exchange.
    pub own: HeaderMap,
    /// What upstream answered and how fast, for the log.
    pub timing: upstream::Timing,
    /// Why upstream was asked: nothing stored, a stale record, another variant.
    pub forward: crate::policy::Fwd,
    /// Another instance makes it.
    pub elsewhere: bool,
    /// An error without lifetime: it is shared with the requests that it binds.
    pub binding: Option<Binding>,
}

/// The response to a request that turned out to be nobody else's.
#[derive(Debug)]
pub(crate) struct PrivateResponse {
    /// Whose.
    pub owner: Option<Moment>,
    /// It was asked for with the owner's own Range.
    pub ranged: bool,
    response: Mutex<Option<upstream::Response>>,
}

/// What upstream answered when it failed, or that it did not answer.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status to give.
    pub status: StatusCode,
    /// Whether that is upstream's own: it has answered.
    pub answered: bool,
    /// Upstream's own answer, if there was one that is short enough to be shared.
    pub answer: Option<SharedFailure>,
    /// Upstream's own answer, where it is not for sharing, too long or too slow: the owner's.
    pub own: Option<Arc<PrivateResponse>>,
    /// The word for log and answer.
    pub word: &'static str,
    /// The kind, if there was no answer that can be passed on.
    pub kind: Option<upstream::ErrorKind>,
    /// The number it was judged under.
    pub token: Number,
    /// How long nobody is to try again, in whole seconds, at least 1.
    pub retry_after: u64,
    /// For whom it was tried.
    pub owner: Option<Moment>,
    /// The record that could not be validated.
    pub stale: Option<Arc<Stored>>,
    /// It is an answer to a request for a range.
    pub ranged: bool,
    /// Which requests it binds.
    pub binding: Binding,
}

/// A failed answer that is shared with those who waited.
#[derive(Debug)]
pub(crate) struct SharedFailure {
    /// Its fields, without what is for one client alone.
    pub headers: HeaderMap,
    /// All of its content.
    pub body: Bytes,
    /// What selects it (RFC 9111 §4.1): who differs in one of these hears of the failure only.
    pub select: Vec<(HeaderName, Option<String>)>,
}

// === impl Moments ===

impl Moments {
    /// The next moment, after all that were given before.
    pub(crate) fn next(&self) -> Moment {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}

// === impl Phase ===

impl Phase {
    /// The word of lists.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Publish => "publish",
        }
    }
}

// === impl Own ===

impl PrivateResponse {
    pub(crate) fn new(owner: Option<Moment>, ranged: bool, response: upstream::Response) -> Arc<Self> {
        Arc::new(Self { owner, ranged, response: Mutex::new(Some(response)) })
    }

    /// Nobody's: a pass that was remembered.
    pub(crate) fn nobodys() -> Arc<Self> {
        Arc::new(Self { owner: None, ranged: false, response: Mutex::new(None) })
    }

    /// Hands the response over, once.
    pub(crate) fn take(&self) -> Option<upstream::Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// === impl Exchange ===

impl Exchange {
    /// The owner's place at the body, once.
    pub(crate) fn take_seat(&self) -> Option<crate::body::Reader> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives the owner's place up if it does not come for it: it has left, and the others would wait for
    /// it. Has no end but being dropped.
    pub(crate) async fn vacate_seat(&self) -> Infallible {
        sleep(SEAT_IS_KEPT).await;
        drop(self.take_seat());
        std::future::pending().await
    }
}

impl FoundRecord {
    /// A record that was in the store.
    pub(crate) fn cached(stored: Arc<Stored>, how: How) -> Self {
        Self { stored, how, exchange: None, coordinated: true }
    }
}
