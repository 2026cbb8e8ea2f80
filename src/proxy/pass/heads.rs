//! HEADs that no stored GET answers: those that would send the very same request share one exchange.
//!
//! The response to a HEAD has no content, so a HEAD leads no fill. The response is shared in this instance
//! alone, by requests whose every field upstream would see is the same: whatever the origin varies on or
//! fails for is then the same for all of them. Nothing is kept but the update of a stored GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, Method, Response};
use tokio::time::{Instant, timeout_at};

use crate::dust::Number;
use crate::flight::{Joined, Settled};
use crate::key::{Key, KeyHash};
use crate::policy::{self, Answer, Asks, Directives, PassReason, RequestFacts, Verdict, Want};
use crate::proxy::cause::{Cause, Refused};
use crate::proxy::fill::{framing, is_answered};
use crate::proxy::lookup::{CacheSlot, cache_status};
use crate::proxy::outcome::{Moment, PrivateResponse};
use crate::proxy::pass;
use crate::proxy::pass::head_update::{self, Of};
use crate::proxy::purge::invalidate;
use crate::proxy::request::CacheRequest;
use crate::proxy::respond;
use crate::proxy::respond::body::{ReplyBody, finish};
use crate::proxy::state::head_flight::{HeadLeader, HeadOutcome, SharedHead};
use crate::proxy::state::past::Arrival;
use crate::proxy::state::under_way::Counted;
use crate::proxy::state::{Proxy, pace};
use crate::telemetry::labels::{Cache, FollowerEnd, Role, Scope, Shed, Source};
use crate::tier::Covered;
use crate::tier::stamps::Named;
use crate::upstream::{self, ErrorKind, Interest, Lane};

/// One exchange, in a task of its own: a client that leaves does not end it for the others.
struct HeadExchange {
    proxy: Arc<Proxy>,
    counted: Counted,
    request: upstream::Request,
    sent: Arc<AtomicU64>,
    asks: Asks,
    ask: RequestFacts,
    of: Of,
    me: Moment,
}

/// Returns whether a request may share its exchange: a HEAD that is passed for its method alone, without
/// credentials and without validators.
pub(crate) fn may_share_head(request: &CacheRequest, reason: PassReason) -> bool {
    let own = [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE];
    reason == PassReason::Method
        && request.ask.want == Want::Head(None)
        && request.route.cache
        && request.route.coalesce
        && !request.ask.credentialed()
        && !own.iter().any(|field| request.headers.contains_key(field))
}

