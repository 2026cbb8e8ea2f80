//! This instance as one of a fleet: what it does so that its tier may be believed.
//!
//! Two tasks. [`Member::follow`] hears every change of the store, applies stamps, and has what is
//! held here and changed there read again. [`Member::keep_trust`] holds this instance's lease,
//! `<prefix>/i/<instance>`, and writes beside it, at `<prefix>/i/<instance>!`, up to which number
//! it has applied all stamps: whoever purges waits for that number from everybody whose lease
//! lives ([`Member::confirmed`]). An instance that lost its line, or its lease, reads the stamps
//! again before it believes its tier.
//!
//! What is written beside the lease is heard again by [`Member::follow`]: so it is known that
//! changes are heard at all, and that what was read after that write has everything from before
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::{Numbers, Stamps, Stored, Tier, Trust};
use crate::clock::{Dice, WallMs};
use crate::dust::{self, Dust, Error, Grant, Holder, Lease, Number, Put, Renewal, Written};
use crate::record::Record;

/// A clock that is further from the store's is worth a warning, in ms.
const CLOCK: u64 = 1_000;
/// The lease is renewed after this part of its time.
const BEAT: u32 = 3;
/// What failed is tried again after this, twice as long each time, up to ...
const AGAIN: Duration = Duration::from_millis(100);
/// ... this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(1);
/// The word beside the lease is kept for so many times the trust, and written anew half-way.
const KEPT: u32 = 30;

/// How the name begins under which bodies are kept while the store's life is not known.
pub const WAITING: &str = "waiting-";

/// What a member needs of the proxy that it is part of.
#[async_trait]
pub trait Host: Send + Sync {
    /// What a hit needs of a record, by the rules of its route; none if it has no route here any
    /// more, or is of no use.
    fn stored(&self, record: Record) -> Option<Stored>;

    /// The highest number that is known here.
    fn seen(&self) -> Number;

    /// Makes a number known: leases that are asked for from now on are above it.
    fn saw(&self, number: Number);

    /// From now on bodies are those of the store's life called `id`. `begun`: it is this instance
    /// that begins it, and the store has not taken it yet; when it has, that is told without it. An
    /// error is tried again.
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String>;

    /// A word for the operator.
    fn hears(&self, news: News);
}

/// What an operator is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The tier may not be believed any more, and why.
    Unsure(String),
    /// It may again.
    Sure,
    /// The store has a lower number, or fewer stamps, than was seen: so many were written back.
    WentBack(usize),
    /// So many stamps that were owed to the store have been written.
    Paid(usize),
    /// It is another life of the store.
    Reborn(String),
    /// The store, which was not there when this instance was started, has been found in this life.
    Joined(String),
    /// This instance's clock is so many ms behind the store's.
    Clock(i64),
    /// An entry is not a record.
    BadPointer(String),
}

/// How a member is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of every key of the fleet.
    pub prefix: String,
    /// What this instance is called: no other has its name.
    pub instance: Arc<str>,
    /// For how long it may believe its tier without having heard from the store.
    pub trust: Duration,
    /// How long a call of the store may take.
    pub call_bound: Duration,
    /// The life of the store that it was started in. One that begins with [`WAITING`] is none: the
    /// store was not there.
    pub life: Arc<str>,
}

/// The parts that a member keeps in order.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store, as this instance writes it ([`super::Own`]).
    pub dust: Arc<dyn Dust>,
    /// Memory.
    pub tier: Arc<Tier>,
    /// Purges.
    pub stamps: Arc<Stamps>,
    /// What was seen of changes.
    pub numbers: Arc<Numbers>,
    /// What is made of it.
    pub trust: Arc<Trust>,
    /// Chance.
    pub dice: Arc<Dice>,
}

