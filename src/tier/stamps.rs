//! Purges, as this instance knows them (F8).
//!
//! A purge is a stamp in the store: what it covers, hard or soft, and the number of its write. The stamp with
//! the highest number wins, so stamps may be applied in any order, and twice. How long a stamp lives is in
//! [`life`]; what happens while the store does not take one is in [`owed`].
//!
//! There are bounds. At most [`URLS`] have stamps in the store at a time, and fewer where the store itself is
//! small; above that the stamps of unsafe requests wait. At most [`OWED`](owed::OWED) wait to be written;
//! above that unsafe requests are refused before they are forwarded. Neither bound is ever kept by dropping
//! another stamp or record. An operator's purge is refused for neither.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, MutexGuard};

use crate::clock::{WallMs, millis};
use crate::dust::{Change, Dust, Error, Number, Put, What, Written};
use crate::key::KeyHash;

mod explain;
pub mod life;
pub mod look;
pub mod named;
pub mod operator;
pub mod owed;
mod room;
pub mod scope;
mod table;
pub mod tags;
mod wire;

use super::stood::Stood;
use life::SLACK;
pub use named::{Named, Names};
use owed::Owed;
pub use room::URLS;
pub use scope::{Area, Covered, Force, Scope, TagName, Wanted, Within};
use table::{One, Table};

/// The stamps that this instance has applied.
#[derive(Debug)]
pub struct Stamps {
    /// What the keys of all stamps begin with.
    prefix: String,
    max_life: Duration,
    newest: AtomicU64,
    /// How many stamps were applied. Numbers may come in any order; this count only rises.
    applied: AtomicU64,
    table: RwLock<Table>,
    /// Whether all stamps of the store were read once.
    whole: AtomicBool,
    /// Stamps that are not in the store yet.
    owed: Owed,
    /// The fills under way here: how many there are by the number they were born under.
    filling: Mutex<BTreeMap<Number, usize>>,
    /// Stamps up to this number may have been missed: a response that was requested under a lower number is
    /// not published.
    missed: AtomicU64,
    /// The highest number of a stamp that is not in the store.
    made_up: AtomicU64,
    /// How often changes may have been missed: stamps written before may be gone from the store.
    gaps: AtomicUsize,
    /// How many URLs have stamps in the store, as last counted.
    counted: Mutex<room::Counted>,
    /// Writers of one URL take turns, so that its stamps are applied here in their order.
    turns: [Turn<()>; TURNS],
}

/// Whether another writer's stamp landed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// None did.
    Yes,
    /// One did, or may have.
    No,
}

/// How long a stamp is remembered here after it has expired in the store, in ms.
const SPARE_MS: u64 = 60_000;
/// How many turns URLs are spread over: writers of two URLs that share a turn wait for each other.
const TURNS: usize = 64;

/// A purge, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it covers.
    pub scope: Scope,
    /// Whether it is hard or soft.
    pub force: Force,
    /// Its place in the order.
    pub number: Number,
    /// When it expires, on the store's clock.
    pub until: WallMs,
}

/// A fill under way. Until it is dropped, stamps that cover it are not forgotten here.
#[derive(Debug)]
pub struct Filling<'a> {
    stamps: &'a Stamps,
    born: Number,
}

// === impl Stamps ===

impl Stamps {
    /// No stamps yet, for the fleet called `prefix`. No record is served that is older than `max_life`.
    pub fn new(prefix: &str, max_life: Duration) -> Self {
        Self {
            prefix: format!("{prefix}/1/s/"),
            max_life,
            newest: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            table: RwLock::new(Table::new(max_life)),
            whole: AtomicBool::new(false),
            owed: Owed::default(),
            filling: Mutex::default(),
            missed: AtomicU64::new(0),
            made_up: AtomicU64::new(0),
            gaps: AtomicUsize::new(0),
            counted: Mutex::default(),
            turns: std::array::from_fn(|_| Turn::new(())),
        }
    }

    /// Applies every stamp that the store has. Before this the tier may not be trusted.
    pub async fn load(&self, dust: &dyn Dust) -> Result<usize, Error> {
        let found = self.read(dust).await?;
        self.take_all(&found, false, dust.now_ms());
        Ok(found.len())
    }

