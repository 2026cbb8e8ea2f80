//! Purges, as this instance knows them (F8).
//!
//! A purge is a stamp in the store: what it covers, hard or soft, and the number of its write.
//! Stamps are merged by maximum, so they may be applied in any order and twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::dust::{Dust, Error, Number, Put, Written};
use crate::key::KeyHash;

/// The stamps that this instance has applied.
#[derive(Debug)]
pub struct Stamps {
    prefix: String,
    keep: Duration,
    newest: AtomicU64,
    all: [AtomicU64; 2],
    urls: RwLock<HashMap<KeyHash, [Number; 2]>>,
}

/// What a stamp covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One URL, in all its variants.
    Url(KeyHash),
    /// Everything.
    All,
}

/// How hard a purge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            all: [AtomicU64::new(0), AtomicU64::new(0)],
            urls: RwLock::default(),
        }
    }

    /// Applies every stamp that the store has. Before this the tier may not be trusted.
    pub async fn load(&self, dust: &dyn Dust) -> Result<usize, Error> {
        let found = dust.entries(&self.prefix).await?;
        let count = found.len();
        for (key, entry) in found {
            if let Some((scope, force)) = self.read_key(&key) {
                self.apply(scope, force, entry.number);
            }
        }
        Ok(count)
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
        let value = describe(scope, force, url).to_string();
        let how = Put { fence: None, expires_in: Some(self.keep), durable };
        match dust.put(&self.write_key(scope, force), &value, how).await? {
            Written::At(number) => {
                self.apply(scope, force, number);
                Ok(number)
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
                let at = &mut urls.entry(hash).or_default()[force as usize];
                *at = number.max(*at);
            }
        }
        // Last, so that whoever sees the new number finds the stamp.
        self.newest.fetch_max(number, Ordering::AcqRel);
    }

    /// The number of the newest stamp; 0 if there is none.
    pub fn newest(&self) -> Number {
        self.newest.load(Ordering::Acquire)
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
            urls.get(&url).copied().unwrap_or_default()
        };
        let all = |force: Force| self.all[force as usize].load(Ordering::Acquire);
        [of_url[0].max(all(Force::Hard)), of_url[1].max(all(Force::Soft))]
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
