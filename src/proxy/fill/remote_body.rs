//! Riding a body that another instance fetches (docs/design.md, A miss that follows): its segments as they
//! become readable, and what happens when that instance dies or hands over, or the store goes away.
//!
//! Riders have had the head and the first bytes of one representation. They go on with the same fetch, with
//! one that was resumed from its segments, or with a second one that has the same head and the very same
//! bytes so far; never with anything else.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::body::{self, Growing, Tail};
use crate::catalog::ToldAside;
use crate::dust::{Entry, Number};
use crate::flight::{Attempt, Fill, Found, Joined, Names, Settled, Snapshot};
use crate::policy;
use crate::proxy::fill::resume::Partial;
use crate::proxy::fill::{Job, judge};
use crate::proxy::lookup::{reach, taking_in};
use crate::proxy::outcome::{Elsewhere, Exchange, FlightOutcome, Follower, Leader, Phase};
use crate::record::{Binding, Manifest, Note, Record};
use crate::tier::{Covered, Stored};

use after_loss::{Aside, GRACE, Silence};
use unstored::feed_from;

pub(crate) mod after_loss;
mod unstored;

/// A body that another instance fetches, as the riders on this instance get it.
struct RemoteFill {
    job: Box<Job>,
    names: Names,
    leader: Leader,
    tail: Tail,
    /// The head that the riders were given.
    head: Arc<Stored>,
    /// The number of the fill that is followed.
    token: Number,
    /// Set once its holder has no lease any more, and may go on for the riders that have begun.
    aside: Option<Aside>,
    /// The token of the record that the fill is to publish; for a variant, one older than the fill's own.
    record: Number,
}

/// What a look at the store's entries comes to.
enum RemoteStep {
    /// More is to come.
    On(Box<RemoteFill>),
    /// No instance fills it any more.
    Orphaned(Box<RemoteFill>),
    /// It has ended: well, or with an error for the riders.
    Over,
}

impl Job {
    /// Rides the body: all requests here follow one reader of the other instance's segments.
    pub(crate) async fn ride_elsewhere(
        mut self: Box<Self>,
        mut leader: Leader,
        names: Names,
        seen: Elsewhere,
    ) {
        // The head is a promise: the first bytes are read, and checked, before it goes out.
        let (hash, manifest) = (seen.head.hash.to_string(), Arc::new(seen.manifest.clone()));
        if let Err(error) = self.proxy.bodies.begins(&hash, &manifest).await {
            self.proxy.observer.unreadable(&error);
            if error.condemns() && self.patience.is_none() {
                // As if nothing had been told: its holder has failed, or will tell of what it has stored. It
                // is waited for no longer than a dead holder is.
                let lease_ttl = self.proxy.flight.settings().lease_ttl;
                self.patience = Some(Instant::now() + lease_ttl + GRACE);
                return self.enter_again(leader).await;
            }
            let fill = self.proxy.flight.apart(&names);
            return Box::pin(self.fetch(leader, fill)).await;
        }
        let len = policy::content_length(&seen.head.record.headers);
        let (mut tail, growing) = self.proxy.bodies.follow(&hash, len);
        if let Err(error) = tail.extend(&seen.manifest) {
            // Not a manifest that can be read: as if nothing had been told.
            self.proxy.observer.body_store_error(&error);
            let fill = self.proxy.flight.apart(&names);
            return Box::pin(self.fetch(leader, fill)).await;
        }
        leader.inform(|info| {
            info.phase = Phase::Body;
            info.fence = seen.token;
            info.elsewhere = true;
        });
        leader.settle(FlightOutcome::Growing(Arc::new(self.exchange_elsewhere(&seen, growing, len))));
        let head = seen.head;
        let (token, record) = (seen.token, head.record.token);
        Box::new(RemoteFill { job: self, names, leader, tail, head, token, record, aside: None }).run().await;
    }

    /// Starts the fill again from its beginning.
    fn enter_again(self: Box<Self>, leader: Leader) -> BoxFuture<'static, ()> {
        Box::pin(self.run(leader))
    }

    fn exchange_elsewhere(&self, seen: &Elsewhere, growing: Growing, len: Option<u64>) -> Exchange {
        Exchange {
            head: seen.head.clone(),
            growing,
            len,
            // Before all moments of this instance: only what may be reused as stored is ridden.
            sent: 0,
            owner: None,
            seat: std::sync::Mutex::new(None),
            fence: seen.token,
            unstored: None,
            taking: body::Taking::Expected,
            coordinated: true,
            own: http::HeaderMap::new(),
            timing: crate::upstream::Timing::default(),
            forward: self.forward,
            elsewhere: true,
            // Only what may be reused as stored is ridden: an error without lifetime is not.
            binding: None,
        }
    }
}

