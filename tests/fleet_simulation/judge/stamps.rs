//! Stamps: once all is quiet every instance has those of the store and none that it lacks; there are
//! no more than there was something to invalidate; and they run out.

use std::collections::BTreeMap;

use dustgate::dust::{Dust as _, Embedded, Number};
use dustgate::key::KeyHash;
use dustgate::tier::{Covered, url_hash};

use super::STAMPS;
use crate::instance::Instance;
use crate::scene::Scene;
use crate::world::World;

/// The stamps of a store, by what stands behind the prefix of their names.
async fn of(store: &Embedded) -> BTreeMap<String, Number> {
    let all = store.entries(STAMPS).await.expect("the bare store answers");
    let name = |key: String| key.strip_prefix(STAMPS).expect("these were asked for").to_owned();
    all.into_iter().map(|(key, entry)| (name(key), entry.number)).collect()
}

fn url(key: usize) -> KeyHash {
    url_hash(&format!("http://h.test/k{key}"))
}

/// The name of the hard stamp over a URL.
pub(super) fn hard_name(key: usize) -> String {
    format!("{STAMPS}u/{}/h", url(key))
}

/// Nothing is owed in either direction.
pub async fn are_the_same(world: &World, store: &Embedded, instances: &[std::sync::Arc<Instance>]) {
    let found = of(store).await;
    for instance in instances {
        for key in 0..world.plan.keys.len() {
            let hash = url(key);
            let there = |force: char| {
                let of_url = found.get(&format!("u/{hash}/{force}")).copied().unwrap_or(0);
                of_url.max(found.get(&format!("all/{force}")).copied().unwrap_or(0))
            };
            let (hard, soft) = (there('h'), there('s'));
            let here = instance.stamps.hard(hash);
            // What is not fresh for long needs no stamp for long.
            // What was stamped in an earlier life of the store covers nothing in this one.
            let same_life = world.plan.scene != Some(Scene::Lives);
            let lives = world.plan.keys[key].fresh_s >= 3600 && same_life;
            if here < hard || (lives && here > hard && !world.ledger.is_all(key, here, hard)) {
                let name = &instance.name;
                world.broken(format_args!("{name}: k{key}: its hard stamp is {here}, the store's {hard}"));
            }
            let knows = |token| instance.stamps.covers(hash, Number::MAX, token) == Covered::Soft;
            // Under a newer hard one it says nothing.
            if soft > hard && !knows(soft - 1) {
                world.broken(format_args!("{}: k{key}: it lacks the soft stamp {soft}", instance.name));
            }
            // What a newer hard one covers need not be written back.
            if lives && knows(soft.max(hard)) {
                world.broken(format_args!("{}: k{key}: the store lacks its soft stamp", instance.name));
            }
        }
    }
}

/// Of what nobody has stored there are none.
pub async fn are_of_something(world: &World, store: &Embedded) {
    let known: Vec<String> = (0..world.plan.keys.len()).map(|key| format!("u/{}/", url(key))).collect();
    let of_nothing =
        |name: &&String| name.starts_with("u/") && !known.iter().any(|url| name.starts_with(url));
    if matches!(world.plan.scene, Some(Scene::Older | Scene::Evict)) {
        // There somebody purges what is nobody's.
        return;
    }
    let found = of(store).await;
    let count = found.keys().filter(of_nothing).count();
    if count > 0 {
        world.broken(format_args!("{count} stamps are of URLs of which nothing was ever stored"));
    }
}

/// Long after the last record of a run those of URLs are over.
pub async fn have_run_out(world: &World, store: &Embedded) {
    let longest: Vec<String> = (0..world.plan.keys.len())
        .filter(|key| world.ledger.may_live_longest(*key))
        .map(|key| format!("u/{}/", url(key)))
        .collect();
    let ends = |name: &String| !longest.iter().any(|url| name.starts_with(url));
    let left = of(store).await.into_keys().filter(|name| name.starts_with("u/") && ends(name));
    let left: Vec<String> = left.collect();
    if !left.is_empty() {
        world.broken(format_args!("stamps outlive all that they could cover: {left:?}"));
    }
}
