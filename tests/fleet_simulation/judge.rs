//! What was asked of the origin, what was purged, what was published: and whether the fleet may
//! do what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use dustgate::dust::Number;
use dustgate::record::{Pointer, Record, codec};
use sha2::{Digest as _, Sha256};

use crate::plan::Plan;
use crate::shelf::Shelf;
use crate::world::World;

#[path = "judge/clocks.rs"]
mod clocks;
#[path = "judge/missing.rs"]
mod missing;
#[path = "judge/purges.rs"]
mod purges;
#[path = "judge/stamps.rs"]
pub mod stamps;
#[path = "judge/storms.rs"]
pub mod storms;

pub use purges::Answer;

/// The names in the store.
pub const PREFIX: &str = "sim";
/// How long a failure is remembered at most, in ms: for as long as the origin asks for, or a second
/// and a half, and what a late word may be on its way.
const REMEMBERED_MS: u64 = 4_500;
/// What the names of stamps begin with.
pub const STAMPS: &str = "sim/1/s/";

/// All that is known of what happened; times are moments, which no two events share.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: BTreeMap<u64, Asked>,
    purges: Vec<Purge>,
    /// By value key: the last record of this life of the store, if it was not removed.
    published: BTreeMap<String, (u64, u64, u64)>,
    failovers: Vec<u64>,
    /// When lines broke or were mended.
    line_changes: Vec<u64>,
    /// URLs that the origin failed to give to a request that was not evil, and when, in ms.
    failed: BTreeSet<(usize, u64)>,
    versions: BTreeMap<usize, u64>,
    bodies: BTreeMap<(usize, u8, u64), Bytes>,
    /// The version of its URL that an unsafe request made, by the request's number.
    posted: BTreeMap<u64, u64>,
    /// When bytes of bodies went.
    gone: Vec<u64>,
    /// When the first of those that came after that was broken off, in ms.
    missed_ms: Option<u64>,
    /// When the store last took stamps again that it had refused.
    takes_stamps_ms: u64,
    /// When it last was another one than before.
    failed_over_ms: Option<u64>,
    /// The stamps that were announced while nothing was stored that they cover: their names and numbers.
    announced: BTreeSet<(String, Number)>,
}

/// An exchange with the origin.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When it was sent: its name.
    pub n: u64,
    pub key: usize,
    pub lang: u8,
    pub version: u64,
    pub fill: bool,
    pub evil: bool,
    pub get: bool,
    pub what: What,
    pub sent_ms: u64,
    head_ms: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Not known yet.
    Open,
    Nothing,
    Unchanged,
    Content,
}

/// A purge or an invalidation.
#[derive(Debug, Clone)]
pub struct Purge {
    /// None: of everything.
    pub key: Option<usize>,
    pub soft: bool,
    pub begun: u64,
    /// The moment of its answer, and the instances that it is sure of.
    pub answered: Option<(u64, Vec<String>)>,
    /// Of an unsafe request: known at its own instance, and no promise elsewhere.
    pub unsafe_request: bool,
    /// The oldest versions that may be served after it, by URL.
    pub since: BTreeMap<usize, u64>,
    pub answered_ms: u64,
    /// Its stamp's, if that is known.
    pub number: u64,
    /// Whether its stamp is over the URL or over everything, and over no tag or area.
    pub by_url: bool,
}

// === impl Ledger ===

impl Ledger {
    /// A request goes to the origin.
    pub fn asked(&self, world: &World, (key, lang): (usize, u8), get: bool, fill: bool, evil: bool) -> u64 {
        let (n, sent_ms) = (world.moment(), world.now());
        let asked =
            Asked { n, key, lang, version: 0, fill, evil, get, what: What::Open, sent_ms, head_ms: 0 };
        self.inner().asked.insert(n, asked);
        n
    }

    /// The origin makes the answer, from what it has now.
    pub fn serves(&self, world: &World, n: u64) -> Asked {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let asked = inner.asked.get_mut(&n).expect("it was asked");
        asked.version = inner.versions.get(&asked.key).copied().unwrap_or(0);
        asked.head_ms = world.now();
        asked.clone()
    }

    pub fn ended(&self, world: &World, n: u64, what: What) {
        let mut inner = self.inner();
        let asked = inner.asked.get_mut(&n).expect("it was asked");
        (asked.what, asked.head_ms) = (what, world.now());
    }

    /// An exchange failed: its head did not come, or not all of its body.
    pub fn failed(&self, world: &World, n: u64) {
        let now = world.now();
        let mut inner = self.inner();
        let asked = inner.asked.get(&n).map(|asked| (asked.key, asked.evil));
        inner.failed.extend(asked.filter(|(_, evil)| !evil).map(|(key, _)| (key, now)));
    }

