//! Housekeeping reads little, and never in the place of requests.

use std::sync::Arc;
use std::time::Duration;

use dustgate::dust::{Dust, Put};
use dustgate::testkit::dust_server::{DustServer, Setup, TOKEN, Token};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};
use crate::support::{Answer, Origin, Proxy, all};

/// The reads that a server has had, with their targets.
fn reads(server: &DustServer) -> Vec<String> {
    server.heard().into_iter().filter(|heard| heard.event == "GET").map(|heard| heard.topic).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reads_of_a_sweep_do_not_grow_with_the_bodies() {
    const BODIES: usize = 40;
    let server = kit::server().await;
    let origin = Origin::answering(Answer::cacheable("body")).await;
    let bodies = TempDir::with_prefix("dustgate-bodies-").unwrap();
    let proxy = Proxy::before(&origin)
        .dust(&format!("url = \"{}\"", server.url(STORE)))
        .dust(&format!("token = \"{TOKEN}\""))
        .bodies(&format!("url = \"file:{}\"", bodies.path().display()))
        .bodies("linger = \"1s\"")
        .start()
        .await;
    proxy.ready().await;
    all((0..BODIES).map(|n| proxy.get(&format!("/{n}")).send())).await;
    let sweeps = |reads: &[String]| {
        reads.iter().filter(|target| target.contains("from=_dust%3Asf/dustgate/1/&")).count()
    };
    let before = reads(&server).len();
    let swept = async {
        loop {
            let after = reads(&server).split_off(before);
            if sweeps(&after) >= 3 {
                return after;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let after = timeout(Duration::from_secs(20), swept).await.expect("it sweeps");
    assert!(after.len() < BODIES, "{after:#?}");
    // What is named stays.
    assert_eq!(origin.total(), BODIES);
    for n in 0..BODIES {
        let again = proxy.get(&format!("/{n}")).send().await;
        assert_eq!((again.status, &*again.body), (200, &b"body"[..]));
    }
    let objects = walk(bodies.path());
    assert!(objects >= BODIES, "{objects}");
}

/// How many files are below a directory.
fn walk(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_leaves_half_of_the_reads_to_requests() {
    let token = Token::new("dust_tok_limited", "acme").limited(1000, 40);
    let server = DustServer::start(Setup::cranked(1_790_000_040_000).store(STORE).token(token)).await;
    let target = kit::target(&server, STORE).with_token("dust_tok_limited");
    let dust = Arc::new(kit::try_open(target).await.unwrap());
    let housekeeping = tokio::spawn({
        let dust = dust.clone();
        async move { while dust.part("dustgate/1/s/", None).await.is_ok() {} }
    });
    let spent = async {
        while reads(&server).len() < 10 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), spent).await.expect("it lists");
    for n in 0..20 {
        assert_eq!(dust.entry("k").await, Ok(None), "{n}");
    }
    let before = reads(&server).len();
    assert!(timeout(Duration::from_secs(2), housekeeping).await.is_err(), "it waits, and does not fail");
    assert_eq!(reads(&server).len(), before, "it rests until the minute is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_one_store_is_read_there_only() {
    let mut setup = Setup::real();
    for n in 0..4 {
        setup = setup.store(&format!("{STORE}-{n}"));
    }
    let server = DustServer::start(setup).await;
    let target = kit::target(&server, &format!("{STORE}-{{0..3}}"));
    let dust = kit::try_open(target).await.unwrap();
    let hash = "9f2c41d07a3b00000000000000000001";
    for key in ["dustgate/i/one!", "dustgate/1/s/x", &format!("dustgate/1/{hash}")] {
        dust.put(key, "{\"v\":1}", Put::default()).await.unwrap();
    }
    for (prefix, most) in [("dustgate/i/", 1), ("dustgate/1/s/", 1), (&*format!("dustgate/1/{hash}"), 2)] {
        let before = reads(&server).len();
        assert_eq!(dust.entries(prefix).await.unwrap().len(), 1, "{prefix}");
        let sent = reads(&server).len() - before;
        assert!(sent <= most, "{prefix}: {sent}");
    }
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let part = dust.part("dustgate/", from.as_deref()).await.unwrap();
        found.extend(part.entries.into_iter().map(|(key, _)| key));
        let Some(next) = part.next else { break };
        from = Some(next);
    }
    found.sort();
    assert_eq!(found, [&*format!("dustgate/1/{hash}"), "dustgate/1/s/x", "dustgate/i/one!"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_is_pruned_before_the_next_one_is_read() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    let expired = json!("{\"dustgate\":{\"until\":1},\"v\":1}");
    for n in 0..1_100 {
        let write = json!({ "op": "set", "path": format!("dustgate/1/{n:032x}"), "value": expired });
        server.write_silently(STORE, &write).unwrap();
    }
    let before = reads(&server).len();
    assert_eq!(dust.prune("dustgate", Duration::ZERO).await, Ok(60));
    let after = reads(&server).split_off(before);
    assert!(!after.iter().any(|target| target.contains("after=")), "{after:?}");
}
