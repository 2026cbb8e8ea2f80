//! Purges, as this instance knows them (F8).
//!
//! A purge is a stamp in the store: what it covers, hard or soft, and the number of its write.
//! Stamps are merged by maximum, so they may be applied in any order and twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::dust::{Change, Dust, Error, Number, Put, What, Written};
use crate::key::KeyHash;

/// The stamps that this instance has applied.
#[derive(Debug)]
pub struct Stamps {
    prefix: String,
    keep: Duration,
    newest: AtomicU64,
    /// How often a stamp was applied: numbers may come in any order, this only rises.
    applied: AtomicU64,
    all: [AtomicU64; 2],
    urls: RwLock<Urls>,
    /// When the newest stamp was applied, in ms from `base`.
    newest_at: AtomicU64,
    base: Instant,
    /// Writers of one URL take turns, so that here its stamps are applied in their order.
    turns: [Mutex<()>; TURNS],
}

/// The newest stamps of so many URLs, hard and soft.
///
/// Above the most that are remembered the oldest are let go of, and what they covered counts as
/// covered for *every* URL that is not remembered: more is fetched anew than would have to be,
/// and nothing is served that was purged. A URL that comes back begins at that floor.
#[derive(Debug, Default)]
struct Urls {
    by_hash: HashMap<KeyHash, [Number; 2]>,
    floor: [Number; 2],
}

/// Whether a stamp of somebody else's landed between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// None did.
    Yes,
    /// One did, or may have.
    No,
}

/// How many URLs are remembered with stamps of their own.
const URLS: usize = 65_536;
/// How many URLs' writers may be busy at a time; two that share a turn wait for each other.
const TURNS: usize = 64;

/// A purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it covers.
    pub scope: Scope,
    /// How hard it is.
    pub force: Force,
    /// Its place in the order.
    pub number: Number,
}

/// What a stamp covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One URL, in all its variants.
    Url(KeyHash),
    /// Everything.
    All,
}

/// How hard a purge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Force {
    /// What it covers is a miss.
    Hard,
    /// What it covers is stale.
    Soft,
}

/// What the stamps say of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered {
    /// Nothing.
    No,
    /// Stale: to be validated before it is used, except where stale is allowed.
    Soft,
    /// Gone.
    Hard,
}

// === impl Stamps ===

impl Stamps {
    /// No stamps yet, of the fleet called `prefix`; written ones are kept for `keep`.
    pub fn new(prefix: &str, keep: Duration) -> Self {
        Self {
            prefix: format!("{prefix}/1/s/"),
            keep,
            newest: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            all: [AtomicU64::new(0), AtomicU64::new(0)],
            urls: RwLock::default(),
            newest_at: AtomicU64::new(0),
            base: Instant::now(),
            turns: std::array::from_fn(|_| Mutex::new(())),
        }
    }

    /// Applies every stamp that the store has. Before this the tier may not be trusted.
    pub async fn load(&self, dust: &dyn Dust) -> Result<usize, Error> {
        let found = self.read(dust).await?;
        for stamp in &found {
            self.apply(stamp.scope, stamp.force, stamp.number);
        }
        Ok(found.len())
    }

    /// Every stamp that the store has, without applying them.
    pub async fn read(&self, dust: &dyn Dust) -> Result<Vec<Stamp>, Error> {
        let found = dust.entries(&self.prefix).await?;
        let stamp = |(key, entry): &(String, crate::dust::Entry)| {
            let (scope, force) = self.read_key(key)?;
            Some(Stamp { scope, force, number: entry.number })
        };
        Ok(found.iter().filter_map(stamp).collect())
    }

    /// Applies a change, if it is one of a stamp. Whether it was.
    pub fn told(&self, key: &str, change: &Change) -> bool {
        let Some((scope, force)) = self.read_key(key) else { return false };
        if change.what != What::Set {
            return false;
        }
        self.apply(scope, force, change.number);
        true
    }

