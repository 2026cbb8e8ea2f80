//! Room: what has to go when the stores are full, and what stays.

use serde_json::{Value, json};

use crate::support::process::{Process, dustgate};
use crate::support::{Answer, Origin, Proxy, all, until};

const EACH: u64 = 256 << 10;
/// Room for eight: what their files and directories take beside their bytes is less than half of one.
const SIZE: &str = "size = \"2176KiB\"";
const ROOM: f64 = 8.5 * EACH as f64;

#[tokio::test]
async fn the_oldest_records_make_room_and_the_newest_stay() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=600").pattern(EACH)).await;
    // Room for eight, and a quarter more that is filled before the sweep comes.
    let proxy = Proxy::before(&origin).bodies(SIZE).bodies("linger = \"1s\"").await;
    for n in 0..10 {
        let reply = proxy.fill(&format!("/{n}")).await;
        assert_eq!(reply.body.len() as u64, EACH);
    }
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n <= ROOM).await;
    // Not more than was needed.
    let metrics = proxy.metrics().await;
    assert!(metrics.sum("dustgate_bodies_bytes", &[]) >= 8.0 * EACH as f64);
    for n in 2..10 {
        assert!(proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
    for n in 0..2 {
        assert!(!proxy.get(&format!("/{n}")).await.is_hit(), "/{n} is in memory and nowhere else");
    }
}

#[tokio::test]
async fn what_memory_has_let_go_of_goes_before_what_it_has() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=600").pattern(EACH)).await;
    let settings = Proxy::before(&origin).bodies(SIZE).bodies("linger = \"1s\"");
    let proxy = settings.await;
    for n in 0..8 {
        proxy.fill(&format!("/{n}")).await;
    }
    // A new process has an empty memory; one of the oldest is asked for again.
    let proxy = proxy.restart().await;
    assert!(proxy.get("/0").await.is_hit());
    for n in 8..10 {
        proxy.fill(&format!("/{n}")).await;
    }
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n > 0.0 && n <= ROOM).await;
    for n in [0, 3, 9] {
        assert!(proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
    for n in 1..3 {
        assert!(!proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
}

/// A limit that a test can take away, and that is to a process what a full disk is: no write into a
/// file finds room.
const FULL: &str = "-S -f 0";

async fn degraded(proxy: &Proxy) -> Value {
    let reply = proxy.admin_get("/readyz").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["degraded"].clone()
}

async fn has_room_again(proxy: &Proxy) {
    proxy.process().may_write();
    until("readiness without a but", async || (degraded(proxy).await == json!([])).then_some(())).await;
}

#[tokio::test]
async fn on_a_full_disk_it_starts_without_storing_and_stores_when_there_is_room() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("{} {}", seen.target, seen.nth)));
    let proxy = Proxy::before(&origin).limits(FULL).await;
    assert_eq!(degraded(&proxy).await, json!(["dust", "bodies"]));
    proxy.get("/a").await.assert(200, "/a 1");
    proxy.get("/a").await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("dustgate_dust_up", &[]), 0.0);
    assert!(metrics.sum("dustgate_bodies_errors_total", &[("op", "put")]) >= 1.0);
    let told = |line: &Value| line["level"] == "warn";
    let told = proxy.log.json(told).iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("dust.url") && told.contains("bodies.url"), "{told}");
    // Nothing could remember it.
    assert_eq!(proxy.admin_post("/v1/purge", &json!({"all": true})).await.status, 503);

    has_room_again(&proxy).await;
    assert_eq!(proxy.metrics().await.sum("dustgate_dust_up", &[]), 1.0);
    proxy.fill("/b").await.assert(200, "/b 1");
    proxy.purge(&json!({"url": "http://api.test/a"})).await;
    proxy.kill().await;
    let proxy = proxy.start_again_under(None).await;
    let again = proxy.get("/b").await;
    again.assert(200, "/b 1");
    assert!(again.is_hit());
    assert_eq!(degraded(&proxy).await, json!([]));
}

