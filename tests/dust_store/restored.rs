//! A store that is restored from an older copy: its counts begin again, and numbers rise all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dustgate::dust::{Dust, FeedItem, Grant, Holder, Lease, Put, Renewal, What, Written};
use dustgate::testkit::dust_server::{DustServer, Setup};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::kit::{self, STORE};

const TTL: Duration = Duration::from_secs(30);
const VALUE: &str = "dustgate/1/9f2c41d07a3b00000000000000000001";
const LOCK: &str = "_dust:sf/dustgate/1/9f2c41d07a3b00000000000000000001";
const STAMP: &str = "dustgate/1/s/all/h";

async fn lease(dust: &dyn Dust, seen: u64) -> Lease {
    match dust.lease(LOCK, TTL, &Holder("one".into()), seen).await {
        Ok(Grant::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn put(dust: &dyn Dust, key: &str) -> u64 {
    match dust.put(key, "{}", Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// Waits until a store answers again, and returns the number of the first write that it takes.
async fn first(dust: &dyn Dust) -> u64 {
    let again = async {
        loop {
            let second = dust.put(&format!("{VALUE}!"), "x", Put::default()).await;
            match dust.put("first", "x", Put::default()).await {
                Ok(Written::At(number)) if second.is_ok() => break number,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("it comes back")
}

async fn rise(server: &DustServer, stores: &str, names: &[&str]) {
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(kit::try_open(kit::target(server, stores)).await.unwrap());
    }
    put(&instances[0], STAMP).await;
    let copies: Vec<_> = names.iter().map(|name| server.back_up(name)).collect();
    let mut before = 0;
    for n in 0..60 {
        before = before
            .max(put(&instances[n % 3], &format!("{VALUE}{}", if n % 2 == 0 { "" } else { "!" })).await);
        before = before.max(put(&instances[n % 3], STAMP).await);
    }
    let fill = lease(&instances[0], 0).await;
    before = before.max(fill.token);
    for copy in &copies {
        server.restore(copy);
    }
    let firsts = join_all(instances.iter().map(|dust| first(dust))).await;
    assert!(firsts.iter().all(|first| *first > before), "{firsts:?} {before}");
    // It lives on if another store was restored.
    instances[0].release(&fill).await.unwrap();
    // Each sees the others' numbers as they do.
    for (n, dust) in instances.iter().enumerate() {
        let purge = put(dust, STAMP).await;
        let mut feed = instances[(n + 1) % 3].feed().await.unwrap();
        let next = lease(dust, purge).await;
        assert!(purge > before && next.token > purge, "{before} {purge} {next:?}");
        assert_eq!(dust.renew(&next, TTL).await, Ok(Renewal::Renewed));
        let told = async {
            loop {
                if let FeedItem::Change(change) = feed.next().await
                    && &*change.key == LOCK
                    // An earlier one may be released meanwhile.
                    && matches!(change.what, What::Lease(_))
                {
                    break change.number;
                }
            }
        };
        assert_eq!(timeout(Duration::from_secs(5), told).await.unwrap(), next.token);
        let how = Put { fence: Some(&next), ..Put::default() };
        let Ok(Written::At(number)) = dust.put(VALUE, "{}", how).await else { panic!("it is held") };
        assert!(number > next.token);
        for other in &instances {
            assert_eq!(other.entry(VALUE).await.unwrap().unwrap().number, number);
        }
        dust.release(&next).await.unwrap();
    }
    let late = kit::try_open(kit::target(server, stores)).await.unwrap();
    let purge = put(&late, STAMP).await;
    let last = lease(&late, 0).await;
    assert!(last.token > purge && purge > before);
    late.release(&last).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_restored_copy_is_above_what_came_before() {
    let server = kit::server().await;
    rise(&server, STORE, &[STORE]).await;
    // And once more, from a copy that knows of it.
    rise(&server, STORE, &[STORE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_if_one_of_several_stores_is_restored() {
    let names: Vec<_> = (0..3).map(|n| format!("{STORE}-{n}")).collect();
    for restored in &names {
        let setup = names.iter().fold(Setup::real(), |setup, name| setup.store(name));
        let server = DustServer::start(setup).await;
        rise(&server, &format!("{STORE}-{{0..2}}"), &[restored]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_made_again_while_others_write_lifts_no_number() {
    let server = kit::server().await;
    let (a, b) = (kit::open(&server).await, kit::open(&server).await);
    let is_over = AtomicBool::new(false);
    let writes = async {
        let mut n = 0;
        while !is_over.load(Ordering::Relaxed) {
            n += 1;
            server.write(STORE, &json!({ "op": "set", "path": "theirs", "value": n })).unwrap();
            sleep(Duration::from_millis(1)).await;
        }
    };
    let breaks = async {
        for _ in 0..8 {
            server.drop_all();
            for dust in [&a, &b] {
                let again = async {
                    while dust.put("k", "x", Put::default()).await.is_err() {
                        sleep(Duration::from_millis(5)).await;
                    }
                };
                timeout(Duration::from_secs(10), again).await.expect("it comes back");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(writes, breaks);
    assert_eq!(server.row(STORE, "_dustgate/=#lift"), None);
}
