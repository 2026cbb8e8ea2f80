//! What coordination costs beside a plain fetch. Nothing is asserted of a speed.

use std::time::Duration;

use tokio::time::Instant;

use crate::kit::{self, Fleet};
use crate::support::client::RequestFacts;
use crate::support::{Answer, Proxy};

const FETCHES: usize = 300;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn fetched(ask: impl Fn(usize) -> RequestFacts) -> Duration {
    let mut times = Vec::new();
    for n in 0..FETCHES {
        let began = Instant::now();
        assert_eq!(ask(n).send().await.status, 200);
        times.push(began.elapsed());
    }
    median(times)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --release --test dust_store coordination -- --ignored --nocapture"]
async fn coordination_on_top_of_a_plain_fetch() {
    let server = kit::server().await;
    let fleet = Fleet::of(3, &server, |setup| setup).await;
    let alone = Proxy::before(&fleet.origin).dust("url = \"embedded:\"").await;
    alone.ready().await;
    for n in 0..FETCHES * 2 {
        fleet.origin.on(&format!("/{n}"), Answer::cacheable("x".repeat(1024)));
    }
    let plain = fetched(|n| RequestFacts::new(fleet.origin.at, "GET", &format!("/{n}"))).await;
    let embedded = fetched(|n| alone.get(&format!("/{n}"))).await;
    let led = fetched(|n| fleet.of[0].get(&format!("/{n}"))).await;
    let taken = fetched(|n| fleet.of[1].get(&format!("/{n}"))).await;
    println!("p50 of {FETCHES}, one after the other, 1 KiB:");
    println!("| what | p50 | on top of the plain fetch |\n|---|---|---|");
    for (what, time) in [
        ("the origin itself", plain),
        ("a miss, embedded store in memory", embedded),
        ("a miss, Dust server, the lease included", led),
        ("a hit of what another instance has filled", taken),
    ] {
        println!("| {what} | {time:.2?} | {:.2?} |", time.saturating_sub(plain));
    }
    assert_eq!(fleet.origin.total(), FETCHES * 3, "each key once by each, and once for the fleet");
}
