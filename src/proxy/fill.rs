//! A fill: one task that belongs to no client (F4), from the lease to the publish.
//!
//! Dropping it at any point hands everything on: the leader's drop tells the followers here, the
//! fill's drop releases the lease, the writer's drop breaks its readers off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::Proxy;
use super::asking::Asking;
use super::judge::FillJudge;
use super::place::Place;
use super::told::{Found, How, Leader, Moment, Own, Phase, Refused, Sighted, Told};
use crate::clock::WallMs;
use crate::drain::Guard;
use crate::dust::Number;
use crate::flight::{Entered, Fill};
use crate::key::target::Target;
use crate::policy::{self, Answer, Ask, Fwd, PassReason, Verdict};
use crate::route::{Finish, Route};
use crate::telemetry::words::{FillOutcome, Why};
use crate::tier::{Covered, Stored};
use crate::upstream::{self, Lane};

mod elsewhere;
mod ending;
mod herald;
mod resume;
mod store;
mod variants;

use resume::{Partial, Rest};

pub(super) use ending::millis;
pub(crate) use variants::Rolls;

/// Everything that a fill needs of the request that started it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(super) proxy: Arc<Proxy>,
    pub(super) route: Arc<Route>,
    pub(super) target: Target,
    /// The client's fields, for Vary and for the request to upstream.
    pub(super) headers: HeaderMap,
    pub(super) ask: Ask,
    pub(super) place: Place,
    pub(super) owner: Option<Moment>,
    pub(super) stale: Option<Arc<Stored>>,
    pub(super) deadline: Instant,
    pub(super) forwarded: super::asking::Forwarded,
    pub(super) forward: Fwd,
    /// What is known of a body that another instance did not bring to its end.
    partial: Option<Arc<Partial>>,
    /// Upstream failed a moment ago, for a request that was alone with it.
    failed_lately: bool,
    /// What its line in the log will say.
    pub(super) account: Account,
    /// The life of the store that its body belongs to.
    life: Arc<str>,
    began: Instant,
    _guard: Guard,
}

/// What is known of a fill for its line in the log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    coordinated: bool,
    followers: usize,
    status: Option<StatusCode>,
    timing: Option<upstream::Timing>,
}

