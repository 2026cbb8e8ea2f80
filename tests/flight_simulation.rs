//! Flights by themselves, over one store and without HTTP: late and lost calls, lost events, cut
//! lines, crashed and panicking leaders, purges. What is told here and not of whole instances
//! (`tests/fleet_simulation.rs`): that nobody waits in vain, that no two believe in one lease, what a panic
//! leaves behind. Time is paused and all chance comes from a seed, so a seed is a history.
//!
//! `DUSTGATE_SIM_SEEDS=20000` runs more of them, `DUSTGATE_SIM_SEED=7` that one alone and tells
//! its history.

#[path = "flight_simulation/fleet.rs"]
mod fleet;
#[path = "flight_simulation/plan.rs"]
mod plan;
#[path = "flight_simulation/watch.rs"]
mod watch;
#[path = "flight_simulation/world.rs"]
mod world;

use std::env;

use plan::Plan;
use world::Report;

const SEEDS: u64 = 500;

fn run(seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs no more than memory");
    let report = runtime.block_on(fleet::live(Plan::of(seed)));
    // Tasks that are still there end here, before the next world begins.
    drop(runtime);
    report
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("DUSTGATE_SIM_SEED") {
        let report = run(seed);
        println!("{:#?}", Plan::of(seed));
        for line in &report.history {
            println!("{line}");
        }
        assert!(report.broken.is_empty(), "seed {seed}: {:#?}", report.broken);
        return;
    }
    let mut total = world::Counts::default();
    for seed in 0..number("DUSTGATE_SIM_SEEDS").unwrap_or(SEEDS) {
        let report = run(seed);
        assert!(
            report.broken.is_empty(),
            "seed {seed}: {:#?}\nAgain, with its history:\n  \
             DUSTGATE_SIM_SEED={seed} cargo test --test flight_simulation no_seed_breaks_a_promise -- --nocapture",
            report.broken,
        );
        total.add(&report.counts);
    }
    println!("{total:#?}");
    // A simulation finds only what it does: all of this must happen in it.
    for (what, count) in total.all() {
        assert!(count > 0, "{what} never happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..60 {
        let (one, two) = (run(seed), run(seed));
        let apart = one.history.iter().zip(&two.history).find(|(one, two)| one != two);
        assert_eq!(apart, None, "seed {seed}");
        assert_eq!(one.hash(), two.hash(), "seed {seed}");
    }
    assert_ne!(run(1).hash(), run(2).hash());
}
