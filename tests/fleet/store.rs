//! The store dies, freezes or forgets: nobody hangs, nothing wrong is served, and afterwards one
//! fetch is enough again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::fleet::{Fleet, SLACK, flies, waits};
use crate::support::relay::{Mode, Relay};
use crate::support::{Answer, End, Gate, Proxy, all, until};

/// How long the store's calls may take, and then some.
const BOUND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    Killed,
    Frozen,
}

impl Fleet {
    fn take_away(&mut self, how: Away) {
        match how {
            Away::Killed => self.redis.kill(),
            Away::Frozen => self.redis.signal("-STOP"),
        }
    }

    /// One fetch is enough again, soon.
    async fn bring_back(&mut self, how: Away) {
        match how {
            Away::Killed => self.redis.restart().await,
            Away::Frozen => self.redis.signal("-CONT"),
        }
        self.is_back().await;
    }

    /// The same, of a store that is back.
    async fn is_back(&self) {
        let back = Instant::now();
        let mut tries = 0;
        while self.fetches_of_a_herd(&format!("/back/{tries}")).await > 1 {
            tries += 1;
            assert!(back.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", back.elapsed());
        }
        assert_eq!(self.sum("dustgate_dust_up", &[]).await, self.of.len() as f64);
    }

    /// How often something is fetched that nobody has asked for and that all instances want now.
    async fn fetches_of_a_herd(&self, path: &str) -> usize {
        let gate = Gate::shut();
        self.origin.on(path, Answer::cacheable("together").held_by(&gate));
        let herd = all((0..9).map(|n| self.of[n % self.of.len()].get(path).asked())).await;
        gate.reached_by(1).await;
        for instance in &self.of {
            waits(instance, path).await;
        }
        gate.open();
        for asked in herd {
            asked.head().await.expect("an answer").rest().await.assert(200, "together");
        }
        self.origin.count(path)
    }
}

async fn the_store_goes_away_while_others_wait(how: Away) {
    let mut fleet = Fleet::of(3).await;
    fleet.origin.on("/stored", Answer::cacheable("stored"));
    fleet.of[0].fill("/stored").await;
    fleet.settled("/stored", "stored").await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable("hello");
        if seen.nth == 1 { answer.held_by(&held) } else { answer }
    });
    let own = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let riders = all((0..6).map(|n| fleet.of[1 + n % 2].get("/a").asked())).await;
    waits(&fleet.of[1], "/a").await;
    waits(&fleet.of[2], "/a").await;
    let gone = Instant::now();
    fleet.take_away(how);
    // The leader's gate is shut: they do not wait for it.
    for rider in riders {
        rider.head().await.expect("an answer").rest().await.assert(200, "hello");
    }
    assert!(gone.elapsed() < BOUND + SLACK, "{:?}", gone.elapsed());
    gate.open();
    own.head().await.expect("an answer").rest().await.assert(200, "hello");
    assert_eq!(fleet.origin.count("/a"), 3);
    // What is stored is served, what is not is fetched once an instance, and nobody waits long.
    let gate = Gate::shut();
    fleet.origin.on("/b", Answer::cacheable("alone").held_by(&gate));
    let asked = Instant::now();
    let herd = all((0..12).map(|n| fleet.of[n % 3].get("/b").asked())).await;
    // While memory is not to be trusted, one that comes after that fetch would make another.
    for instance in &fleet.of {
        flies(instance, "/b", |flight| flight["followers"] == 3).await;
    }
    gate.open();
    for reply in herd {
        reply.head().await.expect("an answer").rest().await.assert(200, "alone");
    }
    assert!(asked.elapsed() < BOUND + SLACK, "{:?}", asked.elapsed());
    assert_eq!(fleet.origin.count("/b"), 3);
    for reply in fleet.each("/stored").await {
        reply.assert(200, "stored");
    }
    assert_eq!(fleet.origin.count("/stored"), 1);
    let refused = fleet.of[1].admin_post("/v1/purge", &serde_json::json!({"all": true})).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let ready = fleet.of[1].admin_get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &serde_json::json!(["dust"])));

    fleet.bring_back(how).await;
    for reply in fleet.each("/a").await {
        reply.assert(200, "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_killed_while_others_wait() {
    the_store_goes_away_while_others_wait(Away::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_freezes_while_others_wait() {
    the_store_goes_away_while_others_wait(Away::Frozen).await;
}

async fn the_store_goes_away_in_mid_body(how: Away) {
    let mut fleet = Fleet::of(3).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable("hello, ");
        if seen.nth == 1 { answer.gate(&held).part("world") } else { answer.part("world") }
    });
    let mut readings = Vec::new();
    for n in 0..9 {
        let mut reading = fleet.of[n % 3].get("/a").begin().await;
        assert_eq!(reading.at_least(7).await, b"hello, ");
        readings.push((n % 3, reading));
    }
    let gone = Instant::now();
    fleet.take_away(how);
    // The others do not wait for the leader, whose gate is shut; its own clients do.
    readings.sort_by_key(|(instance, _)| *instance == 0);
    for (instance, reading) in readings {
        if instance == 0 {
            gate.open();
        } else {
            assert!(gone.elapsed() < BOUND + SLACK, "{:?}", gone.elapsed());
        }
        let rest = reading.rest().await;
        assert_eq!((rest.text(), rest.end), ("world", End::Clean), "at instance {instance}");
    }
    assert!(fleet.origin.count("/a") <= 3, "{}", fleet.origin.count("/a"));
    fleet.bring_back(how).await;
    for reply in fleet.each("/a").await {
        reply.assert(200, "hello, world");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_killed_in_mid_body() {
    the_store_goes_away_in_mid_body(Away::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_freezes_in_mid_body() {
    the_store_goes_away_in_mid_body(Away::Frozen).await;
}

/// What the store held is gone, between two requests and under a fill.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_forgot_everything_is_begun_anew() {
    let fleet = Fleet::of(3).await;
    fleet.origin.on_each("/purged", |seen| Answer::cacheable(["the old", "the new"][seen.nth.min(2) - 1]));
    fleet.origin.on("/kept", Answer::cacheable("kept"));
    for path in ["/purged", "/kept"] {
        fleet.of[0].fill(path).await;
        fleet.each(path).await;
    }
    let before = fleet.of[1].purge_url("/purged").await;
    for reply in fleet.each("/purged").await {
        reply.assert(200, "the new");
    }
    let gate = Gate::shut();
    fleet.origin.on("/under-way", Answer::cacheable("under ").gate(&gate).part("way"));
    let mut under_way = fleet.of[0].get("/under-way").begin().await;
    under_way.at_least(6).await;

    let lives = |instance: &Proxy| instance.log.json(|line| line["event"] == "store_reborn").len();
    let before_that: Vec<_> = fleet.of.iter().map(lives).collect();
    fleet.redis.admin("FLUSHALL");
    until("a new life on all instances", async || {
        fleet.of.iter().zip(&before_that).all(|(instance, before)| lives(instance) > *before).then_some(())
    })
    .await;
    gate.open();
    let rest = under_way.rest().await;
    assert_eq!((rest.text(), rest.end), ("way", End::Clean));
    for _ in 0..3 {
        for reply in fleet.each("/purged").await {
            reply.assert(200, "the new");
        }
        for reply in fleet.each("/kept").await {
            reply.assert(200, "kept");
        }
        for reply in fleet.each("/under-way").await {
            reply.assert(200, "under way");
        }
    }
    assert!(fleet.origin.count("/kept") <= 2, "{}", fleet.origin.count("/kept"));
    assert!(fleet.origin.count("/under-way") <= 2, "{}", fleet.origin.count("/under-way"));
    assert_eq!(fleet.fetches_of_a_herd("/c").await, 1);
    let after = fleet.of[2].purge_url("/kept").await;
    assert!(after["number"].as_u64() > before["number"].as_u64(), "{before} {after}");
    assert_eq!(after["confirmed"].as_array().unwrap().len(), 3, "{after}");
    for reply in fleet.each("/kept").await {
        reply.assert(200, "kept");
    }
}

/// One instance alone has lost the store. What it fetches meanwhile, for itself, gives way to what
/// the others have, whichever of the two is the newer one.
async fn a_cut_off_instance_comes_back(its_own_first: bool) {
    let mut fleet = Fleet::of(2).await;
    let line = Relay::to(fleet.redis.port);
    let direct = format!("127.0.0.1:{}", fleet.redis.port);
    fleet.join_with(|text| text.replace(&direct, &line.at.to_string())).await;
    let gate = Gate::shut();
    let held = gate.clone();
    fleet.origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable(format!("version {}", seen.nth));
        if seen.nth == 1 { answer.held_by(&held) } else { answer }
    });
    line.set(Mode::Close);
    fleet.of[2].until_metric("dustgate_dust_up", &[], |up| up == 0.0).await;
    if its_own_first {
        let own = fleet.of[2].get("/a").asked().await;
        gate.reached_by(1).await;
        fleet.of[0].fill("/a").await.assert(200, "version 2");
        gate.open();
        own.head().await.expect("an answer").rest().await.assert(200, "version 1");
    } else {
        gate.open();
        fleet.of[0].fill("/a").await.assert(200, "version 1");
        fleet.of[2].fill("/a").await.assert(200, "version 2");
    }
    line.set(Mode::Pass);
    fleet.of[2].until_metric("dustgate_dust_up", &[], |up| up == 1.0).await;
    // All agree, and stay with it.
    until("one answer from all", async || {
        let mut first = None;
        for _ in 0..20 {
            for reply in fleet.each("/a").await {
                let same = *first.get_or_insert(reply.body.clone()) == reply.body;
                if !same || !reply.is_hit() {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;
    assert_eq!(fleet.origin.count("/a"), 2);
    if its_own_first {
        fleet.of[2].get("/a").await.assert(200, "version 2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_cut_off_gives_way_to_the_newer() {
    a_cut_off_instance_comes_back(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_cut_off_gives_way_to_the_older_or_replaces_it() {
    a_cut_off_instance_comes_back(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_by_tag_stays_purged_when_the_store_dies_and_comes_back_empty() {
    let mut fleet = Fleet::of(3).await;
    let paths = ["/a", "/b", "/c"];
    for path in paths {
        fleet.origin.on_each(path, |seen| {
            Answer::cacheable(["the old", "the new"][seen.nth.min(2) - 1]).field("xkey", "t")
        });
        fleet.of[0].fill(path).await;
        for reply in fleet.each(path).await {
            reply.assert(200, "the old");
        }
    }
    let said = fleet.of[1].purge(&json!({"tag": "t"})).await;
    assert_eq!(said["confirmed"].as_array().unwrap().len(), 3, "{said}");
    fleet.redis.kill();
    for reply in fleet.each("/a").await {
        reply.assert(200, "the new");
    }
    fleet.redis.restart().await;
    for path in paths.iter().cycle().take(9) {
        for reply in fleet.each(path).await {
            reply.assert(200, "the new");
        }
    }
    fleet.is_back().await;
    for path in paths {
        for reply in fleet.each(path).await {
            reply.assert(200, "the new");
        }
    }
}
