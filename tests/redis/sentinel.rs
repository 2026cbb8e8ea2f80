//! A primary that a sentinel names, and the next one.

use std::sync::Arc;
use std::time::Duration;

use dustgate::dust::{Dust, Error, Put, Written};
use dustgate::testkit::conformance::all;
use tokio::time::{Instant, sleep};

use super::conform::Real;
use crate::support::server::{LEAST, Server, open};
use crate::support::until;

const FAILOVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_primary_is_the_one_that_the_sentinel_names() {
    let user = format!("user dustgate on >secret {LEAST}");
    let mut primary = Server::start(&[&user]).await;
    let replica = Server::start(&[&user, &format!("replicaof 127.0.0.1 {}", primary.port)]).await;
    until("the copy", async || {
        replica.admin("INFO replication").contains("master_link_status:up").then_some(())
    })
    .await;
    let sentinel = Server::start(&[
        &format!("sentinel monitor cache 127.0.0.1 {} 1", primary.port),
        "sentinel down-after-milliseconds cache 500",
        "sentinel failover-timeout cache 3000",
    ])
    .await;
    until("the sentinel", async || {
        sentinel.admin("SENTINEL REPLICAS cache").contains(&replica.port.to_string()).then_some(())
    })
    .await;
    // One that is not there does not matter.
    let nobody = crate::support::server::free_port();
    let at = format!("127.0.0.1:{nobody},127.0.0.1:{}", sentinel.port);
    let unknown = open(&format!("redis+sentinel://dustgate:secret@{at}/other")).await;
    assert!(matches!(&unknown, Err(Error::Refused(why)) if why.contains("other")), "{unknown:?}");
    let store = Arc::new(open(&format!("redis+sentinel://dustgate:secret@{at}/cache")).await.unwrap());
    all(&Real { store: store.clone() }).await;
    let Written::At(before) = store.put("a", "x", Put::default()).await.unwrap() else { panic!("no fence") };
    sleep(Duration::from_millis(500)).await;
    primary.kill();
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
