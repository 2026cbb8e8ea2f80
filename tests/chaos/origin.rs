//! The origin: a body for each version of each key, which changes by edits, and who fetches what.
//!
//! It listens once for each instance, so that it knows which one asks.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;

use crate::keys::{KEYS, Script, path, script};
use crate::support::origin::Seen;
use crate::support::{Answer, Origin};

/// Tells the clients which version they are getting.
pub const VERSION: &str = "X-Version";

/// What there is of all keys, and where it is asked for.
pub struct Source {
    shelf: Arc<Shelf>,
    doors: Vec<Origin>,
}

#[derive(Default)]
struct Shelf(Mutex<Vec<Item>>);

struct Item {
    script: Script,
    version: u64,
    /// What was sent.
    bodies: BTreeMap<u64, Bytes>,
    fetches: usize,
    /// The last fetch while it is under way: which one it is, and whose.
    last: Option<(usize, usize)>,
}

/// Notes the end of a fetch, whichever way it ends.
struct Fetch {
    shelf: Arc<Shelf>,
    key: usize,
    nth: usize,
}

// === impl Source ===

impl Source {
    pub async fn start(instances: usize) -> Self {
        let items = (0..KEYS).map(|key| Item {
            script: script(key),
            version: 1,
            bodies: BTreeMap::new(),
            fetches: 0,
            last: None,
        });
        let shelf = Arc::new(Shelf(Mutex::new(items.collect())));
        let mut doors = Vec::new();
        for instance in 0..instances {
            let door = Origin::start().await;
            let shelf = shelf.clone();
            door.on_each("*", move |seen| shelf.answer(instance, seen));
            doors.push(door);
        }
        Self { shelf, doors }
    }

    /// Where an instance finds it.
    pub fn at(&self, instance: usize) -> SocketAddr {
        self.doors[instance].at
    }

    /// Changes what is at a key: fetches that come from now on get something else.
    pub fn edit(&self, key: usize) {
        self.shelf.0.lock().unwrap()[key].version += 1;
    }

    /// The version that a fetch of a key would get now.
    pub fn version(&self, key: usize) -> u64 {
        self.shelf.0.lock().unwrap()[key].version
    }

    /// The body of a version that was sent.
    pub fn body(&self, key: usize, version: u64) -> Option<Bytes> {
        self.shelf.0.lock().unwrap()[key].bodies.get(&version).cloned()
    }

    /// The instance whose fetch of a key, the last, is under way.
    pub fn fetched_by(&self, key: usize) -> Option<usize> {
        self.shelf.0.lock().unwrap()[key].last.map(|(_, instance)| instance)
    }
}

// === impl Shelf ===

impl Shelf {
    fn answer(self: &Arc<Self>, instance: usize, seen: &Seen) -> Answer {
        let Some(key) = (0..KEYS).find(|key| path(*key) == seen.target) else { return Answer::status(404) };
        let mut items = self.0.lock().unwrap();
        let item = &mut items[key];
        item.fetches += 1;
        item.last = Some((item.fetches, instance));
        let fetch = Fetch { shelf: self.clone(), key, nth: item.fetches };
        if seen.method == "POST" {
            // The answer is not for anybody to keep.
            item.version += 1;
            return Answer::status(200).holding(fetch);
        }
        item.answer(key, seen).holding(fetch)
    }
}

// === impl Item ===

impl Item {
    fn answer(&mut self, key: usize, seen: &Seen) -> Answer {
        let Self { script, version, .. } = *self;
        let tag = script.etag.then(|| format!("\"v{version}\""));
        let same = |name: &str| tag.is_some() && seen.fields.get(name) == tag.as_deref();
        // A part of what has changed since is no part of it (RFC 9110 §14.2).
        let from = seen.fields.get("range").filter(|_| tag.is_some());
        let from = from.filter(|_| !seen.fields.has("if-range") || same("if-range"));
        let from = from.and_then(|range| first_byte(range, script.size));
        let status = match from {
            _ if same("if-none-match") => 304,
            Some(_) => 206,
            None => 200,
        };
        let mut answer = Answer::status(status)
            .after(script.delay)
            .cache(&script.cache_control())
            .field(VERSION, &version.to_string())
            .field("Content-Type", "application/octet-stream");
        if let Some(tag) = &tag {
            answer = answer.field("ETag", tag);
        }
        if status == 304 {
            return answer;
        }
        let (first, size) = (from.unwrap_or(0), script.size);
        if status == 206 {
            answer = answer.field("Content-Range", &format!("bytes {first}-{}/{size}", size - 1));
        } else if tag.is_some() {
            answer = answer.field("Accept-Ranges", "bytes");
        }
        let body = self.bodies.entry(version).or_insert_with(|| body(key, version, size));
        let mut at = first;
        for end in (1..=script.chunks).map(|nth| size * nth / script.chunks).filter(|end| *end > first) {
            answer = if at == first { answer } else { answer.wait(script.gap) };
            answer = answer.part(body.slice(at..end));
            at = end;
        }
        answer
    }
}

// === impl Fetch ===

impl Drop for Fetch {
    fn drop(&mut self) {
        let last = &mut self.shelf.0.lock().unwrap()[self.key].last;
        *last = last.filter(|(nth, _)| *nth != self.nth);
    }
}

/// Each byte follows from a key and a version, so that a part of another is found wherever it stands.
fn body(key: usize, version: u64, size: usize) -> Bytes {
    // The hasher's keys are constants: the same in each process.
    let mut hasher = DefaultHasher::new();
    (key, version).hash(&mut hasher);
    let mut bytes = vec![0; size];
    Rng::with_seed(hasher.finish()).fill(&mut bytes);
    bytes.into()
}

/// The first byte of `bytes=N-`, the only form that a resume has.
fn first_byte(range: &str, size: usize) -> Option<usize> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let to_the_end = last.is_empty() || last.parse::<usize>().is_ok_and(|last| last + 1 >= size);
    (first < size && to_the_end).then_some(first)
}

#[test]
fn only_what_goes_to_the_end_is_a_resume() {
    assert_eq!(first_byte("bytes=5-", 10), Some(5));
    assert_eq!(first_byte("bytes=5-9", 10), Some(5));
    for other in ["bytes=10-", "bytes=5-8", "bytes=-5", "bytes=1-2,4-5", "lines=5-", "bytes=x-"] {
        assert_eq!(first_byte(other, 10), None, "{other}");
    }
}
