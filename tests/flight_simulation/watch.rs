//! Looks at the bare store, past all lines: what lands there, and whether anybody waits in vain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use dustgate::dust::{Change, Dust, FeedItem, What};
use dustgate::flight::Names;
use tokio::task::JoinHandle;

use crate::world::{Value, World};

/// Who is on the way in, and what could have ended the way.
#[derive(Default)]
pub struct Waits {
    keys: Mutex<BTreeMap<String, Key>>,
}

/// One on the way in. Dropped (cancelled, crashed) it counts no more.
pub struct Wait {
    waits: Arc<Waits>,
    key: String,
    id: u64,
    since: u64,
}

#[derive(Default)]
struct Key {
    next: u64,
    /// By when they came.
    entering: BTreeMap<u64, u64>,
    published: Vec<(u64, Value)>,
    /// The lock is free from then on.
    free: u64,
}

/// Writes down all that lands, and checks it.
pub async fn the_store(world: &Arc<World>, waits: &Arc<Waits>) -> JoinHandle<()> {
    let mut feed = world.store.feed().await.expect("the bare store answers");
    let (world, waits) = (world.clone(), waits.clone());
    tokio::spawn(async move {
        loop {
            match feed.next().await {
                FeedItem::Change(change) => waits.landed(&world, &change).await,
                FeedItem::Lost | FeedItem::Doubt => {
                    world.broken("the feed of the bare store is too short for this");
                }
            }
        }
    })
}

// === impl Waits ===

impl Waits {
    pub fn enter(self: &Arc<Self>, world: &World, key: &str) -> Wait {
        let since = world.now();
        let mut keys = self.keys();
        let at = keys.entry(key.to_owned()).or_default();
        at.next += 1;
        at.entering.insert(at.next, since);
        Wait { waits: self.clone(), key: key.to_owned(), id: at.next, since }
    }

    async fn landed(&self, world: &World, change: &Change) {
        let (name, now) = (&*change.key, world.now());
        world.say(format_args!("store: {name} {:?} {}", change.what, change.number));
        for n in 0..world.plan.keys {
            let (key, names) = (format!("k{n}"), Names::of(&format!("k{n}")));
            if *name == *names.lock {
                self.lock_changed(world, &key, change, now);
            } else if *name == *names.value && matches!(change.what, What::Set { .. }) {
                let value = world.look(&key).await.value.as_ref().and_then(Value::of);
                self.published(world, &key, value.expect("it was just written"), now);
            }
        }
    }

    fn lock_changed(&self, world: &World, key: &str, change: &Change, now: u64) {
        let mut keys = self.keys();
        let at = keys.entry(key.to_owned()).or_default();
        let millis = |ttl: std::time::Duration| u64::try_from(ttl.as_millis()).unwrap_or(0);
        match change.what {
            What::Lease(ttl) => {
                at.check_free(world, key, now);
                at.free = now + millis(ttl);
            }
            What::Renew(ttl) => at.free = now + millis(ttl),
            What::Release | What::Delete => at.free = now,
            What::Set { .. } => world.broken(format_args!("{key}: something was written at its lock")),
        }
    }

    /// A value landed: its content is no older than what it replaces.
    fn published(&self, world: &World, key: &str, value: Value, now: u64) {
        let mut keys = self.keys();
        let at = keys.entry(key.to_owned()).or_default();
        if let Some((_, last)) = at.published.last()
            && (last.sent > value.sent || last.born > value.born)
        {
            world.broken(format_args!("{key}: {value:?} replaces {last:?}"));
        }
        at.published.push((now, value));
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.keys.lock().expect("no panic under this lock")
    }
}

// === impl Key ===

impl Key {
    /// While calls are prompt, a lock is not free for long with somebody waiting for it.
    fn check_free(&self, world: &World, key: &str, now: u64) {
        let Some(since) = self.entering.values().min() else { return };
        let gap = now.saturating_sub(self.free.max(*since));
        if world.plan.calm && gap > prompt(world) {
            world.broken(format_args!("{key}: its lock was free for {gap} ms while it was waited for"));
        }
    }
}

// === impl Wait ===

impl Wait {
    /// The way in is over. It was not long after what could have ended it.
    pub fn over(self, world: &World, key: &str, may_use: impl Fn(&Value) -> bool) {
        if !world.plan.calm {
            return;
        }
        let (now, keys) = (world.now(), self.waits.keys());
        let Some(at) = keys.get(key) else { return };
        at.check_free(world, key, now);
        let use_of = |(landed, value): &&(u64, Value)| *landed >= self.since && may_use(value);
        if let Some((landed, value)) = at.published.iter().find(use_of)
            && now > landed + prompt(world)
        {
            world.broken(format_args!("{key}: {value:?} landed at {landed} and is noticed only now"));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(at) = self.waits.keys().get_mut(&self.key) {
            at.entering.remove(&self.id);
        }
    }
}

fn prompt(world: &World) -> u64 {
    u64::try_from(world.plan.prompt().as_millis()).unwrap_or(u64::MAX)
}
