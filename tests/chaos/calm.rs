//! After the storm: everybody answers, the fleet is sure again, nothing is owed and nothing is left.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clients::{ask, operator};
use crate::ground::{Ground, INSTANCES, LEASE};
use crate::history::{Answer, End};
use crate::judge::TRUST;
use crate::keys::KEYS;
use crate::storm::purge;
use crate::support::metrics::Metrics;

/// By when the fleet is sure again, and owes nothing.
const SURE: Duration = Duration::from_secs(10);
/// By when what was under way has ended.
const IDLE: Duration = Duration::from_secs(15);
/// An instance that nobody asks has no more descriptors than these: listeners, stores, files, idle
/// connections to the origin.
const DESCRIPTORS: usize = 200;
/// A key has at most these names in the store: record, verdict, small body, note of another spelling,
/// lease, what a lost fill left, and the body that was before.
const NAMES_OF_A_KEY: usize = 7;

/// What is wrong.
pub async fn after(ground: &mut Ground) -> Vec<String> {
    let mut wrong = Vec::new();
    let lost = ground.instances.ended();
    if !lost.is_empty() {
        return vec![format!("ended by themselves: {lost:?}")];
    }
    let began = Instant::now();
    until(&mut wrong, TRUST + SURE, async || doubts(ground).await).await;
    println!("sure again after {:?}", began.elapsed());
    for answer in everywhere(ground).await {
        if !matches!(answer.end, End::Whole(_)) {
            wrong.push(format!("after the storm: {answer:?}"));
        }
    }
    // And a purge reaches everybody.
    let sky = ground.sky.clone();
    let everybody: BTreeSet<_> = names(ground);
    let said = purge(&sky, sky.running()[0], None).await.unwrap_or_default();
    let confirmed: BTreeSet<_> = said["confirmed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if confirmed != everybody || said["silent"] != json!([]) {
        wrong.push(format!("after the storm a purge is answered with {said}, of {everybody:?}"));
    }
    for answer in everywhere(ground).await {
        let newest = sky.origin.version(answer.key);
        if answer.end != End::Whole(newest) {
            wrong.push(format!("after a purge, not version {newest}: {answer:?}"));
        }
    }
    until(&mut wrong, IDLE + 2 * LEASE, async || left(ground).await).await;
    wrong
}

/// Looks again until there is nothing more to say, or it takes too long.
async fn until(wrong: &mut Vec<String>, within: Duration, mut look: impl AsyncFnMut() -> Vec<String>) {
    let deadline = Instant::now() + within;
    loop {
        let seen = look().await;
        if seen.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            wrong.extend(seen.into_iter().map(|one| format!("{within:?} after the storm: {one}")));
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn names(ground: &Ground) -> BTreeSet<String> {
    let history = ground.sky.history();
    history.lives.iter().filter(|life| life.to.is_none()).map(|life| life.name.clone()).collect()
}

/// Which instances are not sure, or owe something.
async fn doubts(ground: &Ground) -> Vec<String> {
    let mut doubts = Vec::new();
    for number in 0..INSTANCES {
        let instance = &ground.instances.of[number];
        let page = instance.admin_get("/metrics").attempt().await;
        for (metric, wanted) in [("dustgate_dust_up", 1.0), ("dustgate_tier_unsure", 0.0)] {
            let value = page.as_ref().map_or(f64::NAN, |page| Metrics::parse(page.text()).sum(metric, &[]));
            if (value - wanted).abs() > f64::EPSILON {
                doubts.push(format!("instance {number}: {metric} is {value}"));
            }
        }
        let ready = operator(instance.admin_get("/readyz")).await;
        if ready.as_ref().ok() != Some(&json!({"ready": true, "degraded": []})) {
            doubts.push(format!("instance {number}: /readyz {ready:?}"));
        }
    }
    doubts
}

/// What every instance answers for every key.
async fn everywhere(ground: &Ground) -> Vec<Answer> {
    let mut asking = JoinSet::new();
    for at in ground.sky.running() {
        for key in 0..KEYS {
            let sky = ground.sky.clone();
            asking.spawn(async move { ask(&sky, at, key).await });
        }
    }
    asking.join_all().await
}

/// What is left when nobody asks any more: flights, leases, descriptors, names in the store.
async fn left(ground: &Ground) -> Vec<String> {
    let mut left = Vec::new();
    for number in 0..INSTANCES {
        let instance = &ground.instances.of[number];
        let flights = operator(instance.admin_get("/v1/flights")).await;
        if flights.as_ref().ok() != Some(&json!([])) {
            left.push(format!("instance {number}: flights {flights:?}"));
        }
        let open = instance.process().open_descriptors().len();
        if open > DESCRIPTORS {
            left.push(format!("instance {number}: {open} descriptors"));
        }
    }
    let store = &ground.nodes[ground.owner];
    let leases = store.admin("KEYS *_dust:sf/*");
    if leases.lines().next() != Some("*0") {
        left.push(format!("leases: {leases:?}"));
    }
    let history = ground.sky.history();
    let bound = NAMES_OF_A_KEY * KEYS + history.edits.len() + 4 * history.lives.len() + 20;
    let number = |said: String| said.lines().next().and_then(|line| line.strip_prefix(':')?.parse().ok());
    let all: usize = number(store.admin("DBSIZE")).unwrap_or(usize::MAX);
    let listed: usize = number(store.admin("ZCARD {dustgate}#index")).unwrap_or(usize::MAX);
    if all > bound || listed > bound {
        left.push(format!("the store has {all} keys, and lists {listed} names: more than {bound}"));
    }
    left
}