    /// Whether the origin failed to give a URL to a request that was not evil, so lately that it may
    /// be told to one that came then.
    pub fn has_failed(&self, key: usize, arrived_ms: u64) -> bool {
        let from = arrived_ms.saturating_sub(REMEMBERED_MS);
        self.inner().failed.range((key, from)..=(key, u64::MAX)).next().is_some()
    }

    pub fn exchange(&self, n: u64) -> Option<Asked> {
        self.inner().asked.get(&n).cloned()
    }

    /// The content of a URL changes.
    pub fn changes(&self, key: usize) {
        *self.inner().versions.entry(key).or_default() += 1;
    }

    /// The bytes of a version.
    pub fn body(&self, world: &World, key: usize, lang: u8, version: u64) -> Bytes {
        let len = world.plan.keys[key].len;
        let mut inner = self.inner();
        inner.bodies.entry((key, lang, version)).or_insert_with(|| bytes_of(key, lang, version, len)).clone()
    }

    /// A purge begins; its place in the list.
    pub fn purges(&self, purge: Purge) -> usize {
        let mut inner = self.inner();
        inner.purges.push(purge);
        inner.purges.len() - 1
    }

    /// A purge was answered: it holds.
    pub fn purged(&self, world: &World, at: usize, moment: u64, number: u64, confirmed: Vec<String>) {
        let purge = &mut self.inner().purges[at];
        (purge.answered, purge.answered_ms) = (Some((moment, confirmed)), world.now());
        purge.number = number;
    }

    /// The store lost its mind: what was published is of another life or time.
    pub fn begin_anew(&self) {
        let mut inner = self.inner();
        inner.published.clear();
    }

    /// A line to the store breaks, or is mended.
    pub fn line_changes(&self, world: &World) {
        let moment = world.moment();
        self.inner().line_changes.push(moment);
    }

    pub fn failed_over(&self, world: &World) {
        let (moment, now) = (world.moment(), world.now());
        let mut inner = self.inner();
        inner.failovers.push(moment);
        inner.failed_over_ms = Some(now);
    }

    /// What is current of each URL.
    pub fn versions(&self, plan: &Plan) -> BTreeMap<usize, u64> {
        let inner = self.inner();
        (0..plan.keys.len()).map(|key| (key, inner.versions.get(&key).copied().unwrap_or(0))).collect()
    }

    /// The origin has done what an unsafe request asks for.
    pub fn posted(&self, nonce: u64, key: usize) {
        let mut inner = self.inner();
        let version = inner.versions.get(&key).copied().unwrap_or(0);
        inner.posted.insert(nonce, version);
    }

    /// The answer to an unsafe request is there: nothing older than what it made may be served.
    pub fn post_answered(&self, world: &World, at: usize, nonce: u64, instance: &str) {
        let moment = world.moment();
        let mut inner = self.inner();
        let version = inner.posted.get(&nonce).copied().unwrap_or(0);
        let purge = &mut inner.purges[at];
        purge.since.extend(purge.key.map(|key| (key, version)));
        (purge.answered, purge.answered_ms) = (Some((moment, vec![instance.to_owned()])), world.now());
    }

    /// Bytes of stored bodies are not there any more.
    pub fn bytes_gone(&self, world: &World) {
        let moment = world.moment();
        let mut inner = self.inner();
        inner.gone.push(moment);
        inner.missed_ms = None;
    }

    /// The store takes no stamps.
    pub fn takes_no_stamps(&self) {
        self.inner().takes_stamps_ms = u64::MAX;
    }

    /// The store takes stamps again.
    pub fn takes_stamps(&self, world: &World) {
        self.inner().takes_stamps_ms = world.now();
    }

    /// A stamp is told to all, and not stored. It may only be so while nothing of its URL is stored.
    pub fn announced(&self, world: &World, name: &str, number: Number) {
        world.say(format_args!("store: {name} is announced as {number}"));
        let mut inner = self.inner();
        let of_it = |n: &u64| inner.asked.get(n).is_some_and(|asked| stamps::hard_name(asked.key) == name);
        if !inner.published.values().any(|(_, _, validated)| of_it(validated)) {
            inner.announced.insert((name.to_owned(), number));
        }
    }