impl RemoteFill {
    async fn run(self: Box<Self>) {
        let mut chase = self;
        let mut pursuit = chase.job.proxy.flight.pursue(&chase.names, chase.token);
        loop {
            let next = tokio::select! {
                biased;
                next = pursuit.next() => next,
                () = chase.until_silent() => match chase.misses() {
                    // What was published since is read now.
                    Silence::Dead => {
                        pursuit = chase.job.proxy.flight.pursue(&chase.names, chase.token);
                        continue;
                    }
                    Silence::Doubted | Silence::Waited => continue,
                    // Its holder told nothing more: the riders are broken off.
                    Silence::Over => return,
                },
                // Its flight takes no new requests, so nothing else will want it.
                () = chase.leader.unwanted(), if chase.aside.is_some() => return,
            };
            let orphaned = match next {
                Ok(glimpse @ Snapshot::There { .. }) => match chase.heed(glimpse).await {
                    RemoteStep::On(on) => {
                        chase = on;
                        pursuit.turn_to(chase.token);
                        if chase.is_aside() {
                            // Its holder has given the lease back, and no other leads.
                            pursuit.lease_is_gone();
                        }
                        continue;
                    }
                    RemoteStep::Orphaned(orphaned) => orphaned,
                    RemoteStep::Over => return,
                },
                Ok(Snapshot::Due) if chase.is_aside() => continue,
                Ok(Snapshot::Due) => chase,
                // The store is gone: nothing more will be heard of that fill (F6).
                Err(_) => return chase.fetch_here(None).await,
            };
            match orphaned.take_over().await {
                Some(followed) => chase = followed,
                None => return,
            }
            if chase.is_aside() {
                pursuit.lease_is_gone();
            }
        }
    }

    /// Returns whether the store has begun another life since: there nothing goes on with these segments.
    fn is_of_another_life(&self) -> bool {
        !self.tail.manifest().is_of(&self.job.proxy.bodies.life())
    }

    /// Returns whether the store is in another life than these segments, even if that is not known here yet.
    /// An emptied store has no lease of their holder either, and the holder goes on aside.
    async fn is_over_in_the_store(&self) -> bool {
        let proxy = &self.job.proxy;
        if proxy.member.is_none() {
            return self.is_of_another_life();
        }
        let life = proxy.flight.bounded(proxy.dust.life(None)).await;
        life.is_ok_and(|life| !life.is_some_and(|life| self.tail.manifest().is_of(&life)))
    }

    /// From now on it is for its riders alone, and goes on for as long as its holder tells.
    fn turns_aside(mut self: Box<Self>) -> Box<Self> {
        self.leader.retire();
        self.goes_aside();
        self
    }

    /// Returns whether its holder goes on without a lease and is not known to be dead.
    fn is_aside(&self) -> bool {
        self.aside.is_some_and(|aside| aside.is_listened_to())
    }

    fn goes_aside(&mut self) -> &mut Aside {
        let now = Instant::now();
        let aside = self.aside.get_or_insert_with(|| Aside::awaited(now));
        if !aside.is_listened_to() {
            *aside = aside.again(now);
        }
        aside
    }

    /// Returns whether another fill may go on with it: not if a purge covers it, or if its segments are of
    /// another life of the store.
    fn is_replaceable(&self) -> bool {
        self.head.covered(&self.job.proxy.stamps) != Covered::Hard && !self.is_of_another_life()
    }