/// Answers a HEAD by an exchange that it shares, or passes it by itself after all.
pub(crate) async fn share_head(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    place: CacheSlot,
) -> Response<ReplyBody> {
    let mut arrival = proxy.arrival(place.named());
    let arrived = arrival.at;
    let began = Instant::now();
    let deadline = began + request.route.wait_timeout;
    let (route, target) = (&request.route, &request.target);
    let fields = proxy.hop_headers.fill_headers(route, target, &request.headers, &request.forwarded);
    let key = key_of(&place, &route.upstream_target(target, true), &fields);
    let mut refused = None;
    for moves in 0_u32.. {
        if !pace::moves_on(&proxy.dice, moves, deadline).await {
            proxy.observer.shed(Shed::WaitDeadline);
            return respond::refuse(request, Cause::Refused(Refused::Deadline), None);
        }
        let joined = match &refused {
            None => proxy.heads.join(&key),
            Some(old) => proxy.heads.join_after(&key, old),
        };
        let (follower, waits) = match joined {
            Joined::Lead(leader) => {
                let follower = leader.follower();
                proxy.observer.passing(&request.route, PassReason::Method);
                request.ticket.waits_for(follower.info());
                let counted = Counted::of(proxy, place.url);
                let plan_query =
                    HeadExchange::new(proxy, counted, &request, fields.clone(), arrived, deadline);
                tokio::spawn(plan_query.of(follower.info()).run(leader));
                (follower, None)
            }
            Joined::Follow(follower) => {
                request.ticket.waits_for(follower.info());
                (follower, Some(proxy.observer.route(&request.route).following()))
            }
        };
        let mine = waits.is_none();
        let settled = timeout_at(deadline, follower.settled()).await;
        request.ticket.waited(began.elapsed());
        match settled {
            Err(_) => {
                proxy.observer.shed(Shed::WaitDeadline);
                return respond::refuse(request, Cause::Refused(Refused::Deadline), None);
            }
            Ok(Settled::Abandoned) => refused = None,
            // That was not the origin's failure: one of the requests that are there leads.
            Ok(Settled::Told(HeadOutcome::Failed(error)))
                if error.kind == ErrorKind::Unwanted && !request.ticket.may_be_gone() =>
            {
                refused = Some(follower);
            }
            Ok(Settled::Told(HeadOutcome::Failed(error))) => {
                if !mine {
                    request.ticket.line.cache = Cache::Follower;
                }
                return respond::refuse(request, Cause::Upstream(error.kind), None);
            }
            Ok(Settled::Told(HeadOutcome::Shared(shared))) if !mine => {
                proxy.learn(&mut arrival.past, place.named());
                if answers_too(proxy, &shared, &request.ask, &place, &arrival) {
                    proxy.observer.followed(Scope::Instance, FollowerEnd::Rode, began.elapsed());
                    return answer_head(proxy, request, &shared);
                }
                refused = Some(follower);
            }
            // Each request goes by itself.
            Ok(Settled::Told(HeadOutcome::Apart(_))) if !mine => break,
            Ok(Settled::Told(heard)) => match heard.own().and_then(PrivateResponse::take) {
                Some(response) => {
                    return pass::own_alone(proxy, request, None, response, PassReason::Method);
                }
                None => break,
            },
        }
    }
    pass::pass_alone(proxy, request, Some(place), PassReason::Method).await
}

/// Returns whether a request may be given the response to another one (F5, F8).
fn answers_too(
    proxy: &Proxy,
    shared: &SharedHead,
    ask: &RequestFacts,
    place: &CacheSlot,
    arrival: &Arrival,
) -> bool {
    let arrived = arrival.at;
    let unsure = arrived >= shared.sent && proxy.doubt(&arrival.past).is_some();
    let named = Named { tags: &shared.tags, ..place.named() };
    if arrival.past.covers(&proxy.stamps, named, shared.born, Number::MAX) == Covered::Hard || unsure {
        return false;
    }
    let age_ms = shared.age_ms.saturating_add(proxy.now_ms().saturating_sub(shared.received_at));
    let unbound = !ask.wants.no_cache && ask.wants.max_age.is_none() && ask.wants.min_fresh.is_none();
    // Nothing of this exchange is stored, so another instance that answers an unsafe request does not know of
    // it. That instance writes a stamp, but does not wait until others have heard of it.
    let judged = !proxy.dust.shared();
    let reused = unbound && judged && (shared.once || age_ms < shared.fresh_ms);
    arrived < shared.sent || shared.failed || reused
}

fn answer_head(proxy: &Proxy, mut request: CacheRequest, shared: &SharedHead) -> Response<ReplyBody> {
    let ticket = &mut request.ticket;
    (ticket.line.cache, ticket.line.source, ticket.line.role) =
        (Cache::Follower, Some(Source::Awaited), Some(Role::Follower));
    ticket.line.leader = Some(proxy.settings.instance.clone());
    let age_ms = shared.age_ms.saturating_add(proxy.now_ms().saturating_sub(shared.received_at));
    ticket.line.age_s = Some(age_ms / 1000);
    let mut headers = shared.headers.clone();
    policy::set_age(&mut headers, age_ms);
    proxy.hop_headers.map_urls(&request, &mut headers);
    let status = cache_status::awaited(cache_status::passed(PassReason::Method, request.forward));
    proxy.hop_headers.deliver(&request, &mut headers, Some(&status));
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = shared.status;
    *response.headers_mut() = headers;
    finish(request.ticket, response)
}

