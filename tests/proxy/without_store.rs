//! An instance that is started while the store of its fleet is away: it serves by itself, and joins
//! when the store is there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::proxy::Setup;
use crate::support::server::Server;
use crate::support::{Answer, Gate, Origin, Proxy, until};

/// By then an instance is up, whether its store is there or not; generous, for a busy machine.
const UP: Duration = Duration::from_secs(8);
/// By then it has joined. Far above what it takes: a test never passes because of it.
const JOINED: Duration = Duration::from_secs(5);

/// A store, bodies that all share, and an origin.
struct Fleet {
    server: Server,
    bodies: TempDir,
    origin: Origin,
}

impl Fleet {
    async fn new() -> Self {
        let origin = Origin::start().await;
        origin.on_each("*", |seen| Answer::cacheable(format!("{} {}", seen.target, seen.nth)));
        Self { server: Server::least().await, bodies: TempDir::new().unwrap(), origin }
    }

    fn instance(&self) -> Setup {
        Proxy::before(&self.origin)
            .dust(&format!("url = \"{}\"", self.server.url()))
            .bodies(&format!("url = \"file:{}\"\nlinger = \"1s\"", self.bodies.path().display()))
    }

    /// The directories of bodies that an instance keeps by itself.
    fn waiting(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.bodies.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.to_string_lossy().contains("/waiting-")).collect()
    }

    /// What the fleet is called in the request that filled a path last.
    fn cdn_loop(&self, path: &str) -> String {
        self.origin.last(path).field("cdn-loop").to_owned()
    }
}

async fn name_of_fleet(proxy: &Proxy) -> Value {
    proxy.admin_get("/v1/status").await.json()["fleet"].clone()
}

async fn ready(proxy: &Proxy) -> (u16, Value) {
    let reply = proxy.admin_get("/readyz").await;
    (reply.status, reply.json())
}

async fn has_joined(proxy: &Proxy) {
    let began = Instant::now();
    until("readiness without a but", async || {
        (ready(proxy).await == (200, json!({"ready": true, "degraded": []}))).then_some(())
    })
    .await;
    assert!(began.elapsed() < JOINED, "{:?}", began.elapsed());
    proxy.log.json_lines(1, "a word of it", |line| line["event"] == "joined").await;
}

fn is_empty(path: &Path) -> bool {
    !path.exists() || std::fs::read_dir(path).unwrap().next().is_none()
}

#[tokio::test]
async fn a_fill_that_another_instance_reads_is_not_ended_for_want_of_clients_here() {
    let fleet = Fleet::new().await;
    let gate = Gate::shut();
    fleet.origin.on("/long", Answer::cacheable("one,").gate(&gate).part("two").chunked());
    let few = |setup: Setup| setup.upstream("max_concurrent = 1").upstream("queue_timeout = \"300ms\"");
    let one = few(fleet.instance()).route("finish = \"while_wanted\"").await;
    let two = few(fleet.instance()).await;
    let mut here = one.get("/long").begin().await;
    here.at_least(4).await;
    let mut there = two.get("/long").begin().await;
    there.at_least(4).await;
    drop(here);
    one.get("/other").await.assert_error(503);
    gate.open();
    assert_eq!(there.rest().await.body, b"two");
    assert_eq!(fleet.origin.count("/long"), 1);
}

