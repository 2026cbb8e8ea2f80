//! Telling other instances of a body while it comes (docs/design.md, A miss that follows): its growing
//! manifest is written at the verdict key, under the fence.
//!
//! A fill without its lease tells *aside*: it writes without a fence, to an entry that is named by its token
//! and read only by requests that ride this fill or wait for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::body::Growing;
use crate::catalog::EntryText;
use crate::dust::Number;
use crate::flight::{Fill, Names, Noted};
use crate::policy::{self, RequestFacts, Reuse};
use crate::proxy::Proxy;
use crate::proxy::fill::Job;
use crate::record::{Binding, Note, Record};
use crate::tier::{Covered, Stored};

/// A body that is whole so soon after its head is published once, without a growing manifest.
const HEADSTART: Duration = Duration::from_millis(25);
/// The shortest time between two manifests: a fast origin is told of in larger steps.
const PACE: Duration = Duration::from_millis(10);
/// A fill without a lease tells at least so often, and as often as it would have renewed the lease. Nothing
/// else shows that it lives, and its riders wait for it no longer than a lease lasts.
const QUIET: Duration = Duration::from_secs(5);
/// How long the last manifest of a fill that died stays, so that another can go on with it. A fill that lives
/// tells again after half of that.
const STAYS: Duration = Duration::from_mins(1);

impl Job {
    /// Keeps the lease for as long as the response may be reused as stored, and tells other instances of it.
    /// If it may not be reused, or its lifetime ends before its body does, the others elect the next exchange
    /// at once. The response is then offered when it is whole (docs/design.md, A miss that leads). Runs until
    /// it is dropped.
    pub(crate) async fn lease_for_as_long_as_it_helps(
        &self,
        fill: &mut Fill,
        head: &Arc<Stored>,
        growing: &Growing,
    ) -> Infallible {
        // Most bodies are whole by then: published under their lease, which costs less than an offer.
        sleep(HEADSTART).await;
        if !fill.coordinated() {
            return std::future::pending().await;
        }
        let fresh_ms = self.fresh_for(head);
        if fresh_ms == 0 {
            // Told before the lease is released: else the others would take it one after another.
            self.tell_apart(fill, head, None).await;
            fill.yield_lease();
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            () = sleep(Duration::from_millis(fresh_ms)) => {}
            never = self.herald(fill, head, growing) => match never {},
        }
        let told = self.has_listeners(fill);
        if told {
            // Riders on other instances read what is told aside as soon as the lease is gone.
            self.tell_growth_aside(fill, head, growing).await;
        }
        fill.yield_lease();
        if told {
            self.keep_telling(fill, head, growing, true).await;
        }
        std::future::pending().await
    }

    /// Goes on telling riders on other instances while the last of the body is stored, if no lease shows them
    /// that the fill lives. Runs until it is dropped.
    pub(crate) async fn shows_that_it_lives(
        &self,
        fill: &Fill,
        head: &Stored,
        growing: &Growing,
    ) -> Infallible {
        if self.proxy.dust.shared() && (fill.yielded() || fill.lost()) {
            self.keep_telling(fill, head, growing, true).await;
        }
        std::future::pending().await
    }

    /// For how long from now on a record may be reused as stored, in ms.
    fn fresh_for(&self, head: &Stored) -> u64 {
        let now = self.proxy.now_ms();
        match policy::reuse(&RequestFacts::default(), &head.record, &head.terms, now) {
            Reuse::Fresh { ttl_ms, .. } => u64::try_from(ttl_ms).unwrap_or(0),
            Reuse::StaleWhileRevalidate { .. }
            | Reuse::MaxStale { .. }
            | Reuse::Validate
            | Reuse::Refused(_) => 0,
        }
    }

    /// Tells aside which segments there are now.
    async fn tell_growth_aside(&self, fill: &Fill, head: &Stored, growing: &Growing) {
        let record = Record { body: growing.acknowledged(), ..head.record.clone() };
        let note = Note::Growing { token: fill.token(), head: Box::new(record), binding: None };
        if let Ok(text) = EntryText::note(&note) {
            self.tell_aside(fill.names(), fill.token(), &text, STAYS).await;
        }
    }

    /// Tells again and again which segments there are. Runs until it is dropped: a write under way then lands
    /// or not, and counts only while the lease lives.
    async fn herald(&self, fill: &Fill, head: &Stored, growing: &Growing) -> Infallible {
        if self.is_told(fill, head) {
            // Other instances may ride it from now on, and are not counted here: it goes on (F4).
            self.interest.enter();
            self.keep_telling(fill, head, growing, false).await;
        }
        std::future::pending().await
    }

