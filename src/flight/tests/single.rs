//! The seed's contract as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::support::*;
use crate::flight::{OnUnavailable, Settings};
use crate::testkit::single::{Flown, Options, RunError, Source, Work, run};

fn options(instance: &Instance) -> Options {
    Options::new(&instance.flight)
}

async fn publish(instance: &Instance, options: &Options, value: Json) -> Result<Flown, RunError> {
    run(&instance.flight, "k", options, |_| async { Work::Publish(value) }).await
}

#[tokio::test(start_paused = true)]
async fn of_fifty_callers_on_five_instances_one_computes_and_the_rest_await() {
    let rig = Rig::new();
    let instances: Vec<_> = (0..5).map(|_| rig.instance()).collect();
    let ran = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let (flight, ran) = (instances[n % 5].flight.clone(), ran.clone());
            tokio::spawn(async move {
                let options = Options::new(&flight);
                let work = |_| async {
                    ran.fetch_add(1, Ordering::Relaxed);
                    sleep(secs(8)).await;
                    Work::Publish(json!({ "at": 1 }))
                };
                run(&flight, "k", &options, work).await
            })
        })
        .collect();
    let mut sources = Vec::new();
    for call in calls {
        let flown = call.await.unwrap().unwrap();
        assert_eq!((flown.value, flown.stale, flown.coordinated), (json!({ "at": 1 }), false, true));
        sources.push(flown.source.as_str());
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(sources.iter().filter(|source| **source == "computed").count(), 1);
    assert_eq!(sources.iter().filter(|source| **source == "awaited").count(), 49);
}

#[tokio::test(start_paused = true)]
async fn s15_without_a_rule_what_exists_is_done_for_ever() {
    let rig = Rig::new();
    let a = rig.instance();
    assert_eq!(publish(&a, &options(&a), json!(1)).await.unwrap().source, Source::Computed);
    sleep(secs(1_000_000)).await;
    let again = publish(&a, &options(&a), json!(2)).await.unwrap();
    assert_eq!((again.value, again.source), (json!(1), Source::Cached));
}

#[tokio::test(start_paused = true)]
async fn s15_a_rule_reads_the_values_own_timestamps() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    publish(&a, &options(&a), json!({ "at": 10 })).await.unwrap();
    let fresh = |since: u64| options(&b).fresh(move |value| value["at"].as_u64() >= Some(since));
    let found = publish(&b, &fresh(10), json!({ "at": 20 })).await.unwrap();
    assert_eq!(found.source, Source::Cached);
    let found = publish(&b, &fresh(15), json!({ "at": 20 })).await.unwrap();
    assert_eq!((found.source, found.value), (Source::Computed, json!({ "at": 20 })));
}

#[tokio::test(start_paused = true)]
async fn s13_in_freshness_mode_a_timeout_serves_the_last_known_value_stale() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    publish(&a, &options(&a), json!("known")).await.unwrap();
    let fill = a.flight.attempt(&names()).await;
    let never = options(&b).fresh(|_| false);
    let start = Instant::now();
    let flown = publish(&b, &Options { wait_timeout: secs(2), ..never }, json!("new")).await.unwrap();
    assert_eq!(start.elapsed(), secs(2));
    assert_eq!((flown.value, flown.source, flown.stale), (json!("known"), Source::Cached, true));
    drop(fill);
}

#[tokio::test(start_paused = true)]
async fn s13_in_presence_mode_a_timeout_is_a_timeout() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let _fill = a.win().await;
    let hasty = Options { wait_timeout: secs(2), ..options(&b) };
    assert_eq!(publish(&b, &hasty, json!(1)).await, Err(RunError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn s16_a_value_is_one_leaf_of_text_and_the_same_from_every_source() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let value = json!({ "deep": { "list": [1, 2.5, null, "ä"] } });
    let computed = publish(&a, &options(&a), value.clone()).await.unwrap();
    assert_eq!(rig.text("k").await.unwrap(), value.to_string());
    let cached = publish(&b, &options(&b), json!(0)).await.unwrap();
    assert_eq!((computed.value, cached.value), (value.clone(), value));
}

#[tokio::test(start_paused = true)]
async fn s16_text_that_is_no_json_is_absent() {
    let rig = Rig::new();
    rig.put("k", "{half").await;
    let a = rig.instance();
    assert_eq!(publish(&a, &options(&a), json!(1)).await.unwrap().source, Source::Computed);
}

#[tokio::test(start_paused = true)]
async fn s6_after_an_abort_the_caller_gets_the_reason_and_a_waiter_leads() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let failing = {
        let flight = a.flight.clone();
        tokio::spawn(async move {
            let work = |_| async {
                sleep(secs(1)).await;
                Work::Abort("origin is down".to_owned())
            };
            run(&flight, "k", &Options::new(&flight), work).await
        })
    };
    settle().await;
    let flown = publish(&b, &options(&b), json!(2)).await.unwrap();
    assert_eq!((flown.source, flown.value), (Source::Computed, json!(2)));
    assert_eq!(failing.await.unwrap(), Err(RunError::Aborted("origin is down".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn s14_run_local_says_so_and_error_is_an_error() {
    let rig = Rig::new();
    let a = rig.instance();
    a.line.down();
    let work = |fence| async move {
        assert_eq!(fence, None);
        Work::Publish(json!(1))
    };
    let flown = run(&a.flight, "k", &options(&a), work).await.unwrap();
    assert_eq!((flown.source, flown.coordinated), (Source::Computed, false));
    let b = rig.instance_with(Settings { on_unavailable: OnUnavailable::Error, ..settings() });
    b.line.down();
    assert!(matches!(publish(&b, &options(&b), json!(1)).await, Err(RunError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn s2_the_lock_key_and_the_wait_have_their_defaults() {
    let rig = Rig::new();
    let a = rig.instance_with(Settings { lease_ttl: secs(30), ..Settings::default() });
    let options = options(&a);
    assert_eq!(options.wait_timeout, secs(35));
    assert_eq!(options.lock_key, None);
    assert_eq!(&*names().lock, "_dust:sf/k");
}

#[tokio::test(start_paused = true)]
async fn the_same_lock_key_makes_two_keys_take_turns() {
    let rig = Rig::new();
    let (a, b) = (rig.instance(), rig.instance());
    let shared = |instance: &Instance| Options { lock_key: Some("lock".into()), ..options(instance) };
    let slow = {
        let (flight, options) = (a.flight.clone(), shared(&a));
        tokio::spawn(async move {
            let work = |_| async {
                sleep(secs(1)).await;
                Work::Publish(json!(1))
            };
            run(&flight, "one", &options, work).await
        })
    };
    settle().await;
    let start = Instant::now();
    let flown = run(&b.flight, "two", &shared(&b), |_| async { Work::Publish(json!(2)) }).await.unwrap();
    assert_eq!((flown.value, flown.source), (json!(2), Source::Computed));
    assert!(start.elapsed() >= secs(1));
    assert_eq!(slow.await.unwrap().unwrap().value, json!(1));
}