#[tokio::test]
async fn it_serves_by_itself_and_joins_the_fleet_when_the_store_is_back() {
    let fleet = Fleet::new().await;
    let one = fleet.instance().await;
    one.fill("/before").await.assert(200, "/before 1");
    // Its memory of what is in it stays, unlike that of a server that is killed.
    fleet.server.signal("-STOP");
    let began = Instant::now();
    let two = fleet.instance().await;
    assert_eq!(ready(&two).await, (200, json!({"ready": true, "degraded": ["dust"]})));
    assert!(began.elapsed() < UP, "{:?}", began.elapsed());
    assert_eq!(two.log.json(|line| line["event"] == "store_missing").len(), 1);
    two.fill("/alone").await.assert(200, "/alone 1");
    // From memory, and after that a purge is out of the question.
    two.get("/alone").await.assert(200, "/alone 1");
    assert_eq!(two.admin_post("/v1/purge", &json!({"all": true})).await.status, 503);
    assert!(two.metrics().await.sum("dustgate_uncoordinated_fills_total", &[]) >= 1.0);
    assert_eq!(two.metrics().await.sum("dustgate_dust_up", &[]), 0.0);
    let alone = fleet.cdn_loop("/alone");
    assert_eq!(fleet.waiting().len(), 1);

    fleet.server.signal("-CONT");
    has_joined(&two).await;
    // What the fleet had is there for it, without a fetch.
    two.get("/before").await.assert(200, "/before 1");
    two.fill("/together").await.assert(200, "/together 1");
    one.get("/together").await.assert(200, "/together 1");
    assert_eq!(fleet.origin.count("/together"), 1);
    assert_eq!(fleet.cdn_loop("/together"), fleet.cdn_loop("/before"));
    assert_ne!(fleet.cdn_loop("/together"), alone);
    // A purge here reaches memory there.
    one.get("/before").await.assert(200, "/before 1");
    let purged = two.purge_url("/before").await;
    assert_eq!(purged["silent"], json!([]), "{purged}");
    one.fill("/before").await.assert(200, "/before 2");
    until("the bodies kept by itself to go", async || {
        fleet.waiting().iter().all(|path| is_empty(path)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_that_wait_for_a_store_that_comes_back_empty_are_one_fleet() {
    let mut fleet = Fleet::new().await;
    fleet.server.kill();
    let (one, two) = tokio::join!(fleet.instance().start(), fleet.instance().start());
    one.fill("/a").await;
    two.fill("/a").await;
    assert_eq!(fleet.origin.count("/a"), 2);
    fleet.server.restart().await;
    tokio::join!(has_joined(&one), has_joined(&two));
    one.fill("/together").await.assert(200, "/together 1");
    two.get("/together").await.assert(200, "/together 1");
    assert_eq!(fleet.origin.count("/together"), 1);
    assert_eq!(name_of_fleet(&one).await, name_of_fleet(&two).await);
}

#[tokio::test]
async fn two_that_begin_a_store_at_the_same_moment_are_one_fleet() {
    let fleet = Fleet::new().await;
    for round in 0..3 {
        fleet.server.admin("FLUSHALL");
        let (one, two) = tokio::join!(fleet.instance().start(), fleet.instance().start());
        let path = format!("/together{round}");
        one.fill(&path).await.assert(200, &format!("{path} 1"));
        two.get(&path).await.assert(200, &format!("{path} 1"));
        assert_eq!(name_of_fleet(&one).await, name_of_fleet(&two).await);
    }
}

#[tokio::test]
async fn one_that_was_never_joined_leaves_nothing_behind() {
    let mut fleet = Fleet::new().await;
    fleet.server.kill();
    let proxy = fleet.instance().await;
    proxy.fill("/a").await.assert(200, "/a 1");
    assert_eq!(fleet.waiting().len(), 1);
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(fleet.waiting().iter().all(|path| is_empty(path)), "{:?}", fleet.waiting());
}

#[tokio::test]
async fn where_an_answer_without_the_store_is_none_it_starts_and_is_not_ready() {
    let mut fleet = Fleet::new().await;
    fleet.server.kill();
    let proxy = fleet.instance().dust("on_unavailable = \"error\"").await;
    assert_eq!(ready(&proxy).await, (503, json!({"ready": false, "reason": "dust"})));
    assert_eq!(proxy.get("/a").await.status, 503);
    assert_eq!(fleet.origin.count("/a"), 0);
    fleet.server.restart().await;
    has_joined(&proxy).await;
    proxy.get("/a").await.assert(200, "/a 1");
}

#[tokio::test]
async fn bodies_that_are_not_the_fleets_keep_it_by_itself() {
    let fleet = Fleet::new().await;
    let one = fleet.instance().await;
    one.fill("/a").await;
    fleet.server.signal("-STOP");
    let elsewhere = TempDir::new().unwrap();
    let bodies = format!("url = \"file:{}\"", elsewhere.path().display());
    let two =
        Proxy::before(&fleet.origin).dust(&format!("url = \"{}\"", fleet.server.url())).bodies(&bodies).await;
    fleet.server.signal("-CONT");
    let said = two.log.json_lines(1, "the reason", |line| line["event"] == "not_joined").await;
    assert!(said[0].to_string().contains("does not hold the bodies"), "{said:?}");
    assert_eq!(ready(&two).await, (200, json!({"ready": true, "degraded": ["dust"]})));
    two.fill("/a").await.assert(200, "/a 2");
}