    /// Returns whether the manifest is told. That of a part is, even where the store is not shared: a request
    /// here for another part must not wait for its lease, which may last as long as a body takes.
    fn is_told(&self, fill: &Fill, head: &Stored) -> bool {
        self.has_listeners(fill) || (fill.coordinated() && head.record.range.is_some())
    }

    /// Returns whether other instances may wait for this fill.
    pub(crate) fn has_listeners(&self, fill: &Fill) -> bool {
        fill.coordinated() && self.proxy.dust.shared()
    }

    /// Writes the manifest each time that it has grown: under the fence, or aside once the lease is `lost`.
    async fn keep_telling(&self, fill: &Fill, head: &Stored, growing: &Growing, mut lost: bool) {
        let lease_ttl = self.proxy.flight.settings().lease_ttl;
        let (stays, often) = (STAYS.max(lease_ttl * 3), QUIET.min(lease_ttl / 3));
        let mut progress = growing.progress();
        let mut record = head.record.clone();
        let mut kept = true;
        loop {
            progress.borrow_and_update();
            record.body = growing.acknowledged();
            // If the store began another life, the segments are not in it: only clients that read them are
            // told.
            lost = lost || !record.body.is_of(&self.proxy.bodies.life());
            // What a purge covers is only for requests that came before it. The store may forget the stamp
            // before this body ends, and a request that comes then must not find the body.
            lost = lost || self.proxy.stamps.forbids(head.named(), head.record.born);
            let note = Note::Growing { token: fill.token(), head: Box::new(record.clone()), binding: None };
            // Too long for a note: riders wait for the whole.
            let Ok(text) = EntryText::note(&note) else { return };
            lost = lost || fill.note(text.as_str(), Some(stays)).await == Noted::Fenced;
            if lost {
                // A purge made it void, or the lease was taken over: clients that have begun to read may
                // finish.
                self.tell_aside(fill.names(), fill.token(), &text, stays).await;
                if kept && head.covered(&self.proxy.stamps) == Covered::Hard {
                    kept = false;
                    self.leave_to_riders(fill).await;
                }
            }
            sleep(PACE).await;
            tokio::select! {
                biased;
                // It has not grown for long: told again, before the entry expires.
                quiet = timeout(if lost { often } else { stays / 2 }, progress.changed()) => {
                    if let Ok(Err(_)) = quiet {
                        return;
                    }
                }
                // At once: riders on other instances can't tell it from a dead fill until it tells something.
                () = fill.until_lost(), if !lost => {}
            }
        }
    }

    /// Gives the lease back: a request that comes from now on leads, and riders on other instances read what
    /// is told aside as soon as the lease is gone.
    async fn leave_to_riders(&self, fill: &Fill) {
        let Some(lease) = fill.lease() else { return };
        let Proxy { flight, dust, .. } = &*self.proxy;
        if let Err(error) = flight.bounded(dust.release(lease)).await {
            self.proxy.observer.store_error("release", &error);
        }
    }

    /// Tells the whole record aside, for riders on other instances, when it may not be published.
    pub(crate) async fn tell_whole_aside(&self, names: &Names, token: Number, text: &EntryText) {
        self.tell_aside(names, token, text, STAYS).await;
    }

    /// Writes an entry aside, after the writes that are under way. In a task of its own: a write that is
    /// dropped half way can't land later, in the place of a newer one.
    pub(crate) async fn tell_aside(&self, names: &Names, token: Number, text: &EntryText, ttl: Duration) {
        let (turn, flight) = (self.aside.clone(), self.proxy.flight.clone());
        let (names, text) = (names.clone(), text.clone());
        let told = tokio::spawn(async move {
            let _turn = turn.lock_owned().await;
            flight.tell_aside(&names, token, text.as_str(), ttl).await
        });
        if let Ok(Err(error)) = told.await {
            self.proxy.observer.store_error("put", &error);
        }
    }

    /// Tells other instances that the response is shared here and will not be published, so that their
    /// requests need not wait for it. A head without a lifetime says so: it can't be reused as stored, and
    /// each request goes by itself. An error without lifetime says which requests it binds: it is nothing to
    /// the others.
    pub(crate) async fn tell_apart(&self, fill: &Fill, head: &Stored, binding: Option<Binding>) {
        if !self.is_told(fill, head) {
            return;
        }
        if binding.is_some() {
            // Other instances may ride an error that binds their requests, and are not counted here: it goes
            // on (F4).
            self.interest.enter();
        }
        let mut record = head.record.clone();
        (record.fresh_ms, record.swr_ms, record.sie_ms, record.keep_ms) = (0, 0, 0, 0);
        let note = Note::Growing { token: fill.token(), head: Box::new(record), binding };
        // It need not land: without it other instances wait until the lease is released.
        self.leave_note(fill, &note, self.proxy.flight.settings().lease_ttl).await;
    }
}