    /// Applies all stamps that were read of the store at `now`. `gap`: some may have ended before they were heard
    /// of.
    pub fn take_all(&self, found: &[Stamp], gap: bool, now: WallMs) {
        for stamp in found {
            self.take(*stamp);
        }
        if !self.whole.swap(true, Ordering::AcqRel) || gap {
            // One that ends a moment later than another may be older: clocks differ, and a store's may step.
            let lives = |stamp: &&Stamp| stamp.until > now.saturating_add(tags::SKEW_MS);
            let tags = found.iter().filter(|stamp| matches!(stamp.scope, Scope::Tag(_))).filter(lives);
            let oldest = tags.map(|stamp| stamp.number).min();
            let mut table = self.table_mut();
            let count = self.applied.fetch_add(1, Ordering::AcqRel) + 1;
            table.cover_the_rest(oldest, count);
        }
    }

    /// Reads every stamp that the store has, without applying them.
    pub async fn read(&self, dust: &dyn Dust) -> Result<Vec<Stamp>, Error> {
        let found = dust.entries(&self.prefix).await?;
        let latest = self.latest(dust.now_ms());
        let stamp = |(key, entry): &(String, crate::dust::Entry)| {
            let (scope, force) = wire::stamp_of(&self.prefix, key)?;
            let until = wire::until(entry.text()?).unwrap_or(latest).min(latest);
            Some(Stamp { scope, force, number: entry.number, until })
        };
        Ok(found.iter().filter_map(stamp).collect())
    }

    /// The latest end of a stamp that is written now.
    fn latest(&self, now: WallMs) -> WallMs {
        let longest = self.max_life.max(life::OPERATOR) + SLACK;
        now.saturating_add(millis(longest))
    }

    /// Applies a change that was received at `now`, if it is a stamp. Returns whether it is one that a purge
    /// waits for.
    pub fn told(&self, key: &str, change: &Change, now: WallMs) -> bool {
        let What::Set { lives } = change.what else { return false };
        let Some((scope, force)) = wire::stamp_of(&self.prefix, key) else { return false };
        let latest = self.latest(now);
        let until = lives.map_or(latest, |lives| now.saturating_add(millis(lives)).min(latest));
        // A stamp that was only announced is not expected in the store, unless an older one is there.
        let here_only = is_announced(change) && !self.is_kept(scope, force, now);
        let one = if here_only { One::here(change.number, until) } else { One::stored(change.number, until) };
        self.merge(scope, force, one);
        // What says that stamps have ended comes after each of them. It must not stand for one that was not
        // heard of.
        !matches!(scope, Scope::Rest(_))
    }

    /// Returns whether the store has a stamp of this scope and force, as far as is known.
    fn is_kept(&self, scope: Scope, force: Force, now: WallMs) -> bool {
        let one = self.table().get(scope, force);
        one.number > 0 && !one.here_only && one.until > now
    }

    /// The stamps among `known` that the store lacks, or has an older version of. `known` is what
    /// [`known`](Self::known) returned before the store was read, and `found` is what was read.
    ///
    /// Each is compared by itself. That one is missing says nothing about the others, nor does its number:
    /// another instance may have purged since.
    pub fn missing(&self, mut known: Vec<Stamp>, found: &[Stamp]) -> Vec<Stamp> {
        let mut there = Table::new(self.max_life);
        for Stamp { scope, force, number, until } in found.iter().copied() {
            there.apply(scope, force, One::stored(number, until), 0);
        }
        known.retain(|stamp| {
            let [hard, soft] = there.does(stamp.scope);
            let does = if stamp.force == Force::Hard { hard } else { hard.max(soft) };
            does < stamp.number
        });
        known
    }

    /// The stamps that the store should have at `now`, ordered by number.
    pub fn known(&self, now: WallMs) -> Vec<Stamp> {
        self.table().known(now)
    }

    /// Writes a stamp that lives for `lives`, and applies it here. `durable`: it returns only when a power
    /// cut can no longer undo the write. Not subject to the bound on the stamps of clients.
    pub async fn write(
        &self,
        dust: &dyn Dust,
        scope: Scope,
        force: Force,
        lives: Duration,
        durable: bool,
    ) -> Result<Number, Error> {
        let _turns = self.turns_of(scope).await;
        self.put(dust, scope, force, lives, durable).await
    }

    /// As [`write`](Self::write), but subject to the bound on the stamps of clients. Also returns whether the
    /// URL's newest hard stamp was still `stood` when this one was written; that is exact among the writers
    /// of this process.
    ///
    /// Not cancel safe: if dropped, a stamp may be written that is not applied here. Spawn it.
    pub async fn write_after(
        &self,
        dust: &dyn Dust,
        scope: Scope,
        force: Force,
        lives: Duration,
        durable: bool,
        stood: Number,
    ) -> Result<(Number, Alone), Error> {
        let _turns = self.turns_of(scope).await;
        let alone = self.alone(scope, stood);
        if !self.has_place(dust, scope) {
            return Err(Error::Unavailable("as many URLs have been purged lately as may be".into()));
        }
        Ok((self.put(dust, scope, force, lives, durable).await?, alone))
    }

