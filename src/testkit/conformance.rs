//! What every store promises, as cases that run against any of them.
//!
//! A [`Rig`] has a store and makes its time pass; [`all`] panics at the first broken promise. Cases use
//! keys of their own, so one store may serve them all, and it need not be empty.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::dust::{
    Changes, Dust, Entry, Findings, Grant, Holder, Inquiry, Known, Landing, Lease, LeaseRequest, Note,
    Number, Publication, Publish, Put, Value, Wake, Written,
};

mod buckets;
mod carry;
mod composed;
mod entrance;
mod entries;
mod events;
mod fences;
mod leases;
mod lost;
mod publish;

pub use composed::Composed;

/// A store under test.
#[async_trait]
pub trait Rig: Send + Sync {
    /// The store.
    fn dust(&self) -> Arc<dyn Dust>;

    /// Lets that much time pass, for the store and for this process.
    async fn pass(&self, by: Duration);

    /// The unit of all times in the suite: long enough that a few calls take no noticeable part of it.
    /// With virtual time 1 s, for example; with real time as short as the store's speed allows.
    fn beat(&self) -> Duration;

    /// What this kind of store can do.
    fn nature(&self) -> Nature {
        Nature::default()
    }

    /// How many subscriptions are alive, if the store can tell.
    fn subscriptions(&self) -> Option<usize>;

    /// A word that makes the keys of this run its own.
    fn run(&self) -> String {
        "conformance".into()
    }
}

/// What not every kind of store can do.
#[derive(Debug, Clone, Copy)]
pub struct Nature {
    /// *Held* tells the time left and the token.
    pub tells_holder: bool,
    /// The same holder asking again gets its own lease.
    pub reenters: bool,
    /// Entries can expire.
    pub expires: bool,
    /// Its numbers go on from the highest that a caller has seen, even if that was in another store.
    pub goes_on: bool,
}

/// A case: a rig, and keys of its own.
struct Case<'a> {
    rig: &'a dyn Rig,
    dust: Arc<dyn Dust>,
    name: &'static str,
}

/// Runs every case.
///
/// # Panics
/// If the store breaks a promise.
pub async fn all(rig: &dyn Rig) {
    entries::all(rig).await;
    leases::all(rig).await;
    fences::all(rig).await;
    entrance::all(rig).await;
    publish::all(rig).await;
    carry::all(rig).await;
    buckets::all(rig).await;
    events::all(rig).await;
    lost::all(rig).await;
}

// === impl Nature ===

impl Default for Nature {
    /// Everything.
    fn default() -> Self {
        Self { tells_holder: true, reenters: true, expires: true, goes_on: true }
    }
}

// === impl Case ===

impl<'a> Case<'a> {
    fn new(rig: &'a dyn Rig, name: &'static str) -> Self {
        Self { rig, dust: rig.dust(), name }
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.rig.run(), self.name)
    }

    fn holder(&self, who: &str) -> Holder {
        Holder(self.key(who).into())
    }

    fn beats(&self, n: u32) -> Duration {
        self.rig.beat() * n
    }

    async fn pass(&self, beats: u32) {
        self.rig.pass(self.beats(beats)).await;
    }

    async fn put(&self, key: &str, value: &str) -> Number {
        at(self.dust.put(&self.key(key), value, Put::default()).await.expect("an unfenced put lands"))
    }

    async fn put_for(&self, key: &str, value: &str, beats: u32) -> Number {
        let how = Put { expires_in: Some(self.beats(beats)), ..Put::default() };
        at(self.dust.put(&self.key(key), value, how).await.expect("an unfenced put lands"))
    }

    async fn put_fenced(&self, key: &str, value: &str, fence: &Lease) -> Written {
        let how = Put { fence: Some(fence), ..Put::default() };
        self.dust.put(&self.key(key), value, how).await.expect("a fenced put is answered")
    }

    async fn entry(&self, key: &str) -> Option<Entry> {
        self.dust.entry(&self.key(key)).await.expect("a read is answered")
    }

    async fn text(&self, key: &str) -> Option<String> {
        self.entry(key).await.and_then(|entry| entry.text().map(|text| (**text).to_owned()))
    }

    async fn delete(&self, key: &str) -> Number {
        at(self.dust.delete(&self.key(key), None).await.expect("an unfenced delete lands"))
    }

    async fn ask(&self, key: &str, beats: u32, who: &str) -> Grant {
        self.ask_after(key, beats, who, 0).await
    }

    async fn ask_after(&self, key: &str, beats: u32, who: &str, seen: Number) -> Grant {
        let (key, holder) = (self.key(key), self.holder(who));
        self.dust.lease(&key, self.beats(beats), &holder, seen).await.expect("a lease call is answered")
    }

    async fn lease(&self, key: &str, beats: u32, who: &str) -> Lease {
        granted(self.ask(key, beats, who).await)
    }

    /// Enters as a flight of the keys *value*, *verdict* and *lock*.
    async fn enter(&self, known: Known, beats: u32, who: &str) -> Findings {
        let (ttl, holder) = (self.beats(beats), self.holder(who));
        self.inquire(known, Some(LeaseRequest { ttl, holder: &holder, seen: 0 })).await
    }

    /// Reads as a flight that asks for no lease.
    async fn look(&self, known: Known) -> Findings {
        self.inquire(known, None).await
    }

    async fn inquire(&self, known: Known, lease: Option<LeaseRequest<'_>>) -> Findings {
        let [value, verdict, lock] = ["value", "verdict", "lock"].map(|name| self.key(name));
        let inquiry = Inquiry { value: &value, verdict: &verdict, lock: &lock, known, lease };
        self.dust.enter(inquiry).await.expect("an inquiry is answered")
    }

    /// Publishes at the keys *value* and *verdict*, without limit.
    async fn publish(&self, lease: &Lease, value: Option<&str>, verdict: Option<&str>) -> Landing {
        let keys = ["value", "verdict"].map(|name| self.key(name));
        let (key, noted) = (&*keys[0], &*keys[1]);
        let value = value.map(|text| Publish { key, text, expires_in: None, body: None, keeps: &[] });
        let verdict = verdict.map(|text| Note { key: noted, text, expires_in: None });
        self.dust.publish(Publication { lease, value, verdict }).await.expect("it is answered")
    }

    async fn on(&self, keys: &[&str]) -> Changes {
        let keys: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.dust.on(&keys).await.expect("a subscription is answered")
    }
}

fn at(written: Written) -> Number {
    match written {
        Written::At(number) => number,
        Written::Fenced => panic!("fenced without a fence, or with a live one"),
    }
}

fn granted(grant: Grant) -> Lease {
    match grant {
        Grant::Granted(lease) => lease,
        other => panic!("not granted but {other:?}"),
    }
}

fn is_held(grant: &Grant) -> bool {
    matches!(grant, Grant::Held { .. })
}

fn is_lease(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| matches!(entry.value, Value::Lease { .. }) && entry.text().is_none())
}

/// Waits for an event that must come soon.
async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), event).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// Merges wakes until `enough` accepts the sum.
async fn wakes(what: &str, changes: &mut Changes, enough: impl Fn(&Wake) -> bool) -> Wake {
    let mut sum = Wake::default();
    soon(what, async {
        while !enough(&sum) {
            let wake = changes.next().await;
            sum.touched |= wake.touched;
            sum.lease = wake.lease.or(sum.lease);
            sum.released = sum.released.max(wake.released);
            sum.deleted = sum.deleted.max(wake.deleted);
            sum.lost |= wake.lost;
        }
    })
    .await;
    sum
}

#[cfg(test)]
mod tests;
