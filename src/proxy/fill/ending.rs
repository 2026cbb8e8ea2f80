//! How a fill ends: failed, broken off, abandoned, noted, published, reported.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use crate::catalog::{EntryText, MAX_NOTE_MS};
use crate::clock::{WallMs, millis};
use crate::dust::Number;
use crate::flight::{Fill, Noted};
use crate::policy::{self, ErrorCase, Lifetime, PassReason, RequestFacts, Varies};
use crate::proxy::cause::Cause;
use crate::proxy::fill::{Head, Job};
use crate::proxy::observer::FillReport;
use crate::proxy::outcome::{Failure, FlightOutcome, Leader, PrivateResponse, SharedFailure};
use crate::proxy::request::binding::Kind;
use crate::proxy::respond::standing_in;
use crate::record::Note;
use crate::telemetry::labels::{FillOutcome, Why};

use crate::upstream::{self, ErrorKind};

/// The longest content of a failed response that is shared with waiting requests, in bytes.
const SHARED_FAILURE: usize = 256 * 1024;
/// How long requests wait for the content of a failed response.
const FAILURE_PATIENCE: Duration = Duration::from_millis(250);
/// How long a failure is remembered, in ms, give or take a half (F7).
const FAILED_MS: u64 = 1_000;
/// How long a verdict stays that is told aside, without a lease.
pub(crate) const ASIDE: Duration = Duration::from_mins(1);

impl Job {
    /// Ends with a failure: upstream gave no answer, or none that is HTTP.
    pub(crate) async fn no_answer(self: Box<Self>, leader: Leader, fill: Fill, error: upstream::Error) {
        let ttl = self.failed_for(None);
        let kind = if error.kind.is_queue() { Kind::Busy } else { Kind::Failed };
        let binding = self.binding(kind, Vec::new(), ttl);
        let failure = Arc::new(Failure {
            status: Cause::Upstream(error.kind).status(),
            answered: false,
            answer: None,
            own: None,
            word: error.kind.as_str(),
            kind: Some(error.kind),
            token: fill.token(),
            again: Instant::now() + error.kind.again_s().map_or(ttl, Duration::from_secs),
            owner: self.owner,
            stale: self.stale.clone(),
            ranged: false,
            binding,
        });
        self.proxy.observer.upstream_error(&self.route, &error);
        // A full queue is this instance's own: it says nothing of the origin, and it may be empty again at
        // once.
        let noted = (!error.kind.is_queue()).then(|| (ttl, self.is_remembered(&leader, &failure, None)));
        self.fail(leader, fill, failure, noted, error.kind.as_str()).await;
    }

    /// Ends with a failure: upstream answered that it failed (408, 425, 429, 5xx). Shared, not stored.
    pub(crate) async fn failed(
        self: Box<Self>,
        leader: Leader,
        fill: Fill,
        head: Box<Head>,
        until_ms: Option<u64>,
        shareable: bool,
    ) {
        let ttl = self.failed_for(until_ms);
        let status = head.response.status;
        let headers = policy::stored_headers(&head.response.headers, &self.route.rules, head.received_at);
        let vary = match policy::varies(&head.response.headers, &self.route.rules) {
            Varies::On(fields) => fields,
            Varies::No | Varies::Star => Vec::new(), // on everything: not shareable
        };
        let select = policy::selecting(&vary, &self.headers);
        let binding = self.binding(Kind::of_failure(status.as_u16()), vary, ttl);
        // What has tags that can't all be kept is not shared: a purge of the one that is left out would miss it.
        let tags = policy::tags(&head.response.headers, &self.route.rules);
        let shareable = shareable && tags.is_some();
        let short = if shareable { short_body(head.response).await } else { Err(head.response) };
        let (answer, own) = match short {
            Ok(body) => (Some(SharedFailure::new(&headers, &body, select, tags.unwrap_or_default())), None),
            Err(response) => {
                (None, Some(PrivateResponse::new(self.owner, self.range.own().is_some(), response)))
            }
        };
        let failure = Arc::new(Failure {
            status,
            answered: true,
            answer,
            own,
            word: "upstream_status",
            kind: None,
            token: fill.token(),
            again: Instant::now() + ttl,
            owner: self.owner,
            stale: self.stale.clone(),
            ranged: self.is_of_range(),
            binding,
        });
        let lasts = self.is_remembered(&leader, &failure, until_ms);
        self.fail(leader, fill, failure, Some((ttl, lasts)), "upstream_status").await;
    }

