//! A fill: one task that belongs to no client (F4), from the lease to the publish.
//!
//! Dropping a fill at any point hands its work on: the dropped leader tells the followers of this instance,
//! the dropped fill releases the lease, and the dropped writer breaks its readers off.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::Instant;

use crate::clock::{WallMs, millis};
use crate::drain::Guard;
use crate::dust::Number;
use crate::flight::{Entered, Fill};
use crate::key::target::Target;
use crate::policy::{self, Answer, Fwd, PassReason, RequestFacts, SentRange, Verdict};
use crate::proxy::cause::Refused;
use crate::proxy::fill::judge::FillJudge;
use crate::proxy::lookup::candidate::{Criteria, Use};
use crate::proxy::lookup::{CacheSlot, cache_status, reach, store_lookup};
use crate::proxy::outcome::{
    FlightOutcome, FoundRecord, How, Leader, Moment, Phase, PrivateResponse, StoreSighting,
};
use crate::proxy::request::CacheRequest;
use crate::proxy::request::binding::{self, Kind, Lasts, Party, Prior};
use crate::proxy::state::Proxy;
use crate::proxy::state::past::Past;
use crate::proxy::state::under_way::Heard;
use crate::record::{Binding, Life, Manifest};
use crate::route::Route;
use crate::telemetry::labels::FillOutcome;
use crate::tier::{Covered, Stored};
use crate::upstream;

use resume::Partial;

pub(crate) use stream::unstored;

pub(crate) use fetch::is_answered;

pub(crate) mod behind;
pub(crate) mod better;
pub(crate) mod complete_part;
pub(crate) mod ending;
pub(crate) mod fetch;
pub(crate) mod judge;
pub(crate) mod landed;
pub(crate) mod lost;
pub(crate) mod measured;
pub(crate) mod publish_growing;
pub(crate) mod publishing;
pub(crate) mod remote_body;
pub(crate) mod resume;
pub(crate) mod spelling;
pub(crate) mod stream;
pub(crate) mod variants;
pub(crate) mod writing;

/// How long a request waits for a part that is fetched here and that it can't ride. Once that part is whole,
/// what is missing may be joined to it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Everything that a fill needs of the request that started it. It goes through the fill's steps in a box:
/// each step would copy it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) route: Arc<Route>,
    pub(crate) target: Target,
    /// The client's fields, for Vary and for the request to upstream. Shared: they may be long, and the job
    /// is cloned for helper tasks.
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) ask: RequestFacts,
    pub(crate) place: CacheSlot,
    /// The purges that the request came after. Requests that join later are judged by their own past.
    pub(crate) past: Past,
    /// When the request arrived. None for a refresh behind an answer, and for a body that is taken over.
    pub(crate) owner: Option<Moment>,
    /// The stored response to be validated, completed, or served if upstream fails.
    pub(crate) stale: Option<Arc<Stored>>,
    /// Bodies that the request could not read: the fill treats them as absent.
    pub(crate) unread: Vec<Arc<Manifest>>,
    pub(crate) deadline: Instant,
    pub(crate) forwarded: crate::proxy::request::Forwarded,
    pub(crate) forward: Fwd,
    /// The beginning of a body that another instance did not complete.
    partial: Option<Arc<Partial>>,
    /// The range that upstream is asked for. The answer to a range holds for no other request (F10).
    range: SentRange,
    /// The number of a part's fill that is under way here and that this one can't ride.
    behind: Option<Number>,
    /// Set once a body was found whose bytes are gone: until when the fill waits for the holder of the key's
    /// lease.
    patience: Option<Instant>,
    /// Whether upstream failed a moment ago for a request that was alone with it.
    failed_lately: bool,
    /// Verdicts of other exchanges that did not bind the request: its own may confirm them.
    earlier: Vec<Prior>,
    /// When upstream was asked, on the store's clock: a verdict that had expired by then confirms nothing.
    asked_at: WallMs,
    /// What is known for its line in the log.
    pub(crate) account: Account,
    /// The life of the store that its segments belong to.
    life: Life,
    /// The requests that are known to wait for its exchange.
    pub(crate) interest: upstream::Interest,
    began: Instant,
    /// Set when the note that its key needs ([`spelling`]) could not be written.
    pub(crate) unnoted: Arc<AtomicBool>,
    /// Orders the writes aside: what it tells riders on other instances without a lease.
    aside: Arc<tokio::sync::Mutex<()>>,
    /// How well this instance heard of stamps when the fill began.
    pub(crate) heard: Heard,
    _guard: Guard,
}