#[tokio::test]
async fn what_was_stored_before_the_disk_was_full_is_not_lost() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("{} {}", seen.target, seen.nth)));
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/kept").await.assert(200, "/kept 1");
    proxy.fill("/purged").await.assert(200, "/purged 1");
    proxy.purge_url("/purged").await;
    proxy.kill().await;
    let proxy = proxy.start_again_under(Some(FULL)).await;
    assert_eq!(degraded(&proxy).await, json!(["dust", "bodies"]));
    proxy.get("/meanwhile").await.assert(200, "/meanwhile 1");
    has_room_again(&proxy).await;
    let kept = proxy.get("/kept").await;
    kept.assert(200, "/kept 1");
    assert!(kept.is_hit());
    proxy.fill("/purged").await.assert(200, "/purged 2");
}

#[tokio::test]
async fn without_room_for_bodies_alone_it_starts_too() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy =
        Proxy::before(&origin).bodies("small = \"0B\"").dust("url = \"embedded:\"").limits(FULL).await;
    assert_eq!(degraded(&proxy).await, json!(["bodies"]));
    proxy.fill("/a").await.assert(200, "hello");
    assert_eq!(proxy.metrics().await.sum("dustgate_bodies_bytes", &[]), 0.0);
    has_room_again(&proxy).await;
    proxy.fill("/b").await.assert(200, "hello");
    assert!(proxy.metrics().await.sum("dustgate_bodies_bytes", &[]) >= 5.0);
    proxy
        .log
        .json_lines(1, "a word of it", |line| line["event"] == "bodies" && line["level"] == "info")
        .await;
}

#[tokio::test]
async fn a_store_whose_bodies_never_had_room_for_their_marker_is_not_taken_for_anothers() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).bodies("small = \"0B\"").await;
    proxy.fill("/a").await;
    proxy.signal("TERM");
    proxy.ended().await;
    let bodies = proxy.directory().join("bodies");
    std::fs::remove_dir_all(&bodies).unwrap();
    // What a start leaves that has room for records and none for bodies.
    let records = rusqlite::Connection::open(proxy.directory().join("dust/dust.sqlite")).unwrap();
    let row = "INSERT INTO entries (key, value, number) VALUES ('dustgate/1/unmarked', 'true', 1)";
    records.execute(row, []).unwrap();
    drop(records);
    let proxy = proxy.start_again().await;
    proxy.fill("/b").await.assert(200, "hello");
    // With its marker it is one like any other.
    proxy.signal("TERM");
    proxy.ended().await;
    std::fs::remove_dir_all(&bodies).unwrap();
    let next =
        Process::start(dustgate().args(["serve", "-c", proxy.config()]).current_dir(proxy.directory()));
    assert_eq!(next.ended().await.code(), Some(2));
}

/// What a directory and all in it have been given of the disk.
fn du(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let below = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| du(&entry.path()));
    // What goes meanwhile takes nothing.
    path.symlink_metadata().map_or(0, |meta| meta.blocks() * 512) + below.sum::<u64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bodies_of_one_byte_take_as_much_of_the_disk_as_they_may() {
    const SIZE: u64 = 2 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=600").pattern(1)).await;
    let proxy = Proxy::before(&origin)
        .bodies("small = \"0B\"")
        .bodies("size = \"2MiB\"")
        .bodies("linger = \"1s\"")
        .await;
    let bodies = proxy.directory().join("bodies");
    for n in (0..2_500).step_by(50) {
        for reply in all((n..n + 50).map(|n| proxy.get(&format!("/{n}")).send())).await {
            assert_eq!((reply.status, reply.body.len()), (200, 1));
        }
        // It takes no more a quarter above.
        let du = du(&bodies);
        assert!(du < SIZE * 5 / 4 * 115 / 100, "{du} after {n}");
    }
    let within = SIZE * 85 / 100..SIZE * 115 / 100;
    until("the sweep to have made room", async || within.contains(&du(&bodies)).then_some(())).await;
}
