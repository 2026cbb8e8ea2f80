//! Another client's hand, and a look at what is there.

use serde_json::{Map, Value};

use super::DustServer;
use super::ops::{Done, Origin};
use super::store::Store;
use super::world::{self, Heard};

/// A copy of a store's files.
#[derive(Debug, Clone)]
pub struct Backup(Store);

// === impl DustServer ===

impl DustServer {
    /// Applies an operation as another client would. Its event goes to connections that joined by name.
    /// Returns the response, or the reason of the refusal.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write(&self, store: &str, request: &Value) -> Result<Value, String> {
        self.write_as("another", store, request)
    }

    /// Applies an operation without an event, as HTTP writes are.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write_silently(&self, store: &str, request: &Value) -> Result<Value, String> {
        self.apply("another", store, request, false)
    }

    /// Applies an operation of this device, with its event.
    ///
    /// # Panics
    /// If there is no such store, or the request has no fields.
    pub fn write_as(&self, device: &str, store: &str, request: &Value) -> Result<Value, String> {
        self.apply(device, store, request, true)
    }

    fn apply(&self, device: &str, store: &str, request: &Value, is_told: bool) -> Result<Value, String> {
        let mut fields: Map<_, _> = request.as_object().expect("an operation has fields").clone();
        fields.entry("client_op_id").or_insert_with(|| "another".into());
        let now = self.core.now();
        let mut world = self.core.world();
        let at = world.store(store).expect("a test names a store that it set up");
        let topic = format!("store:{store}");
        let told = is_told.then_some((topic.as_str(), None));
        match world.apply(at, &fields, Origin { device, now }, told) {
            Done::Committed { response, .. } | Done::Nothing { response } => Ok(response),
            Done::Refused(refusal) => Err(refusal.reason.into_owned()),
            Done::Crashed => Err("crashed".to_owned()),
        }
    }

    /// Sends an event as it is to all connections that have joined the store by name, whether or not anything was
    /// written; one of the past comes as the events of a join's catch-up do.
    pub fn tell(&self, store: &str, event: &Value, is_past: bool) {
        let topic = format!("store:{store}");
        let world = self.core.world();
        for (&id, line) in &world.lines {
            let Some(join) = line.topics.get(&topic) else { continue };
            let join = if is_past { join } else { &Value::Null };
            world.send(id, world::frame(join, &Value::Null, &topic, "event", event));
        }
    }

    /// Has a store count on from this number.
    ///
    /// # Panics
    /// If there is no such store.
    pub fn count_from(&self, store: &str, seq: u64) {
        self.with(store, |store| store.seq = seq);
    }

    /// A copy of a store as it is now.
    ///
    /// # Panics
    /// If there is no such store.
    pub fn back_up(&self, store: &str) -> Backup {
        Backup(self.with(store, |store| store.clone()))
    }

    /// Begins again with a copy in the place of the store: it counts on from there.
    ///
    /// # Panics
    /// If there is no such store.
    pub fn restore(&self, backup: &Backup) {
        self.with(&backup.0.name, |store| *store = backup.0.clone());
        self.restart();
    }

    /// The value of a row and its revision.
    pub fn row(&self, store: &str, path: &str) -> Option<(Value, u64)> {
        self.with(store, |store| store.rows.get(path).map(|row| (row.value.clone(), row.seq)))
    }

    /// The paths of all rows of a store, in order.
    pub fn rows(&self, store: &str) -> Vec<String> {
        self.with(store, |store| store.rows.keys().cloned().collect())
    }

    /// The number of the last operation of a store.
    pub fn seq(&self, store: &str) -> u64 {
        self.with(store, |store| store.seq)
    }

    /// The id of a store.
    pub fn id(&self, store: &str) -> String {
        self.with(store, |store| store.id.clone())
    }

    /// How many frames or requests of this name were read: an operation of writes (`lease`, `set`), another
    /// event (`phx_join`, `heartbeat`), or a method of HTTP (`GET`).
    pub fn count(&self, name: &str) -> u64 {
        self.core.world().counts.get(name).copied().unwrap_or_default()
    }

    /// The last requests that were read, oldest first: ten thousand at most.
    pub fn heard(&self) -> Vec<Heard> {
        self.core.world().heard.iter().cloned().collect()
    }

    /// What a client sent that the recorded one would not have. Last comes how much it did not send.
    pub fn complaints(&self) -> Vec<String> {
        let world = self.core.world();
        let Some(script) = &world.script else { return Vec::new() };
        let missing = Some(script.left()).filter(|left| *left > 0);
        let missing = missing.map(|left| format!("{left} recorded writes were not sent"));
        script.complaints().iter().cloned().chain(missing).collect()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.core.world().lines.len()
    }

    /// How many connections have joined a store, by name or id.
    pub fn joined(&self, store: &str) -> usize {
        let topics = self.with(store, |store| store.topics());
        let world = self.core.world();
        let joins =
            |topic: &String| world.lines.values().filter(|line| line.topics.contains_key(topic)).count();
        topics.iter().map(joins).sum()
    }

    pub(super) fn with<T>(&self, store: &str, look: impl FnOnce(&mut Store) -> T) -> T {
        let mut world = self.core.world();
        let at = world.store(store).expect("a test names a store that it set up");
        look(&mut world.stores[at])
    }
}
