//! A request that memory could not answer. It leads or follows, and has exactly one end: it rides a result,
//! goes by itself, or is refused (F3).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dust::Number;
use crate::flight::{Joined, Settled};
use crate::policy::{self, CacheStatus, ErrorCase, PassReason};
use crate::proxy::cause::{Cause, Refused};
use crate::proxy::fill::{self, Job, behind};
use crate::proxy::lookup::candidate::{Candidate, Criteria, Use};
use crate::proxy::lookup::{CacheSlot, cache_status, languages, noted, store_lookup};
use crate::proxy::outcome::{Failure, FlightOutcome, Follower, FoundRecord, How, Moment};
use crate::proxy::request::CacheRequest;
use crate::proxy::request::binding::{COURTESY, Party, Prior, tells_little_by};
use crate::proxy::respond::next::Next;
use crate::proxy::state::Proxy;
use crate::proxy::state::negative_cache::NoteResult;
use crate::proxy::state::pace::{self, BACKOFF};
use crate::proxy::state::past::Arrival;
use crate::proxy::{pass, respond};
use crate::telemetry::labels::{Cache, FollowerEnd, Role, Scope, Shed, Source, Why};
use crate::tier::{Covered, Held, Stored};

use step::{End, FollowerAction, Move};

pub(crate) mod step;

/// Measures how long a request follows other flights, and reports how that ended.
struct Following<'a> {
    proxy: &'a Proxy,
    since: Option<Instant>,
    led: bool,
    scope: Scope,
}

/// Leads or follows until there is an answer.
pub(crate) async fn miss(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    mut place: CacheSlot,
    stale: Option<Arc<Stored>>,
) -> Next {
    let mut arrival = proxy.arrival(place.named());
    let arrived = arrival.at;
    let Some(waiting) = proxy.waiters.enter() else {
        proxy.observer.shed(Shed::Waiters);
        return respond::stale_or(proxy, request, stale, ErrorCase::WaitDeadline, Cause::Waiters, None).await;
    };
    let end = wait(proxy, &mut request, &mut place, stale.as_ref(), &mut arrival).await;
    drop(waiting);
    match end {
        End::Ride(exchange, follower) => {
            Next::Answer(respond::ride(proxy, request, &exchange, follower, arrived))
        }
        End::Take(found) => take(proxy, request, place, found, arrived).await,
        End::Own(response, reason) => Next::Answer(pass::own(proxy, request, *response, reason)),
        End::Failed(failure) => failed(proxy, request, stale, &failure, arrived).await,
        End::Refused(why) => {
            if why == Refused::Deadline {
                proxy.observer.shed(Shed::WaitDeadline);
            }
            let stale = stale.or_else(|| in_memory(proxy, &place));
            respond::stale_or(proxy, request, stale, ErrorCase::WaitDeadline, Cause::Refused(why), None).await
        }
        End::Alone(reason) => Next::Pass(request, Some(place), reason),
    }
}

