//! A storm over a fleet of real processes: five instances over some forty keys are killed, stopped,
//! cut off from the store, ended and started again, while clients read and others purge and post.
//! What is judged is every answer, and the fleet after the storm.
//!
//! `DUSTGATE_CHAOS_SECONDS` says how long it blows, `DUSTGATE_CHAOS_SEED` which one it is: the seed
//! decides what happens when, as far as a real machine keeps to it. It is printed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "chaos/calm.rs"]
mod calm;
#[path = "chaos/clients.rs"]
mod clients;
#[path = "chaos/ground.rs"]
mod ground;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/judge.rs"]
mod judge;
#[path = "chaos/keys.rs"]
mod keys;
#[path = "chaos/origin.rs"]
mod origin;
#[path = "chaos/status.rs"]
mod status;
#[path = "chaos/storm.rs"]
mod storm;
#[path = "support/kit.rs"]
mod support;
#[path = "chaos/weather.rs"]
mod weather;

use std::time::Duration;

use dustgate::clock::Dice;
use ground::{Ground, Over};

/// How long it blows in an ordinary run.
const SHORT: Duration = Duration::from_secs(12);

async fn bears_a_storm(over: Over) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = variable("DUSTGATE_CHAOS_SEED").unwrap_or_else(|| Dice::new().below(1 << 32));
    let span = variable("DUSTGATE_CHAOS_SECONDS").map_or(SHORT, Duration::from_secs);
    println!("DUSTGATE_CHAOS_SEED={seed} DUSTGATE_CHAOS_SECONDS={} over {over:?}", span.as_secs());
    let mut ground = Ground::new(over).await;
    let load = clients::Load::begin(ground.sky.clone(), seed);
    storm::blow(&mut ground, seed, span).await;
    load.end().await;
    let mut wrong = calm::after(&mut ground).await;
    let history = ground.sky.history();
    println!("{}", history.summary());
    let mut judged = judge::judge(&history);
    judged.append(&mut wrong);
    let shown: Vec<_> = judged.iter().take(40).map(|one| format!("  {one}")).collect();
    assert!(
        judged.is_empty(),
        "seed {seed}: {} violations\n{}\n{}",
        judged.len(),
        shown.join("\n"),
        ground.keep_logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: tests/run --long"]
async fn a_fleet_over_one_server_bears_a_storm() {
    bears_a_storm(Over::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long: tests/run --long"]
async fn a_fleet_over_a_cluster_bears_a_storm() {
    bears_a_storm(Over::Cluster).await;
}