    /// The stamps that are known here and that a store with these has forgotten.
    ///
    /// Stamps run out in the order of their numbers: one that is missing and below all that are
    /// there has run out, and nothing is that old any more that it could cover. (Of URLs that
    /// were let go of here nobody can tell: they are the oldest.)
    pub fn missing(&self, found: &[Stamp]) -> Vec<Stamp> {
        let oldest = found.iter().map(|stamp| stamp.number).min();
        let newest_at = Duration::from_millis(self.newest_at.load(Ordering::Acquire));
        if oldest.is_none() && self.base.elapsed().saturating_sub(newest_at) >= self.keep {
            return Vec::new();
        }
        let found: HashMap<(Scope, Force), Number> =
            found.iter().map(|stamp| ((stamp.scope, stamp.force), stamp.number)).collect();
        let mut missing = self.known();
        missing.retain(|stamp| {
            let there = found.get(&(stamp.scope, stamp.force)).copied().unwrap_or(0);
            there < stamp.number && stamp.number > oldest.unwrap_or(0)
        });
        missing
    }

    /// Every stamp that is known here by its own number.
    fn known(&self) -> Vec<Stamp> {
        let mut known = Vec::new();
        let urls = self.urls.read().unwrap_or_else(PoisonError::into_inner);
        for force in [Force::Hard, Force::Soft] {
            let at = force as usize;
            let all = Stamp { scope: Scope::All, force, number: self.all[at].load(Ordering::Acquire) };
            let of_urls = urls.by_hash.iter().map(|(hash, numbers)| Stamp {
                scope: Scope::Url(*hash),
                force,
                number: numbers[at],
            });
            // A URL begins at the floor: that is none of its own.
            let floor = urls.floor[at];
            known.extend(of_urls.filter(|stamp| stamp.number > floor));
            known.extend((all.number > 0).then_some(all));
        }
        // In their order, and not in a table's, which is another in every run.
        known.sort_unstable_by_key(|stamp| stamp.number);
        known
    }

    /// Writes a stamp and applies it here. `durable`: answered only when a power cut can no
    /// longer undo it.
    pub async fn write(
        &self,
        dust: &dyn Dust,
        scope: Scope,
        force: Force,
        url: Option<&str>,
        durable: bool,
    ) -> Result<Number, Error> {
        self.write_after(dust, scope, force, url, durable, 0).await.map(|(number, _)| number)
    }

    /// As [`write`](Self::write); and whether the URL's newest hard stamp was still `stood` when
    /// this one was written. Exact among the writers of this process.
    ///
    /// Not cancel safe: a stamp may land that is not applied here. Spawn it.
    pub async fn write_after(
        &self,
        dust: &dyn Dust,
        scope: Scope,
        force: Force,
        url: Option<&str>,
        durable: bool,
        stood: Number,
    ) -> Result<(Number, Alone), Error> {
        let mut turns = Vec::new();
        for turn in self.turns_of(scope) {
            turns.push(turn.lock().await);
        }
        let alone = match scope {
            Scope::Url(hash) if self.hard(hash) == stood => Alone::Yes,
            Scope::Url(_) | Scope::All => Alone::No,
        };
        let value = describe(scope, force, url).to_string();
        let how = Put { fence: None, expires_in: Some(self.keep), durable };
        match dust.put(&self.write_key(scope, force), &value, how).await? {
            Written::At(number) => {
                self.apply(scope, force, number);
                Ok((number, alone))
            }
            Written::Fenced => Err(Error::Broken("an unfenced put was fenced".into())),
        }
    }