    /// Settles the flight with a failure. If it is `noted`, *failed* is left under the fence (F7): for how
    /// long, and whether for requests that come until then or only for those that wait on other instances.
    async fn fail(
        mut self: Box<Self>,
        mut leader: Leader,
        fill: Fill,
        failure: Arc<Failure>,
        noted: Option<(Duration, bool)>,
        why: &'static str,
    ) {
        let token = fill.token();
        self.account.followers = leader.followers();
        if failure.answered {
            self.proxy.unstored(&self.route, Some(self.place.key.hash()), PassReason::OriginError);
        }
        if let Some((ttl, lasts)) = noted {
            self.leave_failed(leader, fill, failure, ttl, lasts).await;
        } else {
            fill.abort(None).await;
            leader.settle(FlightOutcome::Failed(failure));
            leader.retire();
        }
        self.report(FillOutcome::Failed, token, 0, Some(Why::Upstream(why)));
    }

    /// Gives up the lease and the flight, and leaves a note for requests that wait on other instances. If it
    /// `lasts`, the failure is also for requests that come until then, here too (F7). That a range failed
    /// says nothing of other requests (F10): no note of it is left for any of them. The flight is settled
    /// last: a request that the failure does not bind finds the lease free.
    pub(crate) async fn leave_failed(
        &self,
        mut leader: Leader,
        fill: Fill,
        failure: Arc<Failure>,
        ttl: Duration,
        lasts: bool,
    ) {
        if failure.ranged {
            fill.abort(None).await;
            leader.settle(FlightOutcome::Failed(failure));
            return leader.retire();
        }
        let stays = if lasts { millis(ttl).min(MAX_NOTE_MS) } else { 0 };
        let until = self.proxy.now_ms().saturating_add(stays);
        // A status that is not one of HTTP's counts as the origin's failure (RFC 9110 §15).
        let status = if failure.status.as_u16() < 600 { failure.status } else { StatusCode::BAD_GATEWAY };
        let (status, binding) = (status.as_u16(), failure.binding.clone());
        let note = Note::Failed { token: fill.token(), status, answered: failure.answered, until, binding };
        if lasts {
            // Before the slot is empty: a request that finds it empty finds the note.
            self.proxy.negative_cache.failed(self.place.key.hash(), failure.clone(), ttl);
        }
        self.abort_with(fill, &note, ttl).await;
        leader.settle(FlightOutcome::Failed(failure));
        leader.retire();
    }

    /// Returns whether upstream was asked for a range because the request has one: then it may have failed
    /// for that alone.
    pub(crate) fn is_of_range(&self) -> bool {
        !self.range.is_none() && self.ask.want.is_ranged()
    }

    /// Upstream broke the body off: its readers are broken off too.
    pub(crate) async fn broke_off(
        self: Box<Self>,
        leader: Leader,
        fill: Fill,
        error: &upstream::Error,
        bytes: u64,
    ) {
        self.proxy.observer.upstream_error(&self.route, error);
        let (failure, ttl) = Failure::truncated(&self, fill.token(), error);
        let why = Why::Upstream(error.kind.as_str());
        self.report(FillOutcome::Truncated, fill.token(), bytes, Some(why));
        let lasts = self.is_remembered(&leader, &failure, None);
        self.leave_failed(leader, fill, failure, ttl, lasts).await;
    }

    /// Returns whether a failure binds requests that come later (F7). `said`: the origin said for how long, in ms.
    fn is_remembered(&self, leader: &Leader, failure: &Failure, said: Option<u64>) -> bool {
        failure.may_be_remembered()
            && (failure.binding.evidence.is_confirmed()
                || self.in_company(leader)
                || self.stays_failed(said, failure.case()))
    }

    /// Returns whether requests wait here besides the one that it was started for.
    fn in_company(&self, leader: &Leader) -> bool {
        leader.followers() > usize::from(self.owner.is_some())
    }

