//! Asking upstream: first with what is stored, and again without it where that answer is of no use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method};

use crate::catalog;
use crate::dust::Number;
use crate::flight::Fill;
use crate::policy::{self, Asks, Returned, Unasked};
use crate::proxy::fill::measured::measured;
use crate::proxy::fill::resume::Rest;
use crate::proxy::fill::{Head, Job, lost};
use crate::proxy::lookup::candidate::{Candidate, Strictness, Unfit};
use crate::proxy::lookup::reach;
use crate::proxy::outcome::{Leader, Phase};
use crate::proxy::state::under_way::Counted;
use crate::record::Record;
use crate::route::Finish;
use crate::telemetry::labels::Shed;
use crate::tier::{Covered, Stored};
use crate::upstream::{self, ErrorKind, Lane};

impl Job {
    /// Asks upstream for the whole, for the request's own range, to validate what is stored, or for what a
    /// stored part lacks.
    pub(crate) async fn fetch(mut self: Box<Self>, leader: Leader, fill: Fill) {
        self.account.coordinated = !fill.degraded();
        self.life = self.proxy.bodies.life();
        let metrics = self.proxy.observer.route(&self.route).clone();
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
        let proxy = self.proxy.clone();
        // Counted with its lease or without: not every fill is among the flights until its end.
        let (_filling, _counted) = (proxy.stamps.fills(born), Counted::of(&proxy, self.place.url));
        self.note_spelling(None).await;
        let partial = self.resumable(&fill).await;
        lost::remove_lost(&self.proxy, &fill, self.place.key.hash()).await;
        if let Some(partial) = partial {
            match self.rest_of(&partial, born).await {
                Rest::Nothing => return self.completed(leader, fill, &partial).await,
                Rest::Comes(head) => return Box::pin(self.resumed(leader, fill, head, &partial)).await,
                Rest::Other(head) => return self.answered(leader, fill, head).await,
                Rest::Failed(error) => return self.gave_up(leader, fill, error).await,
                Rest::Unknown => {}
            }
        }
        let stored = self.usable();
        let mut plan_query =
            policy::plan_query(&self.headers, self.ask.want, stored.as_ref(), &self.route.rules);
        loop {
            self.range = plan_query.range();
            let fields = plan_query.fields(stored.as_ref());
            let asks = self.asks(&fields);
            let head = tokio::select! {
                biased;
                head = self.exchange(fields, born) => head,
                () = self.interest.deserted(), if self.ends_deserted() => {
                    return self.forsaken(leader, fill).await;
                }
            };
            let head = match head {
                Ok(head) => head,
                Err(error) => return self.gave_up(leader, fill, error).await,
            };
            match plan_query.returned(stored.as_ref(), head.response.status, &head.response.headers) {
                Returned::Answer => {
                    return match is_answered(asks, &head.response) {
                        Ok(()) => self.answered(leader, fill, head).await,
                        Err(error) => self.no_answer(leader, fill, error).await,
                    };
                }
                Returned::Validated => {
                    if let Some(refreshed) = self.refresh(&head, &fill)
                        && self.has_bytes(&refreshed).await
                    {
                        return self.refreshed(leader, fill, head.sent, refreshed).await;
                    }
                    // It validated a response that is not stored, or not any more: asked for again.
                }
                Returned::Joins(side, missing) => {
                    let joined = stored.as_ref().and_then(|stored| self.joined(stored, missing, &head));
                    if let Some(record) = joined {
                        return Box::pin(self.join(leader, fill, head, record, side, missing)).await;
                    }
                    // By its fields now it may not be stored: asked for again, for its own client alone.
                }
                Returned::Useless => {}
                Returned::Outdated => self.outdated(&fill).await,
            }
            plan_query = plan_query.plain();
        }
    }

    /// Removes the stored part: upstream no longer has its representation. It goes whatever becomes of the
    /// new one.
    async fn outdated(&mut self, fill: &Fill) {
        let Some(old) = self.stale.take() else { return };
        self.proxy.tier.forget(&old);
        self.proxy.observer.removed(self.proxy.catalog.remove_value(fill).await);
    }

    /// What a fill asks for with these fields added to its own. The client's Range does not go out where the
    /// whole is fetched, but a part that comes all the same is what that client asked for.
    pub(crate) fn asks(&self, fields: &HeaderMap) -> Asks {
        let Asks { conditional, ranged } = Asks::of(fields);
        Asks { conditional, ranged: ranged || self.ask.want.is_ranged() }
    }

    /// Returns whether it ends when all clients have left. A refresh behind an answer never has one.
    pub(crate) fn ends_deserted(&self) -> bool {
        self.owner.is_some() && self.route.finish == Finish::WhileWanted
    }