// === impl HeadExchange ===

impl HeadExchange {
    fn new(
        proxy: &Arc<Proxy>,
        counted: Counted,
        asking: &CacheRequest,
        headers: HeaderMap,
        me: Moment,
        deadline: Instant,
    ) -> Self {
        let proxy = proxy.clone();
        let sent = Arc::new(AtomicU64::new(0));
        let marks = (sent.clone(), proxy.clone());
        let asks = Asks::of(&headers);
        let request = upstream::Request {
            method: Method::HEAD,
            target: asking.route.upstream_target(&asking.target, true),
            headers,
            body: None,
            lane: Lane::Pass,
            deadline: Some(deadline),
            on_sent: Some(Box::new(move || marks.0.store(marks.1.moments.next(), Ordering::Release))),
            interest: None,
        };
        Self { proxy, counted, request, sent, asks, ask: asking.ask, of: Of::from(asking), me }
    }

    /// Sets the interest of the requests that are known to wait for it.
    fn of(mut self, interest: Interest) -> Self {
        self.request.interest = Some(interest);
        self
    }

    async fn run(self, mut leader: HeadLeader) {
        // Counted until its answer is with the requests that wait.
        let Self { proxy, counted: _counted, request, sent, asks, ask, of, me } = self;
        let _guard = proxy.drain.guard();
        let born = invalidate::number(&proxy);
        let requested_at = proxy.now_ms();
        let upstream = proxy.upstream(&of.route);
        let answer = tokio::select! {
            biased;
            answer = upstream.send(request) => answer,
            // No request waits for it any more.
            () = leader.unwanted() => return,
        };
        let received_at = proxy.now_ms();
        let answer = answer.and_then(|response| is_answered(asks, &response).map(|()| response));
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                proxy.observer.upstream_error(&of.route, &error);
                return leader.settle(HeadOutcome::Failed(error));
            }
        };
        proxy.observer.upstream_answered(&of.route, &response);
        head_update::head_update(&proxy, &of, response.status, &response.headers, born).await;
        let rules = &of.route.rules;
        let headers = policy::stored_headers(&response.headers, rules, received_at);
        let answer = Answer {
            status: response.status,
            headers: &response.headers,
            requested_at,
            received_at,
            framing: framing(response.framing),
        };
        let verdict = policy::verdict(&ask, &answer, rules);
        // With more tags than can be kept it is not shared.
        let tags = policy::tags(&response.headers, rules).unwrap_or_default();
        let age_ms = policy::initial_age(&response.headers, requested_at, received_at);
        let status = response.status;
        let said = Directives::of(&response.headers, rules).overlooking(rules.ignore);
        let own = PrivateResponse::new(Some(me), false, response);
        let (fresh_ms, failed) = match verdict {
            Verdict::Store(lifetime) | Verdict::Share { lifetime, .. } => (lifetime.fresh_ms, false),
            Verdict::Failed { shareable: true, .. } => (0, true),
            Verdict::Failed { .. } | Verdict::Pass(_) => return leader.settle(HeadOutcome::Apart(own)),
        };
        let sent = sent.load(Ordering::Acquire);
        let once = fresh_ms == 0 && !(said.forbid_stale() || said.imply_no_stale());
        leader.settle(HeadOutcome::Shared(Arc::new(SharedHead {
            own,
            status,
            headers,
            age_ms,
            received_at,
            fresh_ms,
            sent,
            born,
            tags,
            failed,
            once,
        })));
    }
}

/// The key of an exchange: the response's key, and all that the origin sees of the request.
fn key_of(place: &CacheSlot, target: &str, fields: &HeaderMap) -> KeyHash {
    let mut lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii())).collect();
    lines.sort_unstable();
    Key::new(&format!("{}\nHEAD {target}\n{}", place.key.text(), lines.join("\n"))).hash()
}