/// What is known of a fill for its line in the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Account {
    coordinated: bool,
    followers: usize,
    status: Option<StatusCode>,
    timing: Option<upstream::Timing>,
}

/// A response's head, and when it was asked for and received.
pub(crate) struct Head {
    pub response: upstream::Response,
    pub sent: Moment,
    pub requested_at: WallMs,
    pub received_at: WallMs,
    /// The number under which its bytes were asked for.
    pub born: Number,
}

impl Job {
    pub(crate) fn new(
        proxy: &Arc<Proxy>,
        request: &CacheRequest,
        place: CacheSlot,
        owner: Option<Moment>,
        stale: Option<Arc<Stored>>,
        deadline: Instant,
    ) -> Box<Self> {
        let forward = cache_status::forward(proxy, request, &place, stale.as_ref());
        Box::new(Self {
            proxy: proxy.clone(),
            route: request.route.clone(),
            target: request.target.clone(),
            headers: Arc::new(request.headers.clone()),
            ask: request.ask,
            past: proxy.past(place.named()),
            place,
            owner,
            stale,
            unread: request.ticket.unread.clone(),
            deadline,
            forwarded: request.forwarded.clone(),
            forward,
            partial: None,
            range: SentRange::None,
            behind: None,
            patience: None,
            failed_lately: false,
            earlier: Vec::new(),
            asked_at: proxy.now_ms(),
            account: Account::default(),
            life: proxy.bodies.life(),
            interest: upstream::Interest::default(),
            began: Instant::now(),
            unnoted: Arc::default(),
            aside: Arc::default(),
            heard: proxy.hears(),
            _guard: proxy.drain.guard(),
        })
    }

    /// Sets the past of the request that it is started for: it also judges what the fill finds.
    #[must_use]
    pub(crate) fn since(mut self: Box<Self>, past: Past) -> Box<Self> {
        self.past = past;
        self
    }

    /// Sets the number of a part's fill that is under way here and that this one can't ride.
    #[must_use]
    pub(crate) fn beside(mut self: Box<Self>, part: Option<Number>) -> Box<Self> {
        self.behind = part;
        self
    }

    /// Adds the verdict of another flight that does not bind the request.
    #[must_use]
    pub(crate) fn after(mut self: Box<Self>, prior: Option<Prior>) -> Box<Self> {
        self.earlier.extend(prior);
        self
    }