    /// Sends one request with these fields added to those of a fill. Returns the response's head.
    pub(crate) async fn exchange(
        &self,
        besides: HeaderMap,
        born: Number,
    ) -> Result<Box<Head>, upstream::Error> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut headers =
            self.proxy.hop_headers.fill_headers(&self.route, &self.target, &self.headers, &self.forwarded);
        headers.extend(besides);
        let marks = (sent.clone(), self.proxy.clone());
        let request = upstream::Request {
            method: Method::GET,
            target: self.route.upstream_target(&self.target, true),
            headers,
            body: None,
            lane: Lane::Fill,
            deadline: Some(self.deadline),
            interest: Some(self.interest.clone()),
            on_sent: Some(Box::new(move || marks.0.store(marks.1.moments.next(), Ordering::Release))),
        };
        let requested_at = self.proxy.now_ms();
        self.proxy.observer.route(&self.route).fetch();
        let response = tokio::select! {
            biased;
            response = self.proxy.upstream(&self.route).send(request) => measured(response?),
            never = self.keep_noted(None) => match never {},
        };
        self.proxy.observer.upstream_answered(&self.route, &response);
        let received_at = self.proxy.now_ms();
        Ok(Box::new(Head { response, sent: sent.load(Ordering::Acquire), requested_at, received_at, born }))
    }

    /// Ends without an answer: upstream failed, or the exchange was given up because no request waited for
    /// it.
    pub(crate) async fn gave_up(self: Box<Self>, leader: Leader, fill: Fill, error: upstream::Error) {
        if error.kind == ErrorKind::Unwanted {
            self.proxy.observer.shed(Shed::Unwanted);
            return self.forsaken(leader, fill).await;
        }
        self.no_answer(leader, fill, error).await;
    }

    /// Ends because no request is known to wait here any more. Requests that may be gone are told so, all
    /// others elect again.
    pub(crate) async fn forsaken(self: Box<Self>, leader: Leader, fill: Fill) {
        leader.inform(|info| info.unwanted = true);
        self.abandoned(fill).await;
    }

    /// What is stored, with its manifest, if it may still be of use.
    pub(crate) fn usable(&self) -> Option<Record> {
        let stale = self.stale.as_ref()?;
        if *stale.record.key != *self.place.key.text() || self.may_validate(stale).is_err() {
            return None;
        }
        Some(stale.record.clone())
    }

    /// Says what keeps a record from being validated for the request. A part may be completed.
    fn may_validate(&self, stale: &Stored) -> Result<(), Unfit> {
        let candidate = Candidate::new(stale, stale.covered(&self.proxy.stamps));
        let candidate = candidate.unless_purged(Strictness::Hard)?.unless_ended(self.proxy.now_ms())?;
        let candidate =
            candidate.unless(reach::is_lost(&self.proxy, stale.hash, &stale.record.body), Unfit::Lost)?;
        let wants_bytes = self.wants_bytes() && !stale.has_body();
        let unread = wants_bytes && self.is_out_of_reach(&stale.record.body);
        candidate.unless(unread, Unfit::Unread)?.selected(&self.headers).map(drop)
    }

    /// Returns whether a request waits that needs the bytes of what is validated.
    fn wants_bytes(&self) -> bool {
        self.owner.is_some()
    }

    /// Returns whether a validated record still has its bytes: one without them must not be refreshed for
    /// ever.
    async fn has_bytes(&mut self, refreshed: &Stored) -> bool {
        if refreshed.has_body() {
            return !reach::is_lost(&self.proxy, refreshed.hash, &refreshed.record.body);
        }
        let begins = self.proxy.bodies.begins(&refreshed.hash.to_string(), &refreshed.manifest()).await;
        match begins {
            Err(error) if error.condemns() => {
                self.proxy.observer.unreadable(&error);
                if let Some(old) = self.stale.take() {
                    self.proxy.tier.forget(&old);
                }
                false
            }
            // The request that waits can do nothing with it.
            Err(_) if self.wants_bytes() => false,
            // Bytes that merely can't be read now are no reason to fetch them again.
            Ok(()) | Err(_) => true,
        }
    }

    /// The record that a 304 makes of the stale one: its segments stay where they are. None if a purge covers
    /// it by what the 304 names: then the response is asked for whole, as validating it again would never end.
    fn refresh(&self, head: &Head, fill: &Fill) -> Option<Stored> {
        let stale = self.stale.as_ref()?;
        let mut record = policy::refresh(
            &stale.record,
            &head.response.headers,
            head.requested_at,
            head.received_at,
            &self.route.rules,
        )?;
        record.token = fill.token();
        // If its head has grown too long by that, it is fetched as if nothing were stored.
        catalog::fits(&record, Some(record.body.len)).ok()?;
        let refreshed = Stored::new(record, &self.route.rules, stale.body());
        let Record { born, token, .. } = refreshed.record;
        let covered = self.proxy.stamps.covers(refreshed.named(), born, token);
        (covered != Covered::Hard).then_some(refreshed)
    }
}

/// Fails if a GET or HEAD got a 304 or a part that it did not ask for: no client could use that, and the next
/// request would be answered the same.
pub(crate) fn is_answered(asks: Asks, response: &upstream::Response) -> Result<(), upstream::Error> {
    let Some(unasked) = policy::unasked(asks, response.status, &response.headers) else { return Ok(()) };
    let kind = match unasked {
        Unasked::NotModified => ErrorKind::UnaskedNotModified,
        Unasked::Part => ErrorKind::UnaskedPart,
    };
    Err(upstream::Error { kind, detail: format!("{} to a request that did not ask for it", response.status) })
}
