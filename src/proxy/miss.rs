//! A request that memory could not answer: it leads or it follows, and ends in exactly one of
//! riding a result, going by itself, or being refused (F3).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::asking::Asking;
use super::binding::{COURTESY, Party, Prior, tells_little_by};
use super::candidate::{Candidate, Facts, Use};
use super::cause::{Cause, Refused};
use super::fill::{self, Job};
use super::next::Next;
use super::notes::Noted;
use super::pace::{self, BACKOFF};
use super::past::Arrival;
use super::place::Place;
use super::told::{Failure, Follower, Found, How, Moment, Told};
use super::{Proxy, serve, status};
use crate::dust::Number;
use crate::flight::{Joined, Settled};
use crate::policy::{self, CacheStatus, ErrorCase, PassReason};
use crate::telemetry::words::{Cache, FollowerEnd, Role, Scope, Shed, Source, Why};
use crate::tier::{Covered, Held, Stored};

pub(in crate::proxy) mod step;

use step::{End, Move, Step};

/// A request that has followed somebody, until it is known how that ended.
struct Following<'a> {
    proxy: &'a Proxy,
    since: Option<Instant>,
    led: bool,
    scope: Scope,
}

impl Proxy {
    /// Leads or follows until there is an answer.
    pub(crate) async fn miss(
        self: &Arc<Self>,
        mut asking: Asking,
        mut place: Place,
        stale: Option<Arc<Stored>>,
    ) -> Next {
        let mut arrival = self.arrival(place.url);
        let arrived = arrival.at;
        let Some(waiting) = self.waiters.enter() else {
            self.notices.shed(Shed::Waiters);
            return self.stale_or(asking, stale, ErrorCase::WaitDeadline, Cause::Waiters, None).await;
        };
        let end = self.wait(&mut asking, &mut place, stale.as_ref(), &mut arrival).await;
        drop(waiting);
        match end {
            End::Ride(exchange, follower) => Next::Answer(self.ride(asking, &exchange, follower, arrived)),
            End::Take(found) => self.take(asking, place, found, arrived).await,
            End::Own(response, reason) => Next::Answer(self.own(asking, *response, reason)),
            End::Failed(failure) => self.failed(asking, stale, &failure, arrived).await,
            End::Refused(why) => {
                if why == Refused::Deadline {
                    self.notices.shed(Shed::WaitDeadline);
                }
                let stale = stale.or_else(|| self.in_memory(&place));
                self.stale_or(asking, stale, ErrorCase::WaitDeadline, Cause::Refused(why), None).await
            }
            End::Alone(reason) => Next::Pass(asking, Some(place), reason),
        }
    }