    /// Applies a stamp.
    pub fn apply(&self, scope: Scope, force: Force, number: Number) {
        match scope {
            Scope::All => {
                self.all[force as usize].fetch_max(number, Ordering::AcqRel);
            }
            Scope::Url(hash) => {
                let mut urls = self.urls.write().unwrap_or_else(PoisonError::into_inner);
                urls.apply(hash, force, number, URLS);
            }
        }
        if number > self.newest() {
            let now = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.newest_at.store(now, Ordering::Release);
        }
        // Last, so that whoever sees them moved finds the stamp.
        self.newest.fetch_max(number, Ordering::AcqRel);
        self.applied.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of the newest stamp; 0 if there is none.
    pub fn newest(&self) -> Number {
        self.newest.load(Ordering::Acquire)
    }

    /// How many stamps were applied so far: as long as that stays, so does what they say of a
    /// record.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The number of the newest hard stamp over a URL; 0 if there is none.
    pub fn hard(&self, url: KeyHash) -> Number {
        self.over(url)[Force::Hard as usize]
    }

    /// What the stamps say of something born under `born` and last validated under `token`.
    pub fn covers(&self, url: KeyHash, born: Number, token: Number) -> Covered {
        let [hard, soft] = self.over(url);
        if hard > born {
            Covered::Hard
        } else if soft > token {
            Covered::Soft
        } else {
            Covered::No
        }
    }

    fn over(&self, url: KeyHash) -> [Number; 2] {
        let of_url = {
            let urls = self.urls.read().unwrap_or_else(PoisonError::into_inner);
            urls.over(url)
        };
        let all = |force: Force| self.all[force as usize].load(Ordering::Acquire);
        [of_url[0].max(all(Force::Hard)), of_url[1].max(all(Force::Soft))]
    }

    /// The turns that a writer waits for, always in this order.
    fn turns_of(&self, scope: Scope) -> &[Mutex<()>] {
        match scope {
            Scope::Url(KeyHash(hash)) => {
                let at = usize::from(hash[0]) % TURNS;
                &self.turns[at..=at]
            }
            Scope::All => &self.turns,
        }
    }

    fn write_key(&self, scope: Scope, force: Force) -> String {
        let force = if force == Force::Hard { 'h' } else { 's' };
        match scope {
            Scope::Url(hash) => format!("{}u/{hash}/{force}", self.prefix),
            Scope::All => format!("{}all/{force}", self.prefix),
        }
    }

    fn read_key(&self, key: &str) -> Option<(Scope, Force)> {
        let (what, force) = key.strip_prefix(&self.prefix)?.rsplit_once('/')?;
        let force = match force {
            "h" => Force::Hard,
            "s" => Force::Soft,
            _ => return None,
        };
        if what == "all" {
            return Some((Scope::All, force));
        }
        let hash = u128::from_str_radix(what.strip_prefix("u/")?, 16).ok()?;
        Some((Scope::Url(KeyHash(hash.to_be_bytes())), force))
    }
}

// === impl Urls ===

impl Urls {
    fn over(&self, url: KeyHash) -> [Number; 2] {
        self.by_hash.get(&url).copied().unwrap_or(self.floor)
    }

    fn apply(&mut self, url: KeyHash, force: Force, number: Number, most: usize) {
        let at = &mut self.by_hash.entry(url).or_insert(self.floor)[force as usize];
        *at = number.max(*at);
        if self.by_hash.len() > most {
            self.let_go(most - most / 4);
        }
    }

