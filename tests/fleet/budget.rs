//! One budget for an origin, whoever asks it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::support::fleet::{Fleet, LEASE, SLACK};
use crate::support::{Answer, Gate, all, until};
use tokio::time::Instant;

/// A gate for each target.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<HashMap<String, Gate>>>);

impl Gates {
    /// Every request waits at its own.
    fn before(fleet: &Fleet) -> Self {
        let gates = Self::default();
        let told = gates.clone();
        fleet
            .origin
            .on_each("*", move |seen| Answer::cacheable(seen.target.clone()).held_by(&told.of(&seen.target)));
        gates
    }

    fn of(&self, target: &str) -> Gate {
        self.0.lock().unwrap().entry(target.to_owned()).or_insert_with(Gate::shut).clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_never_asked_for_more_at_once_than_the_fleet_may() {
    const MOST: usize = 3;
    let fleet = Fleet::with(3, |setup| {
        setup.upstream(&format!("max_concurrent_fleet = {MOST}")).upstream("queue_timeout = \"60s\"")
    })
    .await;
    let gates = Gates::before(&fleet);
    // Fills and passes.
    let asks = (0..18).map(|n| match n % 6 {
        0 => fleet.of[n % 3].ask("POST", &format!("/post/{n}")).content("x"),
        _ => fleet.of[n % 3].get(&format!("/get/{n}")),
    });
    let clients: Vec<_> = asks.map(|ask| tokio::spawn(ask.send())).collect();
    let mut opened = 0;
    while opened < clients.len() {
        let due = clients.len().min(opened + MOST);
        until("the origin to be asked for as much as it may", async || {
            let asked = fleet.origin.total();
            assert!(asked <= opened + MOST, "{asked} asked, {opened} answered");
            (asked == due).then_some(())
        })
        .await;
        let target = fleet.origin.order()[opened].clone();
        opened += 1;
        gates.of(&target).open();
    }
    for client in clients {
        assert_eq!(client.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_instance_had_of_the_budget_comes_back() {
    let fleet = Fleet::with(3, |setup| {
        setup.upstream("max_concurrent_fleet = 2").upstream("queue_timeout = \"60s\"")
    })
    .await;
    let gates = Gates::before(&fleet);
    let own = all(["/1", "/2"].map(|path| fleet.of[0].get(path).asked())).await;
    fleet.origin.asked("/1", 1).await;
    fleet.origin.asked("/2", 1).await;
    let waiting = fleet.of[1].get("/3").asked().await;
    assert_eq!(fleet.origin.count("/3"), 0);
    let killed = Instant::now();
    fleet.of[0].kill().await;
    fleet.origin.asked("/3", 1).await;
    assert!(killed.elapsed() < LEASE + SLACK * 2, "{:?}", killed.elapsed());
    gates.of("/3").open();
    waiting.head().await.expect("an answer").rest().await.assert(200, "/3");
    drop(own);
}
