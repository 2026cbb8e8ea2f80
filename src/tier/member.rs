//! This instance as a member of a fleet: what it does so that its tier may be trusted.
//!
//! It runs two tasks. [`Member::follow`] receives every change of the store, applies stamps, and reads again
//! what is held here and was changed there. [`Member::keep_trust`] holds this instance's lease,
//! `<prefix>/i/<instance>`. Beside it, at `<prefix>/i/<instance>!`, it writes its *mark*: the number up to
//! which it has applied all stamps. A purge waits until every instance with a live lease has marked its
//! number ([`Member::confirmed`]). An instance that lost its connection, or its lease, reads the stamps again
//! before it trusts its tier.
//!
//! [`Member::follow`] receives this instance's own mark again. That proves that changes are received at all,
//! and that what is read after the mark was written contains every change from before it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::again::Again;
use super::{Numbers, Stamps, Stored, Tier, Trust};
use crate::clock::{Dice, WallMs};
use crate::dust::{self, Dust, Error, Grant, Holder, Lease, Number, Put, Renewal, Written};
use crate::record::Record;

/// The difference to the store's clock from which on the operator is warned, in ms.
const CLOCK: u64 = 1_000;
/// The lease is renewed after this fraction of its duration.
const BEAT: u32 = 3;
/// The longest pause before the lease is asked for again after a failure.
const AGAIN_AT_MOST: Duration = Duration::from_secs(1);
/// The mark beside the lease lives for so many times the trust, and is rewritten after half of that.
const KEPT: u32 = 30;

/// The prefix of the name under which bodies are kept while the store's life is not known.
pub const WAITING: &str = "waiting-";

/// What a member needs from the proxy around it.
#[async_trait]
pub trait Host: Send + Sync {
    /// Prepares a record for hits, by the rules of its route; `None` if no route matches it any more, or it
    /// is of no use.
    fn stored(&self, record: Record) -> Option<Stored>;

    /// The highest number that this instance knows.
    fn seen(&self) -> Number;

    /// Makes a number known: the tokens of leases acquired from now on are above it.
    fn saw(&self, number: Number);

    /// Moves the bodies to the store's life called `id`. `begun`: this instance proposes the life, and the
    /// store has not taken it yet; once it has, this is called again without `begun`. After an error it is
    /// tried again.
    async fn moves(&self, id: &str, begun: bool) -> Result<(), String>;

    /// Reports an event to the operator.
    fn hears(&self, news: News);
}

/// An event that the operator is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The tier is no longer trusted, and why.
    Unsure(String),
    /// The tier is trusted again.
    Sure,
    /// The store has a lower number, or fewer stamps, than this instance has seen: so many stamps were
    /// written back.
    WentBack(usize),
    /// So many stamps that the store had not taken before were written.
    Paid(usize),
    /// The store is in another life, with this id.
    Reborn(String),
    /// The store was not reachable when this instance started, and was found in the life with this id.
    Joined(String),
    /// This instance's clock is so many ms behind the store's.
    Clock(i64),
    /// An entry can't be decoded as a record or Vary node.
    BadPointer(String),
}

/// The settings of a member.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The prefix of every key of the fleet.
    pub prefix: String,
    /// The name of this instance, unique in the fleet.
    pub instance: Arc<str>,
    /// How long it may trust its tier without having heard from the store.
    pub trust: Duration,
    /// The timeout of a call to the store.
    pub call_bound: Duration,
    /// The life of the store at the start. An id that begins with [`WAITING`] is none: the store was not
    /// reachable.
    pub life: Arc<str>,
}

/// The parts of the proxy that a member works on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store, with this instance's writes tracked ([`super::Own`]).
    pub dust: Arc<dyn Dust>,
    /// The memory tier.
    pub tier: Arc<Tier>,
    /// The stamps that are applied here.
    pub stamps: Arc<Stamps>,
    /// The numbers of recent changes.
    pub numbers: Arc<Numbers>,
    /// Whether the tier may be trusted.
    pub trust: Arc<Trust>,
    /// The source of random names and pauses.
    pub dice: Arc<Dice>,
}

/// This instance as a member of a fleet.
pub struct Member {
    pub(super) settings: Settings,
    pub(super) parts: Parts,
    pub(super) host: Arc<dyn Host>,
    /// How often changes were missed, or may have been; 0 until the feed begins.
    pub(super) lost: AtomicU64,
    /// Every stamp up to this number has been applied here, except for those of a gap that is not read yet.
    pub(super) followed: AtomicU64,
    /// The number of the last mark of its own that it received.
    pub(super) heard: watch::Sender<Number>,
    /// How often it received a change of its own lease.
    pub(super) beats: AtomicU64,
    pub(super) bell: Notify,
    /// Instances whose leases are known, and when those end.
    pub(super) known: Mutex<BTreeMap<String, Instant>>,
    holder: Mutex<Holder>,
    /// Whether changes were missed while the tier was not trusted: all of it is doubted before it is again.
    is_doubted: AtomicBool,
    sure: watch::Sender<bool>,
    /// The last [`TrustState::sure_at`], kept here because [`Member::keep_trust`] may begin again after a panic.
    sure_at: Mutex<Option<(Instant, WallMs)>>,
}