    /// The purges of a key that hold for a request which arrived then at that instance.
    ///
    /// Who has heard of a later purge counts as having heard of all before it, and no store loses
    /// changes without a word: where the line does, two at the same time promise nothing, nor does one
    /// beside a failover, after which instances write stamps back.
    pub fn holding(&self, plan: &Plan, key: usize, arrived: u64, instance: &str, booted: u64) -> Vec<Purge> {
        let inner = self.inner();
        let beside = |purge: &Purge, answered: u64| {
            let meets = |other: &&Purge| {
                other.begun != purge.begun
                    && other.begun < answered
                    && other.answered.as_ref().is_none_or(|(at, _)| *at > purge.begun)
            };
            let beside_failover = inner.failovers.iter().any(|at| (purge.begun..=answered).contains(at));
            plan.line.lose_event > 0 && (beside_failover || inner.purges.iter().any(|other| meets(&other)))
        };
        let holds = |purge: &&Purge| {
            let Some((answered, confirmed)) = &purge.answered else { return false };
            // Who starts later reads the stamps, unless the store has lost them.
            let read = *answered < booted && !inner.failovers.iter().any(|at| *at > purge.begun);
            purge.key.is_none_or(|purged| purged == key)
                && *answered < arrived
                && !beside(purge, *answered)
                && (confirmed.iter().any(|name| name == instance) || (read && !purge.unsafe_request))
        };
        inner.purges.iter().filter(holds).cloned().collect()
    }

    /// Something was written into the store: a record names what is there, and is no older than
    /// what it replaces.
    pub fn landed(&self, world: &World, shelf: &Shelf, name: &str, text: &str, beside: Option<&Bytes>) {
        let hash = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("/1/"));
        let Some(hash) = hash.filter(|hash| hash.len() == 32) else { return };
        match codec::decode(text, &codec::Limits::NONE) {
            Err(error) => world.broken(format_args!("{name} is no pointer: {error}")),
            Ok(Pointer::Vary(_)) => world.count("vary node"),
            Ok(Pointer::Record(record)) => {
                world.count("record");
                self.record(world, shelf, hash, &record, beside);
            }
        }
    }

    /// An entry was removed, such as a record whose bytes are lost. What lands after it replaces nothing: it
    /// may be of an exchange that was begun sooner and has lasted longer.
    pub fn removed(&self, name: &str) {
        let hash = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("/1/"));
        hash.and_then(|hash| self.inner().published.remove(hash));
    }

    fn record(&self, world: &World, shelf: &Shelf, hash: &str, record: &Record, beside: Option<&Bytes>) {
        let headers = record.headers.to_map(0);
        let number = |field| headers.get(field).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
        let n = number("x-exchange").unwrap_or(0);
        let validated = number("x-validated").unwrap_or(n);
        world.say(format_args!(
            "store: {} born {} token {} exchange {n}",
            record.key, record.born, record.token
        ));
        if headers.contains_key("x-for") {
            world.broken(format_args!("{}: an answer for one is published", record.key));
        }
        if let Some(asked) = self.exchange(n) {
            self.lands_after_purges(world, asked.key, n.max(validated));
        }
        // Bytes that the origin has just confirmed are as new as any.
        let now = (record.born, record.token, validated);
        let last = self.inner().published.insert(hash.to_owned(), now);
        // Two that were under way at the same time have no order but their tokens', and one that was
        // uncoordinated has the highest number that was known when it began: perhaps the other's.
        let older = |last: u64| {
            let (one, two) = (self.exchange(validated), self.exchange(last));
            one.zip(two).is_some_and(|(one, two)| one.n < two.n && one.head_ms < two.sent_ms)
        };
        if let Some(last) = last
            && (last.1 > now.1 || older(last.2))
        {
            let key = &record.key;
            world.broken(format_args!("{key}: (born, token, validated) {now:?} replaces {last:?}"));
        }
        let mut whole = Vec::new();
        let mut known = true;
        for segment in &record.body.segments {
            let path = format!("{hash}/{}/{}", segment.token, segment.n);
            let found = if segment.carried { beside.cloned().map(Ok) } else { shelf.segment(&path) };
            match found {
                None => known = false,
                Some(Err(why)) => {
                    known = false;
                    world.broken(format_args!("{}: segment {path} {why}", record.key));
                }
                Some(Ok(bytes)) => {
                    if Sha256::digest(&bytes)[..16] != segment.digest || bytes.len() as u64 != segment.len {
                        world.broken(format_args!("{}: segment {path} is another", record.key));
                    }
                    whole.extend_from_slice(&bytes);
                }
            }
        }
        let Some(asked) = self.exchange(n) else { return };
        if known && whole != self.body(world, asked.key, asked.lang, asked.version) {
            world.broken(format_args!("{}: exchange {n} is published with other bytes", record.key));
        }
    }

    /// One fetch an epoch, where nothing goes wrong: until it is no longer fresh, or purged.
    pub fn fetched_once(&self, world: &World, plan: &Plan) {
        let inner = self.inner();
        let mut last: BTreeMap<(usize, u8), &Asked> = BTreeMap::new();
        for next in
            inner.asked.values().filter(|asked| asked.fill && !asked.evil && plan.keys[asked.key].shared())
        {
            let Some(one) = last.insert((next.key, next.lang), next) else { continue };
            let purged = inner.purges.iter().any(|purge| {
                let over = purge.answered.as_ref().is_none_or(|(at, _)| *at > one.n);
                purge.key.is_none_or(|key| key == next.key) && purge.begun < next.n && over
            });
            // What the answer took counts as age.
            let fresh = one.sent_ms + plan.keys[one.key].fresh_s * 1000;
            // The store's clock is known to a few milliseconds only, where clocks are wrong.
            let early = next.sent_ms + 100 < fresh;
            let beside = || inner.purges.iter().any(|purge| inner.is_beside(purge, one, plan));
            if early && !purged && !beside() {
                let (key, lang) = (next.key, next.lang);
                world.broken(format_args!("k{key} {lang}: exchange {} and then {}", one.n, next.n));
            }
        }
    }

    /// How often the origin was asked at most for what lives longer than a run: once, once more for
    /// each purge, and for each misfortune as often as that can cost. `struck` calls of the store
    /// were lost, late or refused.
    pub fn fetched_seldom(&self, world: &World, plan: &Plan, struck: u64) {
        let count = |what: &[&str]| what.iter().map(|what| world.counted(what)).sum::<u64>();
        let instances = plan.instances as u64;
        // Each instance for itself, while the store is away or does not know what it knew.
        let apart = count(&["outage", "failover to a replica", "failover to an empty store"]) * instances;
        // What was under way there is taken over, and may go on there nonetheless.
        let lost = count(&["crash", "freeze", "drain"]) * 2;
        let again =
            count(&["origin failed", "origin broke off", "object failed", "object slow", "late object"])
                + count(&["refused for its field"])
                + count(&["object lost", "object spoilt", "object removed", "late put", "cancel"]);
        let inner = self.inner();
        let mut fetched: BTreeMap<(usize, u8), u64> = BTreeMap::new();
        for asked in inner.asked.values().filter(|asked| asked.fill && !asked.evil) {
            let key = &plan.keys[asked.key];
            if key.shared() && key.fresh_s >= 3600 {
                *fetched.entry((asked.key, asked.lang)).or_default() += 1;
            }
        }
        for ((key, lang), fetched) in fetched {
            let purges = inner.purges.iter().filter(|purge| purge.key.is_none_or(|of| of == key)).count();
            let most = (1 + purges as u64) * (1 + apart) + lost + again + struck;
            if fetched > most {
                world.broken(format_args!("k{key} {lang}: fetched {fetched} times, and {most} is the most"));
            }
        }
    }

    /// How often the origin was asked for everybody.
    pub fn fills(&self, key: usize) -> usize {
        self.inner().asked.values().filter(|asked| asked.fill && asked.key == key).count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it writes")
    }
}