    /// Waits until its holder has been silent for too long; for ever while that has its lease. Cancel safe.
    async fn until_silent(&self) {
        let lease_ttl = self.job.proxy.flight.settings().lease_ttl;
        match self.aside.and_then(|aside| aside.until(lease_ttl, self.is_replaceable())) {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Its holder has been silent until now. In doubt, a rider without a byte of it goes on to the next
    /// exchange. A rider that has some waits on, for there may be no other source for it.
    fn misses(&mut self) -> Silence {
        let (lease_ttl, replaceable) = (self.job.proxy.flight.settings().lease_ttl, self.is_replaceable());
        let Some(aside) = &mut self.aside else { return Silence::Waited };
        let silence = aside.misses(lease_ttl, replaceable, Instant::now());
        if silence == Silence::Doubted {
            self.tail.doubt();
        }
        silence
    }

    /// Gives the riders what the store's entries tell.
    async fn heed(mut self: Box<Self>, glimpse: Snapshot) -> RemoteStep {
        let Snapshot::There { found: Found { value, body, verdict }, live, aside } = glimpse else {
            return RemoteStep::On(self);
        };
        // An entry that is known already is no sign of life.
        let aside = aside.filter(|entry| self.aside.is_none_or(|known| known.is_news(entry.number)));
        if live != Some(self.token) || self.is_aside() {
            // The lease is not the one that this was begun under. If a purge covers it, it goes on for its
            // riders alone, which came before the purge: what comes after the purge is not for them.
            if aside.is_some() || self.is_aside() || !self.is_replaceable() {
                return self.heed_aside(aside.as_ref()).await;
            }
        }
        if let Some(record) = self.published(value.as_ref()) {
            self.settle(record, body.as_ref()).await;
            return RemoteStep::Over;
        }
        let note = verdict.as_ref().and_then(|entry| self.job.proxy.catalog.note(entry, &self.job.place.key));
        match note {
            Some(Note::Growing { token, head, .. }) if live == Some(token) && token >= self.token => {
                (self.token, self.record) = (token, head.token);
                if !self.grows(&head).await {
                    return RemoteStep::Over;
                }
            }
            // Upstream broke off. If requests here were reading, that is remembered here too (F7).
            Some(Note::Failed { token, status, answered, binding, .. }) if token >= self.token => {
                self.broke_off(token, status, answered, binding);
                return RemoteStep::Over;
            }
            // It turned out too large, or its store went away.
            Some(Note::Pass { token, reason, .. }) if token >= self.token => {
                self.fetch_unstored(&reason).await;
                return RemoteStep::Over;
            }
            _ => {}
        }
        if live.is_some() { RemoteStep::On(self) } else { RemoteStep::Orphaned(self) }
    }

    /// Takes in what a holder without its lease tells its riders.
    async fn heed_aside(mut self: Box<Self>, aside: Option<&Entry>) -> RemoteStep {
        self.leader.retire();
        let told = aside.and_then(|entry| self.job.proxy.catalog.aside(entry, &self.job.place.key));
        match told {
            Some(ToldAside::Note(Note::Growing { head, .. })) => {
                let goes_on = self.grows(&head).await;
                if !goes_on {
                    return RemoteStep::Over;
                }
            }
            Some(ToldAside::Record(record)) => {
                if self.grows(&record).await {
                    let _ = self.tail.finish(&record.body);
                }
                return RemoteStep::Over;
            }
            // The same as under its lease.
            Some(ToldAside::Note(Note::Failed { token, status, answered, binding, .. })) => {
                self.broke_off(token, status, answered, binding);
                return RemoteStep::Over;
            }
            Some(ToldAside::Note(Note::Pass { reason, .. })) => {
                self.fetch_unstored(&reason).await;
                return RemoteStep::Over;
            }
            Some(ToldAside::Vary(_)) | None => {}
        }
        let heard = self.goes_aside();
        if let Some(aside) = aside {
            heard.hears(aside.number, Instant::now());
        }
        RemoteStep::On(self)
    }

    /// Upstream broke the body off. It is remembered here only if requests were reading it.
    fn broke_off(&self, token: Number, status: u16, answered: bool, binding: Binding) {
        if self.leader.followers() > 0 {
            let key = self.job.place.key.hash();
            judge::broken_off_elsewhere(&self.job.proxy, key, token, status, answered, binding);
        }
    }

    /// The published record that ends what is followed, if there is one.
    fn published(&self, value: Option<&Entry>) -> Option<Record> {
        let record = self.job.proxy.catalog.record(value?, &self.job.place.key)?;
        let ends =
            record.token >= self.record && !reach::is_lost(&self.job.proxy, self.head.hash, &record.body);
        ends.then_some(record)
    }

    /// Ends with a complete record: the riders get the rest of it if it is the representation that they have
    /// begun.
    async fn settle(mut self: Box<Self>, record: Record, body: Option<&Bytes>) {
        let body = taking_in::along(&self.job.proxy, &record, body);
        let of_tier = Stored::new(record.clone(), &self.job.route.rules, body);
        self.job.proxy.tier.keep(Arc::new(of_tier));
        self.job.proxy.negative_cache.forget(self.head.hash);
        // A request that comes now has a hit.
        self.leader.retire();
        if self.grows(&record).await {
            // A length that was promised and not kept breaks them off.
            let _ = self.tail.finish(&record.body);
        }
    }

    /// Returns whether the riders can go on with this record's manifest.
    async fn grows(&mut self, record: &Record) -> bool {
        if !policy::same_representation(&self.head.record, record) {
            return false;
        }
        grow(&mut self.tail, &record.body).await
    }

    /// Takes the fill over, if its lease is to be had, and sees it to its end. Otherwise returns what is left
    /// to follow: another's fill, or the holder that goes on aside.
    async fn take_over(self: Box<Self>) -> Option<Box<Self>> {
        if self.leader.followers() == 0 {
            // No request is left here that wants it.
            return None;
        }
        let flight = self.job.proxy.flight.clone();
        let fill = match flight.attempt(&self.names).await {
            Attempt::Taken => return Some(self),
            Attempt::Unavailable(_) => None,
            // It may have been published just before (F2).
            Attempt::Won(fill) => fill.looked().await.ok(),
        };
        if fill.is_some() && self.is_over_in_the_store().await {
            // Dropped, the lease is given back.
            return Some(self.turns_aside());
        }
        if let Some(record) = fill.as_ref().and_then(|fill| self.published(fill.value())) {
            drop(fill);
            self.settle(record, None).await;
        } else {
            self.fetch_here(fill).await;
        }
        None
    }

    /// Fetches the rest here and gives it to the riders, if there are any left.
    async fn fetch_here(mut self: Box<Self>, fill: Option<Fill>) {
        if let Some(follower) = self.go_on(fill) {
            self.feed(follower).await;
        }
    }

    /// Fetches the rest here from now on, with the right to fill or, when the store is gone, without it, in a
    /// flight that other requests may join. Returns the riders' place in that flight.
    fn go_on(&mut self, fill: Option<Fill>) -> Option<Follower> {
        if self.leader.followers() == 0 {
            return None;
        }
        // Requests that come from now on join the new flight and not this one.
        self.leader.retire();
        let mut record = self.head.record.clone();
        record.body = self.tail.manifest();
        let mut job = self.job.clone();
        job.partial = Some(Arc::new(Partial(record)));
        job.owner = None;
        job.deadline = Instant::now() + job.route.wait_timeout;
        Some(match job.proxy.flights.join(&job.place.key.hash()) {
            Joined::Lead(leader) => {
                let follower = leader.follower();
                match fill {
                    Some(fill) => drop(tokio::spawn(job.fetch(leader, fill))),
                    None => job.spawn(leader),
                }
                follower
            }
            // Its leader gets the lease that is dropped here.
            Joined::Follow(follower) => follower,
        })
    }

    /// Gives the riders what is fetched here.
    async fn feed(mut self: Box<Self>, follower: Follower) {
        match follower.settled().await {
            Settled::Told(FlightOutcome::Growing(exchange)) => {
                let record = &exchange.head.record;
                if policy::same_representation(&self.head.record, record) {
                    tokio::select! {
                        biased;
                        () = feed_from(self.tail, &exchange.growing) => {}
                        () = self.leader.unwanted() => {}
                    }
                }
            }
            Settled::Told(FlightOutcome::Stored(found)) => {
                let record = &found.stored.record;
                if !policy::same_representation(&self.head.record, record) {
                    return;
                }
                // A small body may be in memory alone.
                if let Some(whole) = found.stored.body() {
                    let _ = self.tail.finish_with(&whole);
                } else if grow(&mut self.tail, &found.stored.record.body).await {
                    let _ = self.tail.finish(&found.stored.record.body);
                }
            }
            // A failure, or another body: the riders are broken off as the tail is dropped.
            Settled::Told(_) | Settled::Abandoned => {}
        }
    }
}

/// Goes on with a manifest that begins with the one that was told, or whose bytes begin with the same.
/// Returns false if its bytes are others.
async fn grow(tail: &mut Tail, manifest: &Manifest) -> bool {
    match tail.extend(manifest) {
        Ok(()) => true,
        // A second fetch that has not come so far yet: the riders wait for it.
        Err(body::Error::Manifest) if manifest.is_whole() && manifest.len < tail.manifest().len => true,
        Err(_) => tail.graft(manifest).await.is_ok(),
    }
}