/// The state that [`Member::keep_trust`] keeps from one round to the next.
pub(super) struct TrustState {
    lease: Option<Lease>,
    /// When the last answered renewal was sent.
    sent: Option<Instant>,
    beat_at: Instant,
    /// The value of `beats` when the lease was last renewed.
    beats: Option<u64>,
    /// The value of `lost` for which everything has been read again.
    read: Option<u64>,
    pub(super) life: Arc<str>,
    /// Whether bodies have moved to a proposed life, and it is not known whether the store took it.
    pub(super) proposes: bool,
    again: Again,
    /// Whether a mark was written since everything is being read again.
    pub(super) has_marked: bool,
    /// When the tier was last trusted: by this instance's clock, and by the store's.
    pub(super) sure_at: Option<(Instant, WallMs)>,
    /// When the stamps were last read.
    pub(super) stamps_at: Instant,
    /// The number in the mark, and when the mark is to be rewritten.
    written: Option<(Number, Instant)>,
    /// Why the last step failed.
    why: Option<String>,
    warned: bool,
    clock_warned: bool,
}

// === impl Member ===

impl Member {
    /// A member that is idle until [`Member::follow`] and [`Member::keep_trust`] are spawned.
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
            is_doubted: AtomicBool::new(false),
            sure: watch::Sender::new(false),
            sure_at: Mutex::default(),
        })
    }

    /// Holds the lease, and decides with it whether the tier is trusted. Never ends. If dropped, the lease
    /// runs out unless [`Member::leave`] releases it.
    pub async fn keep_trust(self: Arc<Self>) {
        let now = Instant::now();
        let mut state = TrustState {
            lease: None,
            sent: None,
            beat_at: now,
            beats: None,
            read: None,
            life: self.settings.life.clone(),
            proposes: false,
            again: Again::new(now),
            has_marked: false,
            sure_at: *self.last_sure(),
            stamps_at: now,
            written: None,
            why: None,
            warned: false,
            clock_warned: false,
        };
        loop {
            self.round(&mut state).await;
            let mut next = state.beat_at;
            if state.lease.is_some() && !self.is_read(&state) && self.lost.load(Ordering::Acquire) > 0 {
                next = next.min(state.again.at());
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

    /// Releases the lease, so that no purge waits for this instance (F9). To be called after the tasks have
    /// ended.
    pub async fn leave(&self) {
        let holder = self.holder().clone();
        // If a call fails, the entry expires by itself.
        let _ = self.bounded(self.parts.dust.release_holder(&self.lease_key(), &holder)).await;
        let _ = self.bounded(self.parts.dust.delete(&self.mark_key(), None)).await;
    }

    /// The longest that a purge waits for this instance.
    pub fn trust(&self) -> Duration {
        self.settings.trust
    }

    /// Waits until the tier is trusted. Cancel safe.
    pub async fn is_sure(&self) {
        let mut sure = self.sure.subscribe();
        // Can't fail: the sender lives as long as the member.
        let _ = sure.wait_for(|sure| *sure).await;
    }

    /// The instances with live leases, as far as known.
    pub fn instances(&self) -> Vec<String> {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, until| *until > now);
        known.keys().cloned().collect()
    }

    async fn round(&self, state: &mut TrustState) {
        let beats = Instant::now() >= state.beat_at;
        if beats {
            self.beat(state).await;
        }
        let lost = self.lost.load(Ordering::Acquire);
        if state.lease.is_some() && lost > 0 && state.read != Some(lost) && Instant::now() >= state.again.at()
        {
            state.has_marked = false;
            let read = self.begin_again(state, beats).await;
            let Parts { dust, dice, tier, .. } = &self.parts;
            let most = Again::longest(self.settings.trust / BEAT, dust.traits().counts_calls);
            let random = |most| dice.up_to(most);
            match read {
                Ok(number) => {
                    if self.is_doubted.swap(false, Ordering::AcqRel) {
                        tier.doubt_all();
                    }
                    state.read = Some(lost);
                    state.again.done(Instant::now(), most, random);
                    self.followed.fetch_max(number, Ordering::AcqRel);
                }
                Err(error) => {
                    state.why = Some(error.to_string());
                    state.again.failed(Instant::now(), state.has_marked, most, random);
                }
            }
        }
        if beats && self.is_read(state) {
            self.look_again(state).await;
        }
        self.judge(state);
        self.write_mark(state).await;
    }

    /// Reads everything again under a lease that is known to be held. A store that has lost changes may have
    /// lost the lease, and then no purge would wait for this instance, although it trusts its tier once it
    /// has read.
    async fn begin_again(&self, state: &mut TrustState, held: bool) -> dust::Result<Number> {
        if !held {
            let sent = Instant::now();
            if !self.hold(state).await? {
                state.beat_at = Instant::now();
                return Err(dust::Error::Unavailable("the lease is another's".into()));
            }
            state.sent = Some(sent);
        }
        // Reading again writes another mark meanwhile.
        state.written = None;
        self.read_again(state).await
    }

    /// Renews the lease, or acquires it.
    async fn beat(&self, state: &mut TrustState) {
        let span = self.settings.trust;
        let before = self.beats.load(Ordering::Acquire);
        if state.beats == Some(before) {
            // The feed did not tell of the last renewal: then it may not tell of other changes either.
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

    async fn hold(&self, state: &mut TrustState) -> dust::Result<bool> {
        let (dust, span) = (&self.parts.dust, self.settings.trust);
        if let Some(lease) = &state.lease {
            match self.bounded(dust.renew(lease, span)).await? {
                Renewal::Renewed => return Ok(true),
                Renewal::NotHeld => {
                    // Purges may not have waited for this instance, and the store may be another one:
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

    fn is_read(&self, state: &TrustState) -> bool {
        state.read == Some(self.lost.load(Ordering::Acquire))
    }

    /// Decides whether the tier is trusted, and reports a change.
    fn judge(&self, state: &mut TrustState) {
        let trust = &self.parts.trust;
        let left = state.sent.and_then(|sent| self.settings.trust.checked_sub(sent.elapsed()));
        let left = left.filter(|left| !left.is_zero() && state.lease.is_some() && self.is_read(state));
        if let Some(left) = left {
            let left = crate::clock::millis(left);
            trust.confirm(self.parts.dust.now_ms().saturating_add(left));
            if !self.is_read(state) {
                // Changes were missed in between.
                trust.lose();
                return;
            }
            state.sure_at = Some((Instant::now(), self.parts.dust.now_ms()));
            *self.last_sure() = state.sure_at;
            if !self.sure.send_replace(true) {
                // Those that were kept since everything was read again.
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
        // At the start there is nothing to report: the first round is under way.
        if let Some(why) = state.why.take()
            && !std::mem::replace(&mut state.warned, true)
        {
            self.host.hears(News::Unsure(why));
        }
    }

    /// Writes the mark, unless the store has the same.
    async fn write_mark(&self, state: &mut TrustState) {
        // In this order: a gap from before the last applied stamp is noticed by the check below.
        let followed = self.followed.load(Ordering::Acquire);
        if state.lease.is_none() || !self.is_read(state) {
            return;
        }
        if state.written.is_some_and(|(number, until)| number == followed && Instant::now() < until) {
            return;
        }
        match self.mark(followed).await {
            Ok(_) => state.written = Some((followed, Instant::now() + self.settings.trust * (KEPT / 2))),
            // Tried again at the next beat. A purge that waits for it meanwhile reports this instance as
            // silent.
            Err(error) => state.why = Some(error.to_string()),
        }
    }

    /// Writes a number as this instance's mark.
    pub(super) async fn mark(&self, number: Number) -> dust::Result<Number> {
        let value = serde_json::json!({ "v": 1, "applied": number }).to_string();
        let how = Put { expires_in: Some(self.settings.trust * KEPT), ..Put::default() };
        match self.bounded(self.parts.dust.put(&self.mark_key(), &value, how)).await? {
            Written::At(number) => Ok(number),
            Written::Fenced => Err(Error::Broken("an unfenced put was fenced".into())),
        }
    }

    /// Notes that changes were missed, or may have been: the tier is not trusted until everything has been
    /// read again.
    pub(super) fn missed(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
        self.parts.trust.lose();
        self.parts.stamps.has_gap();
        // It is a walk through the whole tier. One that is not trusted is in doubt already.
        if *self.sure.borrow() {
            self.parts.tier.doubt_all();
        } else {
            self.is_doubted.store(true, Ordering::Release);
        }
        self.bell.notify_one();
    }

    pub(super) fn lease_key(&self) -> String {
        format!("{}{}", self.members(), self.settings.instance)
    }

    pub(super) fn mark_key(&self) -> String {
        format!("{}!", self.lease_key())
    }

    /// The prefix of the leases and marks of all instances.
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