    /// Joins flight after flight until one of them means something for this request, or its deadline
    /// has passed.
    async fn wait(
        self: &Arc<Self>,
        asking: &mut Asking,
        place: &mut Place,
        stale: Option<&Arc<Stored>>,
        arrival: &mut Arrival,
    ) -> End {
        let began = Instant::now();
        let deadline = Self::waits_until(asking);
        let mut following = Following::new(self);
        let mut refused: Option<Follower> = None;
        let mut lacked: Option<Option<Number>> = None;
        let mut unbound: Option<Prior> = None;
        asking.ticket.following(&place.key);
        if let Some(found) = self.found_in_language(asking, place).await {
            return End::Take(found);
        }
        for moves in 0_u32.. {
            if !pace::moves_on(&self.dice, moves, deadline).await {
                break;
            }
            self.learn(&mut arrival.past);
            // Taken: a place in the old flight would keep a fill going that nobody else wants.
            let joined = match refused.take() {
                None => self.flights.join(&place.key.hash()),
                Some(old) => self.flights.join_after(&place.key.hash(), &old),
            };
            // It looked too early: what that flight refreshes was kept since, and this request would
            // wait for the refresh.
            if let Joined::Follow(_) = &joined
                && stale.is_none()
                && let Some((stored, _)) =
                    self.kept_since(&place.key, &asking.route, &asking.ask, &asking.headers, &arrival.past)
                && !self.is_out_of_reach(asking, &stored)
            {
                return End::Take(Found::cached(stored, How::Cached));
            }
            let (follower, _gauge) = match joined {
                Joined::Lead(leader) => {
                    following.leads();
                    let follower = leader.follower();
                    asking.ticket.waits_for(follower.info().interest);
                    let job =
                        Job::new(self, asking, place.clone(), Some(arrival.at), stale.cloned(), deadline);
                    job.since(arrival.past).beside(lacked.flatten()).after(unbound).spawn(leader);
                    (follower, None)
                }
                Joined::Follow(follower) if self.is_void(arrival, &follower) => {
                    // Its bytes were asked for before a purge that this request came after (F8).
                    refused = Some(follower);
                    continue;
                }
                Joined::Follow(follower) => {
                    following.follows();
                    asking.ticket.waits_for(follower.info().interest);
                    (follower, Some(self.notices.route(&asking.route).following()))
                }
            };
            asking.ticket.late = follower.is_settled();
            let settled = timeout_at(deadline, follower.settled()).await;
            asking.ticket.waited(began.elapsed());
            asking.forward = follower.info().forward.or(asking.forward);
            let told = match settled {
                Err(_) => Told::Refused(Refused::Deadline),
                Ok(Settled::Told(told)) => told,
                Ok(Settled::Abandoned) if asking.ticket.may_be_gone() && follower.info().unwanted => {
                    Told::Refused(Refused::Unwanted)
                }
                Ok(Settled::Abandoned) => {
                    // The one that led is gone without a word: elect again, not in lockstep.
                    sleep_until(deadline.min(Instant::now() + self.dice.up_to(BACKOFF))).await;
                    refused = None;
                    continue;
                }
            };
            if let Told::Refused(Refused::Deadline) = told
                && Instant::now() < deadline
            {
                // The leader's deadline, not this request's.
                refused = Some(follower);
                continue;
            }
            following.hears(&told, began);
            self.learn(&mut arrival.past);
            let step = self.step(asking, place, told, arrival, &follower, lacked.is_none());
            let turn = match self.in_doubt(asking, step, arrival) {
                Step::Move(turn) => turn,
                Step::End(End::Ride(exchange, follower))
                    if exchange.owner != Some(arrival.at)
                        && !self.begins_in(asking, &exchange, deadline).await =>
                {
                    if let Some(cause) = exchange.growing.refusal() {
                        // It is stored no more, and went on to those who had begun to read.
                        let end = End::Alone(fill::unstored(&cause));
                        following.ended(end.word());
                        return end;
                    }
                    if Instant::now() >= deadline {
                        break;
                    }
                    // What it had is gone: the next exchange, with all who find that out.
                    refused = Some(follower);
                    continue;
                }
                Step::End(end) => {
                    following.ended(end.word());
                    return end;
                }
            };
            match turn {
                Move::Next => refused = Some(follower),
                Move::Unbound(kind, binding) => {
                    if tells_little_by(&self.marks, &binding, &Party::of(asking, place.primary.hash())) {
                        sleep_until(deadline.min(Instant::now() + COURTESY)).await;
                    }
                    unbound = Some(Prior { kind, evidence: binding.evidence });
                    refused = Some(follower);
                    // The next exchange may be over by now.
                    let over = match self.noted(asking, place, true) {
                        Noted::Failed(failure) => Some(End::Failed(failure)),
                        Noted::Pass(reason) => Some(End::Alone(reason)),
                        Noted::Failing(_) | Noted::Nothing => None,
                    };
                    if let Some(end) = over {
                        following.ended(end.word());
                        return end;
                    }
                }
                // Once: parts are not waited for one after another. Who wants the whole goes on, with
                // all who do: by itself it would be one of as many fetches of what may be large.
                Move::Lacks(number) if lacked.is_none() || !asking.ask.want.is_ranged() => {
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
                    asking.ticket.following(&place.key);
                    if let Some(found) = self.found_in_language(asking, place).await {
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

    /// Whether a flight brings what is covered by a purge that a request came after, as far as is known
    /// before it has settled: by the lease that it has, or that it waits for.
    fn is_void(&self, arrival: &Arrival, follower: &Follower) -> bool {
        let info = follower.info();
        let token = if info.fence > 0 { info.fence } else { info.live.load(Ordering::Relaxed) };
        token > 0 && arrival.past.hard(&self.stamps) > token
    }

    /// Answers from a record that a flight came by.
    async fn take(self: &Arc<Self>, mut asking: Asking, place: Place, found: Found, arrived: Moment) -> Next {
        if found.how == How::Cached
            && let Some(status) = self.stale_as_in_memory(&mut asking, place, &found.stored)
        {
            return self.from_stored(asking, found.stored, status).await;
        }
        let mine = found.exchange.is_some_and(|(_, owner)| owner == Some(arrived));
        asking.ticket.cache = match found.how {
            How::Cached => Cache::Hit,
            How::Validated if mine => Cache::Revalidated,
            How::Awaited | How::Validated => Cache::Follower,
        };
        asking.ticket.source = Some(match found.how {
            How::Cached => Source::Cached,
            How::Validated if mine => Source::Computed,
            How::Awaited | How::Validated => Source::Awaited,
        });
        asking.ticket.role = Some(if mine { Role::Leader } else { Role::Follower });
        asking.ticket.coordinated = Some(found.coordinated);
        asking.ticket.fence = Some(found.stored.record.token);
        let other = self.other_leader(found.how == How::Awaited, found.stored.record.token);
        asking.ticket.leader = match found.how {
            How::Validated => Some(self.settings.instance.clone()),
            How::Cached | How::Awaited => other.clone(),
        };
        let status = status::found(&found, mine, asking.forward, serve::ttl_ms(&found.stored, self.now_ms()));
        let status = CacheStatus { from: other.as_deref(), ..status };
        let status = if asking.ticket.unsure { status::in_doubt(status) } else { status };
        self.from_stored(asking, found.stored, status).await
    }

    /// What the store had may be stale, as what is in memory may: then it says so, and is
    /// refreshed behind the answer if that is what allows it.
    fn stale_as_in_memory(
        self: &Arc<Self>,
        asking: &mut Asking,
        place: Place,
        stored: &Arc<Stored>,
    ) -> Option<CacheStatus<'static>> {
        // Its purges were judged when it was found, by those that the request came after.
        match Candidate::new(stored, Covered::No).usable(Facts::of(asking), self.now_ms()) {
            Ok(Use::Revalidating { ttl_ms }) => {
                self.refresh_behind(asking, place, stored);
                asking.ticket.stale_hit(stored, Why::WhileRevalidate);
                Some(status::stale(ttl_ms, "stale-while-revalidate"))
            }
            Ok(Use::MaxStale { ttl_ms }) => {
                asking.ticket.stale_hit(stored, Why::MaxStale);
                Some(status::stale(ttl_ms, "max-stale"))
            }
            Ok(Use::Fresh { .. }) | Err(_) => None,
        }
    }

    /// Upstream failed: stale if that may be, else its answer or ours.
    pub(crate) async fn failed(
        self: &Arc<Self>,
        mut asking: Asking,
        stale: Option<Arc<Stored>>,
        failure: &Failure,
        arrived: Moment,
    ) -> Next {
        let mine = failure.owner == Some(arrived);
        let (answered, case) = (failure.answered, failure.case());
        let stale = stale.or_else(|| failure.stale.clone());
        asking.ticket.cache = match (mine, answered) {
            (true, true) => Cache::Miss,
            (true, false) => Cache::Error,
            (false, _) => Cache::Follower,
        };
        asking.ticket.role = Some(if mine { Role::Leader } else { Role::Follower });
        asking.ticket.error = Some(failure.word);
        if !self.stale_allowed(&asking, stale.as_ref(), case) {
            if let Some(answer) = &failure.answer
                && policy::selects_alike(&answer.select, &asking.headers)
            {
                return Next::Answer(serve::failure(self, asking, failure.status, answer, mine));
            }
            if mine && let Some(response) = failure.own.as_ref().and_then(|own| own.take()) {
                return Next::Answer(self.own(asking, response, PassReason::NotCacheableStatus));
            }
        }
        let cause = failure.cause().unwrap_or(Cause::UpstreamStatus(failure.status));
        self.stale_or(asking, stale, case, cause, Some(failure.retry_after)).await
    }

    fn in_memory(&self, place: &Place) -> Option<Arc<Stored>> {
        match self.tier.find(place.key.text()) {
            Some(Held::Stored(stored)) => Some(stored),
            Some(Held::Vary(_)) | None => None,
        }
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

    /// What was heard comes from another instance, and was waited for since `began`: who led here
    /// has followed, too.
    fn hears(&mut self, told: &Told, began: Instant) {
        let elsewhere = match told {
            Told::Stored(found) => found.how == How::Awaited,
            Told::Growing(exchange) => exchange.elsewhere,
            Told::Varies(_) | Told::Pass(..) | Told::Failed(_) | Told::Refused(_) => false,
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
            self.proxy.notices.followed(self.scope, end, since.elapsed());
        }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.report(FollowerEnd::Left);
    }
}