    /// Keeps so many, the newest, and raises the floor over the others.
    fn let_go(&mut self, keep: usize) {
        let newest = |[hard, soft]: [Number; 2]| hard.max(soft);
        let mut numbers: Vec<Number> = self.by_hash.values().map(|of_url| newest(*of_url)).collect();
        let gone = numbers.len().saturating_sub(keep).max(1) - 1;
        let (_, highest, _) = numbers.select_nth_unstable(gone);
        let highest = *highest;
        let mut floor = self.floor;
        self.by_hash.retain(|_, of_url| {
            let kept = newest(*of_url) > highest;
            if !kept {
                floor = [floor[0].max(of_url[0]), floor[1].max(of_url[1])];
            }
            kept
        });
        self.floor = floor;
    }
}

fn describe(scope: Scope, force: Force, url: Option<&str>) -> Value {
    let kind = match scope {
        Scope::Url(_) => "url",
        Scope::All => "all",
    };
    json!({ "v": 1, "kind": kind, "url": url, "soft": force == Force::Soft })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps() -> Stamps {
        Stamps::new("dustgate", Duration::from_mins(1))
    }

    #[test]
    fn a_hard_stamp_above_born_makes_a_miss_and_a_soft_one_above_token_makes_stale() {
        let url = KeyHash::of("http://h/a");
        let other = KeyHash::of("http://h/b");
        let stamps = stamps();
        assert_eq!(stamps.covers(url, 5, 5), Covered::No);
        stamps.apply(Scope::Url(url), Force::Soft, 6);
        assert_eq!(stamps.covers(url, 5, 5), Covered::Soft);
        assert_eq!(stamps.covers(url, 5, 7), Covered::No, "validated since");
        assert_eq!(stamps.covers(other, 5, 5), Covered::No);
        stamps.apply(Scope::All, Force::Hard, 9);
        assert_eq!(stamps.covers(url, 5, 12), Covered::Hard, "a validation does not lift born");
        assert_eq!(stamps.covers(url, 10, 12), Covered::No);
        assert_eq!(stamps.newest(), 9);
    }

    #[test]
    fn stamps_merge_by_maximum_in_any_order() {
        let url = KeyHash::of("http://h/a");
        let stamps = stamps();
        stamps.apply(Scope::Url(url), Force::Hard, 9);
        stamps.apply(Scope::Url(url), Force::Hard, 4);
        assert_eq!(stamps.hard(url), 9);
    }

    #[test]
    fn a_record_is_looked_at_again_though_a_stamp_came_late() {
        let url = KeyHash::of("http://h/a");
        let stamps = stamps();
        stamps.apply(Scope::Url(KeyHash::of("http://h/b")), Force::Hard, 9);
        let before = stamps.applied();
        stamps.apply(Scope::Url(url), Force::Hard, 8);
        assert_eq!(stamps.newest(), 9);
        assert_ne!(stamps.applied(), before, "though the newest number is the same");
    }

    #[test]
    fn what_is_let_go_of_covers_too_much_and_never_too_little() {
        let url = |n: u64| KeyHash::of(&format!("http://h/{n}"));
        let mut urls = Urls::default();
        for n in 1..=100 {
            let force = if n % 2 == 0 { Force::Hard } else { Force::Soft };
            urls.apply(url(n), force, n, 40);
            assert!(urls.by_hash.len() <= 40);
        }
        for n in 1..=100 {
            assert!(urls.over(url(n))[usize::from(n % 2 == 1)] >= n, "{n}");
        }
        let floor = urls.floor;
        assert!(floor[0] > 0 && floor[0] < 100, "{floor:?}");
        assert_eq!(urls.over(url(1000)), floor, "one that was never stamped");
        assert_eq!(urls.over(url(100)), [100, floor[1]], "the newest has its own");
        urls.apply(url(1000), Force::Soft, 101, 40);
        assert_eq!(urls.over(url(1000)), [floor[0], 101], "it may have been let go of before");
    }

    #[tokio::test]
    async fn a_writer_learns_whether_another_came_between() {
        let url = KeyHash::of("http://h/a");
        let (scope, force, stamps) = (Scope::Url(url), Force::Hard, stamps());
        let dice = crate::clock::Dice::seeded(1);
        let clock = std::sync::Arc::new(crate::clock::ManualClock::default());
        let dust = crate::dust::Embedded::memory_with(clock, crate::dust::embedded::Limits::default(), &dice);
        let first = stamps.write(&dust, scope, force, None, false).await.expect("a stamp");
        let second = stamps.write_after(&dust, scope, force, None, false, first).await.expect("a stamp");
        assert_eq!(second.1, Alone::Yes);
        let third = stamps.write_after(&dust, scope, force, None, false, first).await.expect("a stamp");
        assert_eq!(third.1, Alone::No);
        stamps.write(&dust, Scope::All, force, None, false).await.expect("a stamp");
        let last = stamps.write_after(&dust, scope, force, None, false, third.0).await.expect("a stamp");
        assert_eq!(last.1, Alone::No, "all is every URL");
    }

    #[test]
    fn a_stamp_is_read_back_from_its_key() {
        let stamps = stamps();
        for scope in [Scope::All, Scope::Url(KeyHash::of("http://h/a"))] {
            for force in [Force::Hard, Force::Soft] {
                assert_eq!(stamps.read_key(&stamps.write_key(scope, force)), Some((scope, force)));
            }
        }
        assert_eq!(stamps.read_key("dustgate/1/s/u/zz/h"), None);
        assert_eq!(stamps.read_key("other"), None);
    }
}
