//! What an unsafe request made void stays void, whatever the store takes, and costs it no more than it
//! has to.

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::{Clock as _, SystemClock};
use dustgate::dust::Embedded;
use dustgate::dust::embedded::Limits;
use serde_json::{Value, json};

use crate::support::{Answer, Origin, Proxy, until};

async fn degraded(proxy: &Proxy) -> Value {
    let reply = proxy.admin_get("/readyz").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["degraded"].clone()
}

async fn owed(proxy: &Proxy) -> f64 {
    proxy.metrics().await.sum("dustgate_stamps_owed", &[])
}

/// What the store keeps under such names, once the process has ended.
async fn kept(proxy: &Proxy, what: &str) -> Vec<(String, String)> {
    use dustgate::dust::Dust as _;
    let path = proxy.directory().join("dust");
    let store = until("the store to be given back", async || {
        Embedded::open(&path, Arc::new(SystemClock), Limits::default()).ok()
    })
    .await;
    let all = store.entries("dustgate/1/").await.expect("they can be read");
    let all = all.into_iter().filter(|(name, _)| name.contains(what));
    all.map(|(name, entry)| (name, entry.text().expect("text").to_string())).collect()
}

/// The origin counts the GETs of each path.
async fn counting() -> Origin {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| {
        if seen.method == "POST" { Answer::ok("done") } else { Answer::cacheable(format!("{}", seen.nth)) }
    });
    origin
}

#[tokio::test]
async fn a_stamp_that_a_full_disk_did_not_take_holds_here_and_is_written_when_there_is_room() {
    let origin = counting().await;
    for route in ["", "vary_on = [\"x-tenant\"]"] {
        let proxy = Proxy::before(&origin).route(route).await;
        let path = format!("/a{}", route.len());
        proxy.fill(&path).await.assert(200, "1");
        assert_eq!(degraded(&proxy).await, json!([]));
        proxy.process().may_not_write();
        proxy.ask("POST", &path).content("x").await.assert(200, "done");
        assert!(!proxy.get(&path).await.is_hit(), "{route}: it is forgotten here");
        until("the word", async || (owed(&proxy).await == 1.0).then_some(())).await;
        assert!(degraded(&proxy).await.as_array().expect("a list").contains(&json!("purges")));
        proxy.process().may_write();
        until("the stamp", async || (owed(&proxy).await == 0.0).then_some(())).await;
        let proxy = proxy.restart_killed().await;
        let stamps = async || proxy.metrics().await.sum("dustgate_purge_last_number", &[]);
        assert!(stamps().await > 0.0, "{route}: it was written");
    }
}

#[tokio::test]
async fn the_end_writes_what_is_owed_or_says_that_it_is_lost() {
    let origin = counting().await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.process().may_not_write();
    proxy.ask("POST", "/a").content("x").await.assert(200, "done");
    until("the debt", async || (owed(&proxy).await == 1.0).then_some(())).await;
    proxy.signal("TERM");
    proxy.ended().await;
    proxy.log.json_lines(1, "the loss", |line| line["event"] == "stamps_lost").await;
}

#[tokio::test]
async fn posts_to_urls_of_which_nothing_is_stored_leave_nothing() {
    let origin = counting().await;
    for route in ["", "vary_on = [\"x-tenant\"]"] {
        let proxy = Proxy::before(&origin).route(route).await;
        for n in 0..300 {
            let ask = proxy.ask("POST", &format!("/{n}?{}", "q".repeat(1_000))).field("x-tenant", "a");
            ask.content("x").await.assert(200, "done");
        }
        proxy.kill().await;
        assert_eq!(kept(&proxy, "/s/").await, [], "{route}");
        assert_eq!(kept(&proxy, "~").await, [], "{route}");
    }
}

#[tokio::test]
async fn a_post_makes_void_what_is_stored_under_every_keyed_field() {
    let origin = counting().await;
    let proxy = Proxy::before(&origin).route("vary_on = [\"x-tenant\"]").await;
    let get = async |proxy: &Proxy, tenant: &str| proxy.get("/a").field("x-tenant", tenant).await.is_hit();
    for tenant in ["a", "b"] {
        proxy.filled_by(proxy.get("/a").field("x-tenant", tenant)).await;
    }
    // Only the store remembers.
    let proxy = proxy.restart_killed().await;
    proxy.ask("POST", "/a").content("x").await.assert(200, "done");
    assert_eq!(proxy.metrics().await.sum("dustgate_purges_total", &[("kind", "unsafe")]), 1.0);
    for tenant in ["a", "b"] {
        assert!(!get(&proxy, tenant).await, "{tenant}");
    }
}

#[tokio::test]
async fn a_stamp_names_no_url_and_ends_a_while_after_what_it_covers() {
    let origin = counting().await;
    let proxy = Proxy::before(&origin).route("keep = \"0s\"").route("grace = { if_error = \"0s\" }").await;
    proxy.fill("/secret?a=b").await;
    proxy.ask("POST", "/secret?a=b").content("x").await.assert(200, "done");
    proxy.kill().await;
    let stamps = kept(&proxy, "/s/").await;
    let [(name, text)] = &stamps[..] else { panic!("{stamps:?}") };
    assert!(!name.contains("secret") && !text.contains("secret"), "{name} {text}");
    let until = serde_json::from_str::<Value>(text).expect("JSON")["until"].as_u64().expect("a number");
    let left = Duration::from_millis(until - SystemClock.wall_ms());
    assert!(left < Duration::from_mins(20), "{left:?}");
}