/// This instance as one of a fleet.
pub struct Member {
    pub(super) settings: Settings,
    pub(super) parts: Parts,
    pub(super) host: Arc<dyn Host>,
    /// How often changes were missed, or may have been; 0 until the first are heard.
    pub(super) lost: AtomicU64,
    /// Every stamp up to this number has been applied here, but for those of a gap that is not read yet.
    pub(super) followed: AtomicU64,
    /// The number of the last word of its own that it heard.
    pub(super) heard: watch::Sender<Number>,
    /// How often it heard of its own lease.
    pub(super) beats: AtomicU64,
    pub(super) bell: Notify,
    /// Instances whose leases were heard of, and until when those last.
    pub(super) known: Mutex<BTreeMap<String, Instant>>,
    holder: Mutex<Holder>,
    sure: watch::Sender<bool>,
    /// What [`State::sure_at`] was when [`Member::keep_trust`] ended: it may begin again after a panic.
    sure_at: Mutex<Option<(Instant, WallMs)>>,
}

/// What [`Member::keep_trust`] remembers from one round to the next.
pub(super) struct State {
    lease: Option<Lease>,
    /// When the last answered renewal was sent.
    sent: Option<Instant>,
    beat_at: Instant,
    /// How often it had heard of its own lease when that was renewed.
    beats: Option<u64>,
    /// The value of `lost` for which everything has been read again.
    read: Option<u64>,
    pub(super) life: Arc<str>,
    /// Bodies have moved to a life that was proposed, and it is not known whether the store took it.
    pub(super) proposes: bool,
    retry_at: Instant,
    pause: Duration,
    /// When the tier was last believed: here, and on the store's clock.
    pub(super) sure_at: Option<(Instant, WallMs)>,
    /// What stands beside the lease, and when that is to be written anew.
    written: Option<(Number, Instant)>,
    /// Why the last thing failed.
    why: Option<String>,
    warned: bool,
    clock_warned: bool,
}

// === impl Member ===

impl Member {
    /// A member that does nothing yet: spawn [`Member::follow`] and [`Member::keep_trust`].
    pub fn new(settings: Settings, parts: Parts, host: Arc<dyn Host>) -> Arc<Self> {
        let holder = Mutex::new(holder(&settings, &parts.dice));
        Arc::new(Self {
            settings,
            parts,
            host,
            lost: AtomicU64::new(0),
            followed: AtomicU64::new(0),
            heard: watch::Sender::new(0),
            beats: AtomicU64::new(0),
            bell: Notify::new(),
            known: Mutex::default(),
            holder,
            sure: watch::Sender::new(false),
            sure_at: Mutex::default(),
        })
    }