/// Joins flight after flight until one of them answers this request, or its deadline has passed.
async fn wait(
    proxy: &Arc<Proxy>,
    request: &mut CacheRequest,
    place: &mut CacheSlot,
    stale: Option<&Arc<Stored>>,
    arrival: &mut Arrival,
) -> End {
    let began = Instant::now();
    let deadline = respond::waits_until(request);
    let mut following = Following::new(proxy);
    let mut refused: Option<Follower> = None;
    let mut lacked: Option<Option<Number>> = None;
    let mut unbound: Option<Prior> = None;
    request.ticket.following(&place.key);
    if let Some(found) = languages::found_in_language(proxy, request, place).await {
        return End::Take(found);
    }
    for moves in 0_u32.. {
        if !pace::moves_on(&proxy.dice, moves, deadline).await {
            break;
        }
        proxy.learn(&mut arrival.past, place.named());
        // Taken: a follower kept in the old flight would keep a fill going that no other request wants.
        let joined = match refused.take() {
            None => proxy.flights.join(&place.key.hash()),
            Some(old) => proxy.flights.join_after(&place.key.hash(), &old),
        };
        // This request looked in memory too early: the record that the flight refreshes was kept since then,
        // and the request would wait for the refresh.
        if let Joined::Follow(_) = &joined
            && stale.is_none()
            && let Some((stored, _)) = store_lookup::kept_since(
                proxy,
                place,
                &request.route,
                &request.ask,
                &request.headers,
                &arrival.past,
            )
            && !respond::is_out_of_reach(proxy, request, &stored)
        {
            return End::Take(FoundRecord::cached(stored, How::Cached));
        }
        let (follower, _gauge) = match joined {
            Joined::Lead(leader) => {
                following.leads();
                let follower = leader.follower();
                request.ticket.waits_for(follower.info().interest);
                let job = Job::new(proxy, request, place.clone(), Some(arrival.at), stale.cloned(), deadline);
                job.since(arrival.past).beside(lacked.flatten()).after(unbound).spawn(leader);
                (follower, None)
            }
            Joined::Follow(follower) if is_void(proxy, place, arrival, &follower) => {
                // Its bytes were asked for before a purge that this request came after (F8).
                refused = Some(follower);
                continue;
            }
            Joined::Follow(follower) => {
                following.follows();
                request.ticket.waits_for(follower.info().interest);
                (follower, Some(proxy.observer.route(&request.route).following()))
            }
        };
        request.ticket.late = follower.is_settled();
        let settled = timeout_at(deadline, follower.settled()).await;
        request.ticket.waited(began.elapsed());
        request.forward = follower.info().forward.or(request.forward);
        let told = match settled {
            Err(_) => FlightOutcome::Refused(Refused::Deadline),
            Ok(Settled::Told(told)) => told,
            Ok(Settled::Abandoned) if request.ticket.may_be_gone() && follower.info().unwanted => {
                FlightOutcome::Refused(Refused::Unwanted)
            }
            Ok(Settled::Abandoned) => {
                // The leader is gone without a verdict: elect again, not in lockstep.
                sleep_until(deadline.min(Instant::now() + proxy.dice.up_to(BACKOFF))).await;
                refused = None;
                continue;
            }
        };
        if let FlightOutcome::Refused(Refused::Deadline) = told
            && Instant::now() < deadline
        {
            // The leader's deadline, not this request's.
            refused = Some(follower);
            continue;
        }
        following.hears(&told, began);
        proxy.learn(&mut arrival.past, place.named());
        let step = step::step(proxy, request, place, told, arrival, &follower, lacked.is_none());
        let turn = match step::in_doubt(proxy, request, step, arrival) {
            FollowerAction::Move(turn) => turn,
            FollowerAction::End(End::Ride(exchange, follower))
                if exchange.owner != Some(arrival.at)
                    && !respond::begins_in(proxy, request, &exchange, deadline).await =>
            {
                if let Some(cause) = exchange.growing.refusal() {
                    // It is no longer stored, and went on only for clients that had begun to read.
                    let end = End::Alone(fill::unstored(&cause));
                    following.ended(end.word());
                    return end;
                }
                if Instant::now() >= deadline {
                    break;
                }
                // Its bytes are gone: the next exchange, with all requests that find that out.
                refused = Some(follower);
                continue;
            }
            FollowerAction::End(end) => {
                following.ended(end.word());
                return end;
            }
        };
        match turn {
            Move::Next => refused = Some(follower),
            Move::Void(fill) => {
                arrival.past.voids(fill);
                refused = Some(follower);
            }
            Move::Unbound(kind, binding) => {
                if tells_little_by(&proxy.hop_headers, &binding, &Party::of(request, place.primary.hash())) {
                    sleep_until(deadline.min(Instant::now() + COURTESY)).await;
                }
                unbound = Some(Prior { kind, evidence: binding.evidence });
                refused = Some(follower);
                // The next exchange may be over by now.
                let over = match noted::noted(proxy, request, place, true) {
                    NoteResult::Failed(failure) => Some(End::Failed(failure)),
                    NoteResult::Pass(reason) => Some(End::Alone(reason)),
                    NoteResult::Failing(_) | NoteResult::Nothing => None,
                };
                if let Some(end) = over {
                    following.ended(end.word());
                    return end;
                }
            }
            // Once: parts are not waited for one after another. A request for the whole goes on with all
            // others for it: by itself it would be one of many fetches of what may be large.
            Move::Lacks(number) if lacked.is_none() || !request.ask.want.is_ranged() => {
                (refused, lacked) = (Some(follower), Some(number));
            }
            Move::Lacks(_) => {
                let end = End::Alone(PassReason::Partial);
                following.ended(end.word());
                return end;
            }
            Move::At(other) => {
                refused = (other.key == place.key).then_some(follower);
                *place = other;
                request.ticket.following(&place.key);
                if let Some(found) = languages::found_in_language(proxy, request, place).await {
                    let end = End::Take(found);
                    following.ended(end.word());
                    return end;
                }
            }
        }
    }
    following.ended(FollowerEnd::Timeout);
    End::Refused(Refused::Deadline)
}

/// Returns whether a flight brings what a purge covers that the request came after, as far as is known before
/// it has settled: by the lease that it has, or that it waits for.
fn is_void(proxy: &Proxy, place: &CacheSlot, arrival: &Arrival, follower: &Follower) -> bool {
    let info = follower.info();
    let token = if info.fence > 0 { info.fence } else { info.live.load(Ordering::Relaxed) };
    token > 0 && arrival.past.hard(&proxy.stamps, place.named()) > token
}