/// A response's head, and when it was asked for and received.
pub(super) struct Head {
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
        asking: &Asking,
        place: Place,
        owner: Option<Moment>,
        stale: Option<Arc<Stored>>,
        deadline: Instant,
    ) -> Self {
        let now = proxy.now_ms();
        let forward = match (&stale, &place.node) {
            // Fresh, but not for a client that wants it validated.
            (Some(stored), _)
                if stored.record.fresh_until() > now && stored.covered(&proxy.stamps) == Covered::No =>
            {
                Fwd::Request
            }
            (Some(_), _) => Fwd::Stale,
            (None, Some(_)) => Fwd::VaryMiss,
            (None, None) => Fwd::UriMiss,
        };
        Self {
            proxy: proxy.clone(),
            route: asking.route.clone(),
            target: asking.target.clone(),
            headers: asking.headers.clone(),
            ask: asking.ask,
            place,
            owner,
            stale,
            deadline,
            forwarded: asking.forwarded.clone(),
            forward,
            partial: None,
            failed_lately: false,
            account: Account::default(),
            life: proxy.bodies.life(),
            began: Instant::now(),
            _guard: proxy.drain.guard(),
        }
    }

    /// Starts the fill in a task of its own.
    pub(crate) fn spawn(self, leader: Leader) {
        leader.inform(|info| {
            info.key = Some(self.place.key.clone());
            info.route = Some(self.route.name.clone());
            info.began = Some(self.began);
            info.owned = self.owner.is_some();
        });
        tokio::spawn(self.run(leader));
    }

    async fn run(mut self, mut leader: Leader) {
        let proxy = self.proxy.clone();
        let names = proxy.names(&self.place.key);
        let judge = FillJudge::new(&self);
        let superseded = proxy.stamps.hard(self.place.url);
        let entered = proxy.flight.enter(&names, self.deadline, superseded, &judge).await;
        self.failed_lately = judge.failed_lately();
        if let Some(last) = judge.last() {
            if self.stale.is_none() {
                self.forward = Fwd::Stale;
            }
            self.stale = Some(last);
        }
        match entered {
            Entered::Cached(Sighted::Told(told)) => {
                // It may be stale: then who is given it leads the refresh, and must not find this
                // flight in the way.
                leader.retire();
                leader.settle(told);
            }
            Entered::Awaited(Sighted::Told(told)) => leader.settle(match told {
                Told::Stored(found) => Told::Stored(Found { how: How::Awaited, ..found }),
                other => other,
            }),
            Entered::Cached(Sighted::Elsewhere(seen)) | Entered::Awaited(Sighted::Elsewhere(seen)) => {
                Box::pin(self.ride_elsewhere(leader, names, seen)).await;
            }
            Entered::Won(fill) | Entered::Alone(fill) => Box::pin(self.fetch(leader, fill)).await,
            Entered::Unavailable(_) => leader.settle(Told::Refused(Refused::StoreDown)),
            Entered::TimedOut(_) => leader.settle(Told::Refused(Refused::Deadline)),
        }
    }

    /// Asks upstream, with validators if there is something to validate.
    async fn fetch(mut self, leader: Leader, fill: Fill) {
        self.account.coordinated = !fill.degraded();
        self.life = self.proxy.bodies.life();
        let metrics = self.proxy.notices.route(&self.route).clone();
        let _filling = metrics.filling();
        metrics.key();
        if fill.degraded() {
            metrics.uncoordinated();
        }
        leader.inform(|info| {
            info.phase = Phase::Headers;
            info.fence = fill.token();
        });
        let born = fill.token();
        if let Some(partial) = self.resumable(&fill) {
            match self.rest_of(&partial, born).await {
                Rest::Nothing => return self.completed(leader, fill, &partial).await,
                Rest::Comes(head) => return self.resumed(leader, fill, head, &partial).await,
                Rest::Other(head) => return self.answered(leader, fill, head).await,
                Rest::Failed(error) => return self.no_answer(leader, fill, error).await,
                Rest::Unknown => {}
            }
        }
        let mut validators = self.validators();
        loop {
            let conditional = validators.is_some();
            let head = tokio::select! {
                biased;
                head = self.exchange(validators.take(), born) => head,
                () = leader.unwanted(), if self.ends_unwanted() => {
                    self.abandoned(fill).await;
                    return;
                }
            };
            match head {
                Err(error) => return self.no_answer(leader, fill, error).await,
                Ok(head) if conditional && head.response.status == StatusCode::NOT_MODIFIED => {
                    if let Some(refreshed) = self.refresh(&head, &fill) {
                        return self.refreshed(leader, fill, head.sent, refreshed).await;
                    }
                    // It validated something that we do not have: ask again for the whole.
                }
                Ok(head) => return self.answered(leader, fill, head).await,
            }
        }
    }

    /// Whether it ends when nobody waits. A refresh behind an answer never has anybody who does.
    fn ends_unwanted(&self) -> bool {
        self.owner.is_some() && self.route.finish == Finish::WhileWanted
    }

    /// One exchange up to the response's head.
    pub(super) async fn exchange(
        &self,
        validators: Option<HeaderMap>,
        born: Number,
    ) -> Result<Head, upstream::Error> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut headers = self.proxy.fill_headers(&self.route, &self.target, &self.headers, &self.forwarded);
        if let Some(validators) = validators {
            headers.extend(validators);
        }
        let marks = (sent.clone(), self.proxy.clone());
        let request = upstream::Request {
            method: Method::GET,
            target: self.route.upstream_target(&self.target, true),
            headers,
            body: None,
            lane: Lane::Fill,
            deadline: Some(self.deadline),
            on_sent: Some(Box::new(move || marks.0.store(marks.1.moments.next(), Ordering::Release))),
        };
        let requested_at = self.proxy.now_ms();
        self.proxy.notices.route(&self.route).fetch();
        let response = self.proxy.upstream(&self.route).send(request).await?;
        let received_at = self.proxy.now_ms();
        Ok(Head { response, sent: sent.load(Ordering::Acquire), requested_at, received_at, born })
    }

    async fn answered(mut self, leader: Leader, fill: Fill, head: Head) {
        self.account.heard(&head.response);
        match self.verdict(&head) {
            Verdict::Store(lifetime) => self.store(leader, fill, head, lifetime, true).await,
            // Nothing would be left to use later, or its end can't be told: shared, not stored.
            Verdict::Share { lifetime, .. } => self.store(leader, fill, head, lifetime, false).await,
            Verdict::Pass(reason) => self.passed(leader, fill, head, reason).await,
            Verdict::Failed { until_ms_from_now, shareable } => {
                self.failed(leader, fill, head, until_ms_from_now, shareable).await;
            }
        }
    }

    pub(super) fn verdict(&self, head: &Head) -> Verdict {
        let answer = Answer {
            status: head.response.status,
            headers: &head.response.headers,
            requested_at: head.requested_at,
            received_at: head.received_at,
            framing: match head.response.framing {
                upstream::Framing::Length(len) => policy::Framing::Length(len),
                upstream::Framing::Framed => policy::Framing::Framed,
                upstream::Framing::Close => policy::Framing::Close,
            },
        };
        policy::verdict(&self.ask, &answer, &self.route.rules)
    }

    fn validators(&self) -> Option<HeaderMap> {
        let stale = self.stale.as_ref()?;
        let usable = stale.covered(&self.proxy.stamps) != Covered::Hard
            && stale.record.end() > self.proxy.now_ms()
            && policy::selects(&stale.record, &self.headers);
        if usable { policy::validators(&stale.record) } else { None }
    }

    /// The record that a 304 makes of the stale one: its bytes stay where they are.
    fn refresh(&self, head: &Head, fill: &Fill) -> Option<Stored> {
        let stale = self.stale.as_ref()?;
        let mut whole = stale.record.clone();
        whole.body = (*stale.manifest).clone();
        let mut record = policy::refresh(
            &whole,
            &head.response.headers,
            head.requested_at,
            head.received_at,
            &self.route.rules,
        )?;
        record.token = fill.token();
        Some(Stored::new(record, &self.route.rules, stale.body.clone()))
    }

    async fn refreshed(mut self, mut leader: Leader, fill: Fill, sent: Moment, stored: Stored) {
        self.account.status = Some(StatusCode::NOT_MODIFIED);
        let stored = Arc::new(stored);
        let coordinated = fill.coordinated();
        leader.settle(Told::Stored(Found {
            stored: stored.clone(),
            how: How::Validated,
            exchange: Some((sent, self.owner)),
            coordinated,
        }));
        leader.inform(|info| info.phase = Phase::Publish);
        self.account.followers = leader.followers();
        self.publish(fill, stored, FillOutcome::Unchanged, 0).await;
    }

    /// The response is not for sharing. Everybody hears so at once.
    async fn passed(mut self, mut leader: Leader, fill: Fill, head: Head, reason: PassReason) {
        let token = fill.token();
        self.note_pass(&fill, reason).await;
        self.account.followers = leader.followers();
        leader.settle(Told::Pass(reason, Own::new(self.owner, head.response)));
        leader.retire();
        fill.release().await;
        self.report(FillOutcome::Pass, token, 0, Some(Why::Pass(reason.as_str())));
    }
}

// === impl Account ===

impl Account {
    fn heard(&mut self, response: &upstream::Response) {
        self.status = Some(response.status);
        self.timing = Some(response.timing);
    }
}