    /// The request that it was started for, as verdicts are compared with it.
    pub(crate) fn party(&self) -> Party<'_> {
        Party {
            route: &self.route,
            target: &self.target,
            headers: &self.headers,
            forwarded: &self.forwarded,
            key: self.place.primary.hash(),
        }
    }

    /// The same request, as stored responses are compared with it.
    fn criteria(&self) -> Criteria<'_> {
        Criteria { headers: &self.headers, ask: &self.ask, rules: &self.route.rules }
    }

    /// Which requests its verdict binds, if it is to be remembered for `ttl`.
    fn binding(&self, kind: Kind, vary: Vec<HeaderName>, ttl: Duration) -> Binding {
        let lasts = Lasts { began: self.asked_at, now: self.proxy.now_ms(), ms: millis(ttl) };
        binding::binding_of(&self.proxy.hop_headers, &self.party(), kind, vary, lasts, &self.earlier)
    }

    /// The number of a part's fill that is under way here and that this one can't ride.
    pub(crate) fn behind(&self) -> Option<Number> {
        self.behind
    }

    /// The number of the stale record that memory has, 0 if there is none. Only of one whose lifetime has
    /// ended: any other was refused for a reason that the store's entry may not have.
    pub(crate) fn known(&self) -> Number {
        let ended = |stale: &&Arc<Stored>| {
            stale.record.fresh_until() <= self.proxy.now_ms() && *stale.record.key == *self.place.key.text()
        };
        self.stale.as_ref().filter(ended).map_or(0, |stale| stale.number())
    }

    /// Returns whether it has met a body whose bytes are gone.
    pub(crate) fn is_past_lost(&self) -> bool {
        self.patience.is_some()
    }

    /// Starts the fill in a task of its own.
    pub(crate) fn spawn(mut self: Box<Self>, leader: Leader) {
        leader.inform(|info| {
            self.interest = info.interest.clone();
            info.key = Some(self.place.key.clone());
            info.route = Some(self.route.name.clone());
            info.began = Some(self.began);
            info.owned = self.owner.is_some();
        });
        // In a box, as a task moves what it runs several times, and this is 3 KB.
        tokio::spawn(Box::pin(self.run(leader)));
    }

    async fn run(mut self: Box<Self>, mut leader: Leader) {
        let proxy = self.proxy.clone();
        let names = proxy.names(&self.place.key);
        let mut live = Arc::default();
        leader.inform(|info| live = info.live.clone());
        let patience = self.patience.or_else(|| self.behind.map(|_| Instant::now() + PATIENCE));
        let until = patience.map_or(self.deadline, |until| until.min(self.deadline));
        let (entered, judge) = loop {
            let judge = FillJudge::new(&self, Arc::clone(&live));
            let superseded = self.past.hard(&proxy.stamps, self.place.named());
            let entered = proxy.flight.enter(&names, until, superseded, &judge).await;
            if !self.looks_again(&entered).await {
                break (entered, judge);
            }
        };
        self.failed_lately = judge.failed_lately();
        let hash = self.place.key.hash();
        self.earlier.extend(judge.prior());
        self.earlier.extend(proxy.negative_cache.prior(hash, self.place.named(), &proxy.stamps));
        self.asked_at = proxy.now_ms();
        if let Some(last) = judge.last() {
            if !policy::answers(&self.headers, self.ask.want, &last.record) {
                self.forward = Fwd::Partial;
            } else if self.stale.is_none() && judge.found_at_first().is_some() {
                self.forward = Fwd::Stale;
            }
            self.stale = Some(last);
        }
        leader.inform(|info| info.forward = Some(self.forward));
        match entered {
            Entered::Cached(StoreSighting::Told(told)) => {
                // It may be stale. The request that is given it leads the refresh, and must not join this
                // flight.
                leader.retire();
                leader.settle(told);
            }
            Entered::Awaited(StoreSighting::Told(told)) => leader.settle(match told {
                FlightOutcome::Stored(found) => {
                    FlightOutcome::Stored(FoundRecord { how: How::Awaited, ..found })
                }
                other => other,
            }),
            Entered::Cached(StoreSighting::Elsewhere(seen))
            | Entered::Awaited(StoreSighting::Elsewhere(seen)) => {
                Box::pin(self.ride_elsewhere(leader, names, seen)).await;
            }
            Entered::Won(fill) | Entered::Alone(fill) => match self.kept_meanwhile(&fill) {
                Some(stored) => {
                    leader.retire();
                    leader.settle(FlightOutcome::Stored(FoundRecord::cached(stored, How::Cached)));
                }
                None => Box::pin(self.fetch(leader, fill)).await,
            },
            Entered::Unavailable(_) => leader.settle(FlightOutcome::Refused(Refused::StoreDown)),
            // That part takes longer than the patience: this one is fetched beside it.
            Entered::TimedOut(_) if until < self.deadline => {
                let fill = proxy.flight.apart(&names);
                Box::pin(self.fetch(leader, fill)).await;
            }
            Entered::TimedOut(_) => leader.settle(FlightOutcome::Refused(Refused::Deadline)),
        }
    }

    /// Waits for the stamps if a record was found while this instance's may be old. If the stamps then cover
    /// the record, the store is read again. If they don't come in time, each request decides for itself what
    /// to do in doubt. Returns whether the store is to be read again.
    async fn looks_again(&mut self, entered: &Entered<StoreSighting>) -> bool {
        let (Entered::Cached(found) | Entered::Awaited(found)) = entered else { return false };
        let found = match found {
            StoreSighting::Told(FlightOutcome::Stored(found)) => &found.stored,
            StoreSighting::Elsewhere(seen) => &seen.head,
            StoreSighting::Told(_) => return false,
        };
        if self.past.is_sure() {
            return false;
        }
        self.proxy.grows_sure().await;
        self.proxy.learn(&mut self.past, self.place.named());
        let (record, stamps) = (&found.record, &self.proxy.stamps);
        let covered = || self.past.covers(stamps, self.place.named_with(record), record.born, record.token);
        self.past.is_sure() && covered() != Covered::No
    }

    /// Returns whether the bytes of a body of this key can't be read, as far as this instance knows.
    pub(crate) fn is_out_of_reach(&self, manifest: &Manifest) -> bool {
        reach::is_unread(&self.proxy, self.place.key.hash(), manifest, &self.unread)
    }

    /// What another fill of this instance has kept in memory since the request looked there. Without the
    /// store there is no second look at the value (F2): this takes its place.
    fn kept_meanwhile(&self, fill: &Fill) -> Option<Arc<Stored>> {
        if !fill.degraded() || self.owner.is_none() {
            return None;
        }
        let (stored, usable) = store_lookup::kept_since(
            &self.proxy,
            &self.place,
            &self.route,
            &self.ask,
            &self.headers,
            &self.past,
        )?;
        let can_be_read = stored.has_body() || !self.is_out_of_reach(&stored.record.body);
        (can_be_read && matches!(usable, Use::Fresh { .. })).then_some(stored)
    }

    /// Ends the fill as the policy's verdict on the response says.
    async fn answered(mut self: Box<Self>, leader: Leader, fill: Fill, head: Box<Head>) {
        self.account.heard(&head.response);
        let mut verdict = self.verdict(&head);
        if let Verdict::Store(lifetime) = &verdict
            && let Some(ms) = self.beside_ms(head.response.status, lifetime)
        {
            verdict = Verdict::Failed { until_ms_from_now: Some(ms), shareable: true };
        }
        if !matches!(verdict, Verdict::Failed { .. }) {
            self.proxy.negative_cache.recovered(self.place.key.hash());
        }
        match verdict {
            Verdict::Store(lifetime) => self.store(leader, fill, head, lifetime, None).await,
            // Nothing of it could be reused later, or its end can't be told: shared, not stored.
            Verdict::Share { lifetime, why } => self.store(leader, fill, head, lifetime, Some(why)).await,
            Verdict::Pass(reason) => self.passed(leader, fill, head, reason).await,
            Verdict::Failed { until_ms_from_now, shareable } => {
                self.failed(leader, fill, head, until_ms_from_now, shareable).await;
            }
        }
    }

    pub(crate) fn verdict(&self, head: &Head) -> Verdict {
        let answer = answer_of(head);
        match self.range {
            SentRange::Own(asked) => policy::verdict_of_range(&self.ask, &answer, asked, &self.route.rules),
            SentRange::None | SentRange::Missing => policy::verdict(&self.ask, &answer, &self.route.rules),
        }
    }

    /// Publishes the stored response that a 304 has validated.
    async fn refreshed(mut self: Box<Self>, mut leader: Leader, fill: Fill, sent: Moment, stored: Stored) {
        self.account.status = Some(StatusCode::NOT_MODIFIED);
        let stored = Arc::new(stored);
        let coordinated = fill.coordinated();
        leader.settle(FlightOutcome::Stored(FoundRecord {
            stored: stored.clone(),
            how: How::Validated,
            exchange: Some((sent, self.owner)),
            coordinated,
        }));
        leader.inform(|info| info.phase = Phase::Publish);
        self.account.followers = leader.followers();
        self.publish(fill, stored, None, FillOutcome::Unchanged, 0).await;
    }

    /// The response is not to be shared: all requests that wait are told at once.
    async fn passed(
        mut self: Box<Self>,
        mut leader: Leader,
        fill: Fill,
        head: Box<Head>,
        reason: PassReason,
    ) {
        let token = fill.token();
        self.note_pass(&fill, reason).await;
        self.account.followers = leader.followers();
        // In this order: a request that comes now has not waited, and is judged by the note.
        leader.retire();
        leader.settle(FlightOutcome::Pass(
            reason,
            PrivateResponse::new(self.owner, self.range.own().is_some(), head.response),
        ));
        fill.release().await;
        // The fill's own exchange is the first pass of its key.
        self.proxy.observer.passing(&self.route, reason);
        self.unstored(FillOutcome::Pass, token, 0, reason);
    }
}

/// The head as the policy judges it.
pub(crate) fn answer_of(head: &Head) -> Answer<'_> {
    Answer {
        status: head.response.status,
        headers: &head.response.headers,
        requested_at: head.requested_at,
        received_at: head.received_at,
        framing: framing(head.response.framing),
    }
}

pub(crate) fn framing(framing: upstream::Framing) -> policy::Framing {
    match framing {
        upstream::Framing::Length(len) => policy::Framing::Length(len),
        upstream::Framing::Framed => policy::Framing::Framed,
        upstream::Framing::Close => policy::Framing::Close,
    }
}

// === impl Account ===

impl Account {
    fn heard(&mut self, response: &upstream::Response) {
        self.status = Some(response.status);
        self.timing = Some(response.timing);
    }
}