    /// Returns whether a failure that no other request waited for is remembered all the same: the origin said
    /// for how long, no request is refused because of it, or it is the second in a row. A single one may be
    /// an accident, and the next request is as good a probe as any.
    fn stays_failed(&self, said: Option<u64>, case: ErrorCase) -> bool {
        said.is_some() || self.failed_lately || self.owner.is_none() || self.has_stale(&self.ask, case)
    }

    /// Returns whether the stale response may be served to such a request instead of a failure.
    pub(crate) fn has_stale(&self, ask: &RequestFacts, case: ErrorCase) -> bool {
        let rules = &self.route.rules;
        self.stale
            .as_ref()
            .is_some_and(|stale| standing_in::is_better_than(&self.proxy, stale, rules, ask, case))
    }

    /// For how long a response with this status and lifetime is remembered as a failure, in ms, if the stale
    /// response may be served instead of it. Then it does not replace the stale one.
    pub(crate) fn beside_ms(&self, status: StatusCode, lifetime: &Lifetime) -> Option<u64> {
        let stale = self.stale.as_ref()?;
        let left = stale.record.end().saturating_sub(self.proxy.now_ms());
        let fresh = lifetime.fresh_ms.saturating_sub(lifetime.age_ms);
        self.has_stale(&RequestFacts::default(), ErrorCase::Status(status.as_u16())).then(|| fresh.min(left))
    }

    /// When something expires that is remembered for `ttl` from now on, on the store's clock.
    pub(crate) fn until(&self, ttl: Duration) -> WallMs {
        self.proxy.now_ms().saturating_add(millis(ttl).min(MAX_NOTE_MS))
    }

    /// No request waits here any more, and the route ends such fills.
    pub(crate) async fn abandoned(self: Box<Self>, fill: Fill) {
        let token = fill.token();
        fill.abort(None).await;
        self.report(FillOutcome::Abandoned, token, 0, None);
    }

    /// Puts *pass* at the verdict key, and remembers it here (F10). Only if the reason lies in the response
    /// alone, and neither credentials nor a range brought it.
    pub(crate) async fn note_pass(&self, fill: &Fill, reason: PassReason) {
        let ttl_ms = self.route.rules.pass_ttl_ms;
        if ttl_ms == 0 || !reason.shared() || self.ask.credentialed() || !self.range.is_none() {
            return;
        }
        let (ttl, token) = (Duration::from_millis(ttl_ms), fill.token());
        let until = self.until(ttl);
        let binding = self.binding(Kind::Pass, Vec::new(), ttl);
        self.proxy.negative_cache.pass(self.place.key.hash(), reason, binding.clone(), token, ttl);
        let note = Note::Pass { token, reason: reason.as_str().to_owned(), until, binding };
        // Whether it lands does not matter to this client: without it other requests judge for themselves.
        self.leave_note(fill, &note, ttl).await;
    }

    /// Leaves a note at the verdict key, under the fence. If a purge took the lease, the note is told aside,
    /// only for requests on other instances that wait for this fill: they came before the purge (F8).
    pub(crate) async fn leave_note(&self, fill: &Fill, note: &Note, ttl: Duration) {
        let Ok(text) = EntryText::note(note) else { return };
        if fill.note(text.as_str(), Some(ttl)).await == Noted::Fenced && self.proxy.dust.shared() {
            self.tell_aside(fill.names(), fill.token(), &text, ttl.min(ASIDE)).await;
        }
    }

    /// The fill's own line in the log, and its metrics, where its response is not stored.
    pub(crate) fn unstored(&self, outcome: FillOutcome, fence: Number, bytes: u64, why: PassReason) {
        self.proxy.unstored(&self.route, Some(self.place.key.hash()), why);
        self.report(outcome, fence, bytes, Some(Why::Pass(why.as_str())));
    }

    /// The fill's own line in the log, and its metrics.
    pub(crate) fn report(&self, outcome: FillOutcome, fence: Number, bytes: u64, why: Option<Why>) {
        self.proxy.observer.fill(&FillReport {
            ts: self.proxy.now_ms().saturating_sub(millis(self.began.elapsed())),
            fence: Some(fence),
            why,
            duration: self.began.elapsed(),
            bytes,
            coordinated: self.account.coordinated,
            // Besides the request that it was started for.
            followers: self.account.followers.saturating_sub(usize::from(self.owner.is_some())) as u64,
            up_status: self.account.status.map(|status| status.as_u16()),
            timing: self.account.timing,
            error: match why {
                Some(Why::Upstream(word)) => Some(word),
                _ => None,
            },
            ..FillReport::new(&self.route, &self.target, &self.place.key, outcome)
        });
    }