// === impl Inner ===

impl Inner {
    /// Whether an exchange that was sent after a purge may come to nothing because of that purge: its lease
    /// is from before, so that the stamp covers what it brings; or one from before is under way still, and
    /// tells of variants, whose locks the two then take from each other.
    fn is_beside(&self, purge: &Purge, one: &Asked, plan: &Plan) -> bool {
        let Some((answered, _)) = purge.answered else { return false };
        let covers = purge.key.is_none_or(|key| key == one.key) && answered < one.n;
        // A lease, a look and another lease before it is sent.
        let calls_ms = u64::try_from(plan.line.delay.as_millis()).unwrap_or(u64::MAX).saturating_mul(10);
        let from_before = |other: &Asked| {
            other.fill && other.key == one.key && other.n < answered && one.sent_ms <= other.head_ms
        };
        covers
            && (one.sent_ms <= purge.answered_ms.saturating_add(calls_ms)
                || self.asked.values().any(from_before))
    }
}

/// Bytes that tell any place of any version from any other.
fn bytes_of(key: usize, lang: u8, version: u64, len: usize) -> Bytes {
    let seed = (key as u64) << 40 | u64::from(lang) << 32 | version;
    let mut bytes = Vec::with_capacity(len + 8);
    let mut at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while bytes.len() < len {
        at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (at ^ (at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
