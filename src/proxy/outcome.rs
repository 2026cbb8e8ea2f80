//! The outcome of a flight, for the requests that ride it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::{Instant, sleep};

use crate::body::{Growing, Taking};
use crate::dust::Number;
use crate::key::{Key, KeyHash};
use crate::policy::PassReason;
use crate::proxy::cause::Refused;
use crate::record::{Binding, Fields, Manifest, Tags, VaryNode};
use crate::tier::Stored;
use crate::tier::stamps::Named;
use crate::{flight, upstream};

/// How long the owner's reader of a body is kept while others wait for the body: by then the owner's task has
/// woken.
const SEAT_IS_KEPT: Duration = Duration::from_secs(1);

/// The flights of this instance.
pub(crate) type Flights = flight::Flights<KeyHash, FlightOutcome, Info>;
/// The right to settle a flight.
pub(crate) type Leader = flight::Leader<KeyHash, FlightOutcome, Info>;
/// A follower's place in a flight.
pub(crate) type Follower = flight::Follower<FlightOutcome, Info>;

/// What the list of flights shows of one, and what its participants know of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub key: Option<Key>,
    pub route: Option<Arc<str>>,
    pub began: Option<tokio::time::Instant>,
    pub phase: Phase,
    pub fence: Number,
    /// The token of the lease that holds its lock, as its leader last saw it: another instance's if it waits
    /// for that one; 0 if none was seen.
    pub live: Arc<AtomicU64>,
    /// Why upstream is asked, by what was stored here or in the store (RFC 9211 §2.2).
    pub forward: Option<crate::policy::Fwd>,
    pub bytes: u64,
    /// Another instance leads, and its response is read here while it is fetched.
    pub elsewhere: bool,
    /// The client that it was begun for has a place in it, which does not count as a follower.
    pub owned: bool,
    /// The requests that are known to wait for its exchange.
    pub interest: upstream::Interest,
    /// It was given up because no request was known to wait for it.
    pub unwanted: bool,
}

/// The stage of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// The lease is asked for, or the holder's verdict is awaited.
    #[default]
    Lease,
    /// Upstream's response head is awaited.
    Headers,
    /// The content is being received.
    Body,
    /// The record is being published.
    Publish,
}

/// The order of events on one instance: the arrival of requests, the sending of exchanges (F5). Moments are
/// compared and never shown.
#[derive(Debug, Default)]
pub(crate) struct Moments(AtomicU64);

/// One event's place in that order.
pub(crate) type Moment = u64;

/// The outcome of a flight. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum FlightOutcome {
    /// A complete record: found in the store, awaited, or just validated.
    Stored(FoundRecord),
    /// A response that may be shared, its content still on the way.
    Growing(Arc<Exchange>),
    /// The key has a Vary node: the request goes on under the variant's key.
    Varies(Arc<VaryNode>),
    /// Not to be shared. The response is for the request that led; every other request goes upstream by
    /// itself.
    Pass(PassReason, Arc<PrivateResponse>),
    /// Upstream failed, for the requests that the failure binds.
    Failed(Arc<Failure>),
    /// There was no verdict: for example the wait deadline passed, or the store is down and the route is set
    /// to answer with an error.
    Refused(Refused),
}

/// What a fill finds in the store.
#[derive(Debug)]
pub(crate) enum StoreSighting {
    /// An outcome that needs no exchange.
    Told(FlightOutcome),
    /// A response whose content another instance is fetching.
    Elsewhere(Elsewhere),
}

/// A response whose content another instance is fetching, as far as that instance has published it.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    /// The record, with an empty manifest.
    pub head: Arc<Stored>,
    /// The segments that can be read.
    pub manifest: Manifest,
    /// The token of the fill.
    pub token: Number,
}

/// A complete record that a flight ended with.
#[derive(Debug, Clone)]
pub(crate) struct FoundRecord {
    /// The record.
    pub stored: Arc<Stored>,
    /// How the flight came by it.
    pub how: How,
    /// When the exchange that validated it was sent, and the arrival of the request that it was sent for.
    pub exchange: Option<(Moment, Option<Moment>)>,
    /// Whether the store was reachable.
    pub coordinated: bool,
}

/// How a flight came by a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It was in the store.
    Cached,
    /// Another instance published it while this one waited.
    Awaited,
    /// Upstream answered 304 to its validation.
    Validated,
}