    /// Returns whether no other hard stamp of the URL has come since `stood`. To be called in the URL's turn.
    fn alone(&self, scope: Scope, stood: Number) -> Alone {
        match scope {
            Scope::Url(url) if self.hard(url) == stood => Alone::Yes,
            _ => Alone::No,
        }
    }

    /// To be called in the URL's turn.
    async fn put(
        &self,
        dust: &dyn Dust,
        scope: Scope,
        force: Force,
        lives: Duration,
        durable: bool,
    ) -> Result<Number, Error> {
        let now = dust.now_ms();
        // It replaces an earlier stamp, so it must live at least as long as that one. Those of tags all live
        // equally long from when they are written: which have ended is told by their numbers.
        let before = match scope {
            Scope::Tag(_) => 0,
            scope => self.table().get(scope, force).until.min(self.latest(now)),
        };
        let until = now.saturating_add(millis(lives)).max(before);
        let text = wire::text(scope, force, until);
        let expires_in = Some(Duration::from_millis(until - now));
        let how = Put { fence: None, expires_in, durable };
        match dust.put(&wire::key(&self.prefix, scope, force), &text, how).await? {
            Written::At(number) => {
                self.take(Stamp { scope, force, number, until });
                Ok(number)
            }
            Written::Fenced => Err(Error::Broken("an unfenced put was fenced".into())),
        }
    }

    /// Announces a hard stamp over a URL to all instances that share the store, without storing it: nothing
    /// is stored that it could cover, but a response that another instance requested before may be stored
    /// later. Returns the same as [`write_after`](Self::write_after), which also gives a stamp that the store
    /// has already its new number.
    ///
    /// Not cancel safe: spawn it.
    pub async fn announce_after(
        &self,
        dust: &dyn Dust,
        url: KeyHash,
        stood: Number,
    ) -> Result<(Number, Alone), Error> {
        let (scope, force, now) = (Scope::Url(url), Force::Hard, dust.now_ms());
        if self.is_kept(scope, force, now) {
            return self.write_after(dust, scope, force, life::ANNOUNCED, true, stood).await;
        }
        let _turns = self.turns_of(scope).await;
        let alone = self.alone(scope, stood);
        let number = dust.announce(&wire::key(&self.prefix, scope, force), life::ANNOUNCED).await?;
        let until = now.saturating_add(millis(life::ANNOUNCED));
        self.merge(scope, force, One::here(number, until));
        Ok((number, alone))
    }

    /// Applies a stamp that is in the store, and keeps it for as long as this instance runs.
    pub fn apply(&self, scope: Scope, force: Force, number: Number) {
        self.take(Stamp { scope, force, number, until: WallMs::MAX });
    }

    /// Applies a stamp that is in the store.
    pub fn take(&self, stamp: Stamp) {
        let Stamp { scope, force, number, until } = stamp;
        self.merge(scope, force, One::stored(number, until));
    }

    /// Applies a hard stamp over a URL that is not in the store.
    pub fn cover_here(&self, url: KeyHash, number: Number, until: WallMs) {
        self.made_up.fetch_max(number, Ordering::AcqRel);
        self.merge(Scope::Url(url), Force::Hard, One::here(number, until));
    }

    /// The highest number that was made up here and not given by the store; 0 if none was.
    pub fn made_up(&self) -> Number {
        self.made_up.load(Ordering::Acquire)
    }

    fn merge(&self, scope: Scope, force: Force, one: One) {
        let mut table = self.table_mut();
        let count = self.applied.load(Ordering::Acquire) + 1;
        table.apply(scope, force, one, count);
        // Last, so that a task that sees the new count also finds the stamp; and while the table is locked, so
        // that each stamp has a count of its own.
        if !matches!(scope, Scope::Rest(_)) {
            self.newest.fetch_max(one.number, Ordering::AcqRel);
        }
        // What says that stamps have ended covers nothing: records need not be looked at again for it.
        if !matches!(scope, Scope::Rest(_)) {
            self.applied.store(count, Ordering::Release);
        }
    }