/// Answers from a record that a flight found or validated.
async fn take(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    place: CacheSlot,
    found: FoundRecord,
    arrived: Moment,
) -> Next {
    if found.how == How::Cached
        && let Some(status) = stale_as_in_memory(proxy, &mut request, place, &found.stored)
    {
        return respond::from_stored(proxy, request, found.stored, status).await;
    }
    let mine = found.exchange.is_some_and(|(_, owner)| owner == Some(arrived));
    request.ticket.line.cache = match found.how {
        How::Cached => Cache::Hit,
        How::Validated if mine => Cache::Revalidated,
        How::Awaited | How::Validated => Cache::Follower,
    };
    request.ticket.line.source = Some(match found.how {
        How::Cached => Source::Cached,
        How::Validated if mine => Source::Computed,
        How::Awaited | How::Validated => Source::Awaited,
    });
    request.ticket.line.role = Some(if mine { Role::Leader } else { Role::Follower });
    request.ticket.line.coordinated = Some(found.coordinated);
    request.ticket.line.fence = Some(found.stored.record.token);
    let other = proxy.other_leader(found.how == How::Awaited, found.stored.record.token);
    request.ticket.line.leader = match found.how {
        How::Validated => Some(proxy.settings.instance.clone()),
        How::Cached | How::Awaited => other.clone(),
    };
    let (ttl_ms, rules) = (respond::ttl_ms(&found.stored, proxy.now_ms()), &request.route.rules);
    let status = cache_status::found(&found, mine, request.forward, ttl_ms, rules);
    let status = CacheStatus { from: other.as_deref(), ..status };
    let status = if request.ticket.unsure { cache_status::in_doubt(status) } else { status };
    respond::from_stored(proxy, request, found.stored, status).await
}

/// A record from the store may be stale, as one in memory may be. Then the answer says so, and the record is
/// refreshed behind it if stale-while-revalidate allows the answer.
fn stale_as_in_memory(
    proxy: &Arc<Proxy>,
    request: &mut CacheRequest,
    place: CacheSlot,
    stored: &Arc<Stored>,
) -> Option<CacheStatus<'static>> {
    // Purges were judged when it was found: those that the request came after.
    match Candidate::new(stored, Covered::No).usable(Criteria::of(request), proxy.now_ms()) {
        Ok(Use::Revalidating { ttl_ms }) => {
            behind::refresh_behind(proxy, request, place, stored);
            request.ticket.stale_hit(stored, Why::WhileRevalidate);
            Some(cache_status::stale(ttl_ms, "stale-while-revalidate"))
        }
        Ok(Use::MaxStale { ttl_ms }) => {
            request.ticket.stale_hit(stored, Why::MaxStale);
            Some(cache_status::stale(ttl_ms, "max-stale"))
        }
        Ok(Use::Fresh { .. }) | Err(_) => None,
    }
}

/// Upstream failed: answers with a stale response if that is allowed, else with upstream's answer or our own.
pub(crate) async fn failed(
    proxy: &Arc<Proxy>,
    mut request: CacheRequest,
    stale: Option<Arc<Stored>>,
    failure: &Failure,
    arrived: Moment,
) -> Next {
    let mine = failure.owner == Some(arrived);
    let (answered, case) = (failure.answered, failure.case());
    let stale = stale.or_else(|| failure.stale.clone());
    request.ticket.line.cache = match (mine, answered) {
        (true, true) => Cache::Miss,
        (true, false) => Cache::Error,
        (false, _) => Cache::Follower,
    };
    request.ticket.line.role = Some(if mine { Role::Leader } else { Role::Follower });
    request.ticket.line.error = Some(failure.word);
    if !respond::stale_allowed(proxy, &request, stale.as_ref(), case) {
        if let Some(answer) = &failure.answer
            && policy::selects_alike(&answer.select, &request.headers)
        {
            return Next::Answer(respond::failure(proxy, request, failure, answer, mine));
        }
        if mine && let Some(response) = failure.own.as_ref().and_then(|own| own.take()) {
            return Next::Answer(pass::own(proxy, request, response, PassReason::OriginError));
        }
    }
    let cause = failure.cause().unwrap_or(Cause::UpstreamStatus(failure.status));
    respond::stale_or(proxy, request, stale, case, cause, Some(failure.again_s())).await
}

fn in_memory(proxy: &Proxy, place: &CacheSlot) -> Option<Arc<Stored>> {
    match proxy.tier.find(place.key.text()) {
        Some(Held::Stored(stored)) => Some(stored),
        Some(Held::Vary(_)) | None => None,
    }
}

// === impl Following ===

impl<'a> Following<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        Self { proxy, since: None, led: false, scope: Scope::Instance }
    }

    fn follows(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn leads(&mut self) {
        self.led = true;
    }

    /// Takes in the outcome of a flight. If it comes from another instance it has been waited for since
    /// `began`: the request has followed, even if it led here.
    fn hears(&mut self, told: &FlightOutcome, began: Instant) {
        let elsewhere = match told {
            FlightOutcome::Stored(found) => found.how == How::Awaited,
            FlightOutcome::Growing(exchange) => exchange.elsewhere,
            FlightOutcome::Varies(_)
            | FlightOutcome::Pass(..)
            | FlightOutcome::Failed(_)
            | FlightOutcome::Refused(_) => false,
        };
        if elsewhere {
            self.since.get_or_insert(began);
            (self.scope, self.led) = (Scope::Fleet, false);
        }
    }

    fn ended(mut self, end: FollowerEnd) {
        self.report(if self.led { FollowerEnd::Promoted } else { end });
    }

    fn report(&mut self, end: FollowerEnd) {
        if let Some(since) = self.since.take() {
            self.proxy.observer.followed(self.scope, end, since.elapsed());
        }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.report(FollowerEnd::Left);
    }
}
