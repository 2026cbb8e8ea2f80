//! A cluster: all of a fleet is on one of its nodes, which is found, and found again.

use std::sync::Arc;
use std::time::Duration;

use dustgate::dust::{Dust, Put, Written};
use dustgate::testkit::conformance::all;
use tokio::time::{Instant, sleep};

use super::conform::Real;
use crate::support::cluster::{FAILOVER, cluster};
use crate::support::server::{LEAST, open};

#[tokio::test]
async fn a_cluster_keeps_every_promise_and_a_failover_is_followed() {
    let user = format!("user dustgate on >secret {LEAST} +cluster|slots +cluster|keyslot");
    let (owner, mut nodes) = cluster(&user).await;
    let seeds: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let store =
        Arc::new(open(&format!("redis+cluster://dustgate:secret@{}", seeds.join(","))).await.unwrap());
    all(&Real { store: store.clone() }).await;
    let Written::At(before) = store.put("a", "x", Put::default()).await.unwrap() else { panic!("no fence") };
    // The copy has it before the primary is gone.
    sleep(Duration::from_millis(500)).await;
    nodes[owner].kill();
    let deadline = Instant::now() + FAILOVER;
    let after = loop {
        match store.put("a", "y", Put::default()).await {
            Ok(Written::At(number)) => break number,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    };
    assert!(after > before);
}
