//! Which instances live, and up to which number each has applied the stamps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Member;
use crate::dust::{self, Changes, Number, Value};

/// How often the leases are read: no change tells that one has run out.
const LOOK: Duration = Duration::from_millis(500);
/// The same for a store that allows few calls, unless one runs out sooner.
const RARE_LOOK: Duration = Duration::from_secs(5);
/// The pause after a failed listing.
const AGAIN: Duration = Duration::from_millis(100);

/// Which instances have applied a purge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// Instances that have applied it.
    pub confirmed: Vec<String>,
    /// Instances that did not confirm in time although their leases lived at first: dead, frozen or cut off.
    pub silent: Vec<String>,
}

/// An instance: when its lease ends, and the number it has written beside it.
#[derive(Debug, Clone, Copy)]
struct Confirmation {
    until: Instant,
    applied: Number,
}

/// The instances that a purge waits for.
#[derive(Default)]
struct AskedInstance {
    /// The instances that have not confirmed, and when their leases end.
    waited: BTreeMap<String, Instant>,
    /// The instances whose leases have run out meanwhile.
    lapsed: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Mark {
    applied: Number,
}

impl Member {
    /// Waits until every instance with a live lease has applied all stamps up to `number`. Waits no longer
    /// than [`Settings::trust`](super::member::Settings::trust): an instance that is silent for that long no
    /// longer trusts its tier. An instance whose lease runs out meanwhile is silent, too, and no longer
    /// waited for. One that releases its lease has left, and is neither confirmed nor silent.
    ///
    /// Fails if the instances could not be listed even once. Cancel safe.
    pub async fn confirmed(&self, number: Number) -> dust::Result<Confirmed> {
        let deadline = Instant::now() + self.settings.trust;
        let mut changes: Option<Changes> = None;
        let mut last = None;
        let mut asked = AskedInstance::default();
        loop {
            let over = Instant::now() >= deadline;
            match self.list().await {
                Ok(all) => {
                    let waits = self.waits(&all, number);
                    asked.look(&all, &waits, &self.known.lock().unwrap_or_else(PoisonError::into_inner));
                    if waits.is_empty() || over {
                        return Ok(self.said(&all, number, asked));
                    }
                    let listens = changes.is_some();
                    if !listens {
                        changes = self.listen(&waits).await;
                    }
                    last = Some(all);
                    if !listens && changes.is_some() {
                        // Changes from before the subscription are found by another listing.
                        continue;
                    }
                }
                Err(error) if over => return last.map(|all| self.said(&all, number, asked)).ok_or(error),
                Err(_) => {}
            }
            let again_at = deadline.min(Instant::now() + AGAIN);
            let lost = match &mut changes {
                Some(changes) => {
                    let look_at = deadline.min(self.ask_again_at(&asked));
                    timeout_at(look_at, changes.next()).await.is_ok_and(|wake| wake.lost)
                }
                None => true,
            };
            if lost {
                sleep_until(again_at).await;
            }
        }
    }

    /// When the leases are read again if nothing is heard of them.
    fn ask_again_at(&self, asked: &AskedInstance) -> Instant {
        let now = Instant::now();
        if !self.parts.dust.traits().counts_calls {
            return now + LOOK;
        }
        let end = asked.waited.values().min().copied().unwrap_or(now);
        end.clamp(now + LOOK, now + RARE_LOOK)
    }

    /// Subscribes to the leases of these instances, and to the numbers beside them.
    async fn listen(&self, names: &[&str]) -> Option<Changes> {
        let of = |name: &&str| {
            let lease = format!("{}{name}", self.members());
            [format!("{lease}!"), lease]
        };
        let keys: Vec<String> = names.iter().flat_map(of).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.bounded(self.parts.dust.on(&keys)).await.ok()
    }

    /// All instances with live leases, each with the number it has applied.
    pub(super) async fn list(&self) -> dust::Result<BTreeMap<String, Number>> {
        let members = self.members();
        let now = Instant::now();
        let mut found = BTreeMap::new();
        let mut applied = BTreeMap::new();
        for (key, entry) in self.bounded(self.parts.dust.entries(&members)).await? {
            let Some(name) = key.strip_prefix(&members) else { continue };
            match &entry.value {
                Value::Lease { rest } => {
                    let until = now + rest.unwrap_or(self.settings.trust);
                    found.insert(name.to_owned(), Confirmation { until, applied: 0 });
                }
                Value::Text(text) => {
                    if let (Some(name), Ok(mark)) =
                        (name.strip_suffix('!'), serde_json::from_str::<Mark>(text))
                        // A number that the store has not given yet is invalid.
                        && mark.applied <= self.parts.dust.ceiling()
                    {
                        applied.insert(name.to_owned(), mark.applied);
                    }
                }
                Value::Other => {}
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        for (name, standing) in &mut found {
            standing.applied = applied.get(name).copied().unwrap_or(0);
            known.insert(name.clone(), standing.until);
        }
        Ok(found.into_iter().map(|(name, standing)| (name, standing.applied)).collect())
    }

    /// The other instances that have not confirmed. This instance has applied what it writes.
    fn waits<'a>(&self, all: &'a BTreeMap<String, Number>, number: Number) -> Vec<&'a str> {
        let own = &*self.settings.instance;
        let late = all.iter().filter(|(name, applied)| **name != *own && **applied < number);
        late.map(|(name, _)| name.as_str()).collect()
    }

    fn said(&self, all: &BTreeMap<String, Number>, number: Number, asked: AskedInstance) -> Confirmed {
        let mut silent = asked.lapsed;
        silent.extend(self.waits(all, number).into_iter().map(str::to_owned));
        let own = self.settings.instance.to_string();
        let others = all.keys().filter(|name| **name != own && !silent.contains(*name)).cloned();
        let confirmed = std::iter::once(own.clone()).chain(others).collect();
        Confirmed { confirmed, silent: silent.into_iter().collect() }
    }
}

// === impl AskedInstance ===

impl AskedInstance {
    /// Compares a new listing with the instances that are waited for. A lease that is gone before its end was
    /// released.
    fn look(&mut self, all: &BTreeMap<String, Number>, waits: &[&str], known: &BTreeMap<String, Instant>) {
        let now = Instant::now();
        for (name, until) in std::mem::take(&mut self.waited) {
            if !all.contains_key(&name) && until <= now {
                self.lapsed.insert(name);
            }
        }
        self.lapsed.retain(|name| !all.contains_key(name));
        let until = |name: &&str| Some(((*name).to_owned(), *known.get(*name)?));
        self.waited = waits.iter().filter_map(until).collect();
    }
}