    /// Leaves a note at the verdict key and releases the lease.
    async fn abort_with(&self, fill: Fill, note: &Note, ttl: Duration) {
        self.leave_note(&fill, note, ttl).await;
        fill.abort(None).await;
    }

    /// How long a failure is remembered: as long as the origin `said`, in ms, else for a jittered time.
    fn failed_for(&self, said: Option<u64>) -> Duration {
        // Jittered by a half either way, so that keys that failed together are not tried together.
        let jittered = || FAILED_MS / 2 + self.proxy.dice.below(FAILED_MS);
        Duration::from_millis(said.unwrap_or_else(jittered))
    }
}

/// Reads the whole of a short body that comes at once. If it is not, returns the response with nothing of it
/// lost.
async fn short_body(mut response: upstream::Response) -> Result<Bytes, upstream::Response> {
    let mut whole = BytesMut::new();
    let until = Instant::now() + FAILURE_PATIENCE;
    loop {
        match timeout_at(until, response.body.next()).await {
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Ok(bytes))) if whole.len() + bytes.len() <= SHARED_FAILURE => {
                whole.extend_from_slice(&bytes);
            }
            Ok(Some(next)) => return Err(put_back(response, whole.freeze(), Some(next))),
            Err(_) => return Err(put_back(response, whole.freeze(), None)),
        }
    }
}

/// Puts what was read of a response back before the rest of its body.
fn put_back(
    response: upstream::Response,
    read: Bytes,
    next: Option<Result<Bytes, upstream::Error>>,
) -> upstream::Response {
    let before = stream::iter([Ok(read)].into_iter().chain(next));
    upstream::Response { body: Box::pin(before.chain(response.body)), ..response }
}

impl Failure {
    /// Returns whether it may bind requests that come later. A status that may be the request's own fault
    /// binds them only when a second leader was given one too.
    pub(crate) fn may_be_remembered(&self) -> bool {
        self.binding.evidence.is_confirmed() || !matches!(self.status.as_u16(), 408 | 425)
    }

    /// The kind of the verdict.
    pub(crate) fn judged(&self) -> Kind {
        match self.kind {
            Some(kind) if kind.is_queue() => Kind::Busy,
            _ => Kind::of_failure(self.status.as_u16()),
        }
    }

    /// What went wrong, as the rules for stale answers see it.
    pub(crate) fn case(&self) -> ErrorCase {
        match self.kind {
            // As if it had answered so once more.
            Some(ErrorKind::Limited { status, .. }) => ErrorCase::Status(status),
            _ if self.answered => ErrorCase::Status(self.status.as_u16()),
            _ => ErrorCase::Unreachable,
        }
    }

    /// How much longer upstream is not tried again, in whole seconds, at least 1.
    pub(crate) fn again_s(&self) -> u64 {
        millis(self.again.saturating_duration_since(Instant::now())).div_ceil(1000).max(1)
    }

    /// The proxy's own answer for it, where upstream gave none.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.kind.map(Cause::Upstream)
    }

    /// The failure of an upstream that broke off after its head was in, and for how long it is remembered.
    fn truncated(job: &Job, token: Number, error: &upstream::Error) -> (Arc<Self>, Duration) {
        let kind = if error.kind == ErrorKind::ReadTimeout { error.kind } else { ErrorKind::Truncated };
        let ttl = job.failed_for(None);
        let failure = Self {
            status: if kind.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY },
            answer: None,
            own: None,
            word: kind.as_str(),
            kind: Some(kind),
            token,
            again: Instant::now() + ttl,
            owner: None,
            stale: job.stale.clone(),
            ranged: job.is_of_range(),
            answered: false,
            binding: job.binding(Kind::Failed, Vec::new(), ttl),
        };
        (Arc::new(failure), ttl)
    }
}