    /// Holds the lease, and keeps the trust that comes of it. Never ends; dropped, it leaves a
    /// lease that runs out unless [`Member::leave`] gives it back.
    pub async fn keep_trust(self: Arc<Self>) {
        let now = Instant::now();
        let mut state = State {
            lease: None,
            sent: None,
            beat_at: now,
            beats: None,
            read: None,
            life: self.settings.life.clone(),
            proposes: false,
            retry_at: now,
            pause: AGAIN,
            sure_at: *self.last_sure(),
            written: None,
            why: None,
            warned: false,
            clock_warned: false,
        };
        loop {
            self.round(&mut state).await;
            let mut next = state.beat_at;
            if state.lease.is_some() && !self.is_read(&state) && self.lost.load(Ordering::Acquire) > 0 {
                next = next.min(state.retry_at);
            }
            if let Some(sent) = state.sent {
                let over = sent + self.settings.trust;
                next = if over > Instant::now() { next.min(over) } else { next };
            }
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                () = self.bell.notified() => {}
            }
        }
    }

    /// Gives the lease back, so that no purge waits for this instance (F9). Not before the tasks
    /// have ended.
    pub async fn leave(&self) {
        let holder = self.holder().clone();
        // What fails here runs out by itself.
        let _ = self.bounded(self.parts.dust.release_holder(&self.lease_key(), &holder)).await;
        let _ = self.bounded(self.parts.dust.delete(&self.mark_key(), None)).await;
    }

    /// How long a purge waits for this instance at most.
    pub fn trust(&self) -> Duration {
        self.settings.trust
    }

    /// Waits until the tier may be believed for the first time, or again. Cancel safe.
    pub async fn is_sure(&self) {
        let mut sure = self.sure.subscribe();
        // The sender lives as long as this does.
        let _ = sure.wait_for(|sure| *sure).await;
    }

    /// The instances whose leases live, as far as was heard.
    pub fn instances(&self) -> Vec<String> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until| *until > now);
        known.keys().cloned().collect()
    }

    async fn round(&self, state: &mut State) {
        let beats = Instant::now() >= state.beat_at;
        if beats {
            self.beat(state).await;
        }
        let lost = self.lost.load(Ordering::Acquire);
        if state.lease.is_some() && lost > 0 && state.read != Some(lost) && Instant::now() >= state.retry_at {
            match self.begin_again(state, beats).await {
                Ok(number) => {
                    state.read = Some(lost);
                    state.pause = AGAIN;
                    self.followed.fetch_max(number, Ordering::AcqRel);
                }
                Err(error) => {
                    state.why = Some(error.to_string());
                    state.retry_at = Instant::now() + self.parts.dice.up_to(state.pause);
                    state.pause = (state.pause * 2).min(AGAIN_AT_MOST);
                }
            }
        }
        self.judge(state);
        self.write_mark(state).await;
    }

    /// Reads everything again under a lease that is known to be held: a store that has lost changes
    /// may have lost the lease, and then no purge would wait for this instance, which is sure of its
    /// tier once it has read.
    async fn begin_again(&self, state: &mut State, held: bool) -> dust::Result<Number> {
        if !held {
            let sent = Instant::now();
            if !self.hold(state).await? {
                state.beat_at = Instant::now();
                return Err(dust::Error::Unavailable("the lease is another's".into()));
            }
            state.sent = Some(sent);
        }
        // Another word is written for the while.
        state.written = None;
        self.read_again(state).await
    }

    /// Renews the lease, or takes it.
    async fn beat(&self, state: &mut State) {
        let span = self.settings.trust;
        let before = self.beats.load(Ordering::Acquire);
        if state.beats == Some(before) {
            // It was renewed and nobody told: then other changes are not told either.
            state.why = Some("changes are not told".into());
            self.missed();
        }
        state.beats = None;
        let sent = Instant::now();
        match self.hold(state).await {
            Ok(true) => {
                state.sent = Some(sent);
                state.beats = Some(before);
                state.beat_at = sent + span / BEAT;
            }
            Ok(false) => {
                state.why = Some(format!("the lease of {} is another's", self.settings.instance));
                state.beat_at = Instant::now() + span / (BEAT * 2);
            }
            Err(error) => {
                state.why = Some(error.to_string());
                state.beat_at = Instant::now() + (span / (BEAT * 2)).min(AGAIN_AT_MOST);
            }
        }
        let offset = self.parts.dust.offset_ms();
        let off = offset.unsigned_abs() > CLOCK;
        if off && !state.clock_warned {
            self.host.hears(News::Clock(offset));
        }
        state.clock_warned = off;
    }

    async fn hold(&self, state: &mut State) -> dust::Result<bool> {
        let (dust, span) = (&self.parts.dust, self.settings.trust);
        if let Some(lease) = &state.lease {
            match self.bounded(dust.renew(lease, span)).await? {
                Renewal::Renewed => return Ok(true),
                Renewal::NotHeld => {
                    // Purges have not waited for this instance, and the store may be another one:
                    // everything is read again.
                    state.lease = None;
                    state.read = None;
                    *self.holder() = holder(&self.settings, &self.parts.dice);
                }
            }
        }
        let holder = self.holder().clone();
        let key = self.lease_key();
        match self.bounded(dust.lease(&key, span, &holder, self.host.seen())).await? {
            Grant::Granted(lease) => {
                self.host.saw(lease.token);
                state.lease = Some(lease);
                state.written = None;
                Ok(true)
            }
            Grant::Held { .. } => Ok(false),
            Grant::Occupied => Err(Error::Broken(format!("{key} holds a value where a lease belongs"))),
        }
    }

    fn is_read(&self, state: &State) -> bool {
        state.read == Some(self.lost.load(Ordering::Acquire))
    }

    /// Works out what the tier is worth, and tells when that changed.
    fn judge(&self, state: &mut State) {
        let trust = &self.parts.trust;
        let left = state.sent.and_then(|sent| self.settings.trust.checked_sub(sent.elapsed()));
        let left = left.filter(|left| !left.is_zero() && state.lease.is_some() && self.is_read(state));
        if let Some(left) = left {
            let left = crate::clock::millis(left);
            trust.confirm(self.parts.dust.now_ms().saturating_add(left));
            if !self.is_read(state) {
                // Lost in between.
                trust.lose();
                return;
            }
            state.sure_at = Some((Instant::now(), self.parts.dust.now_ms()));
            *self.last_sure() = state.sure_at;
            if !self.sure.send_replace(true) {
                // What was kept since everything was read again.
                self.parts.tier.drop_unbacked();
            }
            state.why = None;
            if std::mem::take(&mut state.warned) {
                self.host.hears(News::Sure);
            }
            return;
        }
        trust.lose();
        self.sure.send_replace(false);
        // At the start there is nothing to be said: the first round is under way.
        if let Some(why) = state.why.take()
            && !std::mem::replace(&mut state.warned, true)
        {
            self.host.hears(News::Unsure(why));
        }
    }

    /// Writes beside the lease how far stamps are applied, if that is not what stands there.
    async fn write_mark(&self, state: &mut State) {
        // In this order: a gap that comes before a stamp is heard of is seen below.
        let followed = self.followed.load(Ordering::Acquire);
        if state.lease.is_none() || !self.is_read(state) {
            return;
        }
        if state.written.is_some_and(|(number, until)| number == followed && Instant::now() < until) {
            return;
        }
        match self.mark(followed).await {
            Ok(_) => state.written = Some((followed, Instant::now() + self.settings.trust * (KEPT / 2))),
            // Tried again at the next beat; who waits for it is told that it was silent.
            Err(error) => state.why = Some(error.to_string()),
        }
    }

    /// Writes a number beside the lease.
    pub(super) async fn mark(&self, number: Number) -> dust::Result<Number> {
        let value = serde_json::json!({ "v": 1, "applied": number }).to_string();
        let how = Put { expires_in: Some(self.settings.trust * KEPT), ..Put::default() };
        match self.bounded(self.parts.dust.put(&self.mark_key(), &value, how)).await? {
            Written::At(number) => Ok(number),
            Written::Fenced => Err(Error::Broken("an unfenced put was fenced".into())),
        }
    }

    /// Changes were missed, or may have been: nothing is believed until it has been read again.
    pub(super) fn missed(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.parts.trust.lose();
        self.parts.stamps.has_gap();
        self.parts.tier.doubt_all();
        self.bell.notify_one();
    }

    pub(super) fn lease_key(&self) -> String {
        format!("{}{}", self.members(), self.settings.instance)
    }

    pub(super) fn mark_key(&self) -> String {
        format!("{}!", self.lease_key())
    }

    /// What all leases of instances, and what stands beside them, begin with.
    pub(super) fn members(&self) -> String {
        format!("{}/i/", self.settings.prefix)
    }

    pub(super) async fn bounded<T>(&self, call: impl Future<Output = dust::Result<T>>) -> dust::Result<T> {
        dust::within(self.settings.call_bound, call).await
    }

    fn last_sure(&self) -> MutexGuard<'_, Option<(Instant, WallMs)>> {
        // One value: a panic elsewhere broke nothing.
        self.sure_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holder(&self) -> MutexGuard<'_, Holder> {
        // One value: a panic elsewhere broke nothing.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn holder(settings: &Settings, dice: &Dice) -> Holder {
    Holder(format!("{}#{}", settings.instance, dice.name()).into())
}