/// One exchange with upstream whose response may be shared.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The record, with a manifest that is still empty.
    pub head: Arc<Stored>,
    /// The content, as it is received.
    pub growing: Growing,
    /// The length of the content, if the response head has it.
    pub len: Option<u64>,
    /// When the exchange was sent.
    pub sent: Moment,
    /// The arrival of the request that it was made for.
    pub owner: Option<Moment>,
    /// The owner's reader of the content, until the owner takes it: it keeps the first bytes in memory.
    pub seat: Mutex<Option<crate::body::Reader>>,
    /// The fencing token that it is filled under.
    pub fence: Number,
    /// Why the response will not be stored; none if it will be.
    pub unstored: Option<PassReason>,
    /// Whether the body store takes its content, as far as is known at its beginning.
    pub taking: Taking,
    /// Whether the store was reachable.
    pub coordinated: bool,
    /// Fields that only the owner gets, beside those of the record.
    pub own: HeaderMap,
    /// Timing of the exchange, for the log.
    pub timing: upstream::Timing,
    /// Why upstream was asked: nothing stored, a stale record, another variant.
    pub forward: crate::policy::Fwd,
    /// Another instance makes the exchange.
    pub elsewhere: bool,
    /// The response is an error without a lifetime: it is shared only with the requests that this binds.
    pub binding: Option<Binding>,
}

/// A response that may be given to one request only.
#[derive(Debug)]
pub(crate) struct PrivateResponse {
    /// The arrival of the request that it is for; none if it is for none.
    pub owner: Option<Moment>,
    /// The exchange carried the owner's own Range.
    pub ranged: bool,
    response: Mutex<Option<upstream::Response>>,
}

/// A failure of upstream: its error response, or none.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status for the client.
    pub status: StatusCode,
    /// Whether the status is upstream's own: it has answered.
    pub answered: bool,
    /// Upstream's error response, if it is short enough to be shared.
    pub answer: Option<SharedFailure>,
    /// Upstream's error response for the owner only: it is not for sharing, too long, or too slow.
    pub own: Option<Arc<PrivateResponse>>,
    /// The word for log and response.
    pub word: &'static str,
    /// The kind of error, if there is no response that can be passed on.
    pub kind: Option<upstream::ErrorKind>,
    /// The token that it was judged under.
    pub token: Number,
    /// When upstream is tried again.
    pub again: Instant,
    /// The arrival of the request that it was tried for.
    pub owner: Option<Moment>,
    /// The record that could not be validated.
    pub stale: Option<Arc<Stored>>,
    /// The request to upstream had a Range.
    pub ranged: bool,
    /// Which requests it binds.
    pub binding: Binding,
}

/// An error response of upstream that is shared with the requests that waited.
#[derive(Debug)]
pub(crate) struct SharedFailure {
    /// Its fields, without what is for one client alone.
    pub headers: Fields,
    /// Its whole content.
    pub body: Bytes,
    /// The request fields that select it, with their values (RFC 9111 §4.1). A request that differs in one of
    /// them gets the failure without this response.
    pub select: Vec<(HeaderName, Option<String>)>,
    /// Its tags: a purge of one of them ends it.
    pub tags: Tags,
}

// === impl Failure ===

impl Failure {
    /// What it is purged by, if it is one of a key: the names of the key, and its own tags.
    pub(crate) fn named<'a>(&'a self, key: Named<'a>) -> Named<'a> {
        Named { tags: self.answer.as_ref().map_or(&[], |answer| &answer.tags), ..key }
    }
}

// === impl SharedFailure ===

impl SharedFailure {
    /// Copies fields and content: it is remembered for longer than the connection's buffers should be.
    pub(crate) fn new(
        headers: &HeaderMap,
        body: &[u8],
        select: Vec<(HeaderName, Option<String>)>,
        tags: Tags,
    ) -> Self {
        Self { headers: headers.into(), body: Bytes::copy_from_slice(body), select, tags }
    }
}

// === impl Moments ===

impl Moments {
    /// Returns the next moment, after all that were returned before.
    pub(crate) fn next(&self) -> Moment {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}

// === impl Phase ===

impl Phase {
    /// The word in the list of flights.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Publish => "publish",
        }
    }
}

// === impl PrivateResponse ===

impl PrivateResponse {
    pub(crate) fn new(owner: Option<Moment>, ranged: bool, response: upstream::Response) -> Arc<Self> {
        Arc::new(Self { owner, ranged, response: Mutex::new(Some(response)) })
    }

    /// Of no request and without a response: for a pass that was remembered.
    pub(crate) fn nobodys() -> Arc<Self> {
        Arc::new(Self { owner: None, ranged: false, response: Mutex::new(None) })
    }

    /// Takes the response; none after the first call.
    pub(crate) fn take(&self) -> Option<upstream::Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// === impl Exchange ===

impl Exchange {
    /// Takes the owner's reader; none after the first call.
    pub(crate) fn take_seat(&self) -> Option<crate::body::Reader> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Drops the owner's reader if the owner does not take it in time: the owner has left, and the others
    /// would wait for it. Ends only by being dropped.
    pub(crate) async fn vacate_seat(&self) -> Infallible {
        sleep(SEAT_IS_KEPT).await;
        drop(self.take_seat());
        std::future::pending().await
    }
}

impl FoundRecord {
    /// A record that came from the store, at once or after a wait.
    pub(crate) fn cached(stored: Arc<Stored>, how: How) -> Self {
        Self { stored, how, exchange: None, coordinated: true }
    }
}