    /// Forgets the stamps that expired before `now`, except those that still cover something here: URLs in
    /// `still`, fills under way, and stamps that the store has yet to take.
    pub fn forget(&self, now: WallMs, still: &HashSet<KeyHash>) {
        let owed = self.owing_to();
        let still = &still.union(&owed).copied().collect();
        let oldest = self.filling().keys().next().copied().unwrap_or(Number::MAX);
        self.table_mut().forget(now.saturating_sub(SPARE_MS), oldest, still, &self.owing_tags());
    }

    /// Notes a fill whose request to upstream is sent under the number `born`.
    pub fn fills(&self, born: Number) -> Filling<'_> {
        *self.filling().entry(born).or_default() += 1;
        Filling { stamps: self, born }
    }

    /// Notes that nothing was received for so long that stamps up to this number may have come and gone.
    pub fn missed(&self, number: Number) {
        self.missed.fetch_max(number, Ordering::AcqRel);
    }

    /// Notes that changes may have been missed: stamps written before may be gone from the store.
    pub fn has_gap(&self) {
        self.gaps.fetch_add(1, Ordering::AcqRel);
    }

    /// How often [`Stamps::has_gap`] was called.
    pub fn gaps(&self) -> usize {
        self.gaps.load(Ordering::Acquire)
    }

    /// The number of the newest stamp; 0 if there is none.
    pub fn newest(&self) -> Number {
        self.newest.load(Ordering::Acquire)
    }

    /// How many stamps were applied so far. While that does not change, neither does how they cover a record.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The number of the newest hard stamp over a URL; 0 if there is none.
    pub fn hard(&self, url: KeyHash) -> Number {
        self.table().over_url(url)[Force::Hard as usize]
    }

    /// The count of applied stamps when one over more than a URL was last applied.
    pub fn wide(&self) -> u64 {
        self.table().wide()
    }

    /// How the stamps cover a record born under `born` and last validated under `token`. Its tags may be
    /// unknown, or it may be named by the hash of its URL alone: then they are not looked at.
    pub fn covers<'a>(&self, of: impl Into<Named<'a>>, born: Number, token: Number) -> Covered {
        self.covers_since(of, born, token, 0)
    }

    /// As [`Stamps::covers`], for a record that was not covered when so many were applied as `checked` says.
    pub fn covers_since<'a>(
        &self,
        of: impl Into<Named<'a>>,
        born: Number,
        token: Number,
        checked: u64,
    ) -> Covered {
        self.table().covers(of.into(), born, token, checked)
    }

    /// Returns whether the response of a fill born under `born` must not be published.
    pub fn forbids<'a>(&self, of: impl Into<Named<'a>>, born: Number) -> bool {
        born < self.missed.load(Ordering::Acquire) || self.covers(of, born, Number::MAX) == Covered::Hard
    }

    /// When the newest soft stamp over a URL expires.
    pub fn soft_until(&self, url: KeyHash) -> WallMs {
        self.table().get(Scope::Url(url), Force::Soft).until
    }

    /// The longest that a record is served.
    pub fn max_life(&self) -> Duration {
        self.max_life
    }

    /// The newest stamps over a URL, and over the areas that it lies in, now.
    pub fn stood<'a>(&self, of: impl Into<Named<'a>>) -> Stood {
        let [hard, soft] = self.table().over_place(of.into());
        Stood { hard, soft }
    }

    /// Waits for the turns that a writer needs, always in this order.
    async fn turns_of(&self, scope: Scope) -> Vec<MutexGuard<'_, ()>> {
        let of = match scope {
            Scope::All => &self.turns[..],
            scope => {
                let mut hasher = DefaultHasher::new();
                scope.hash(&mut hasher);
                let at = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
                &self.turns[at..=at]
            }
        };
        let mut turns = Vec::new();
        for turn in of {
            turns.push(turn.lock().await);
        }
        turns
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        // Each change is made in one step: a panic elsewhere broke nothing.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn filling(&self) -> std::sync::MutexGuard<'_, BTreeMap<Number, usize>> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Filling ===

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let mut filling = self.stamps.filling();
        if let Some(count) = filling.get_mut(&self.born) {
            *count -= 1;
            if *count == 0 {
                filling.remove(&self.born);
            }
        }
    }
}

/// Returns whether a change is a stamp that was announced and not stored.
pub fn is_announced(change: &Change) -> bool {
    matches!(change.what, What::Set { lives: Some(lives) } if lives <= life::ANNOUNCED)
}

#[cfg(test)]
mod tests;
