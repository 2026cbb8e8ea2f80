//! Numbers that the server can't have given, written by somebody else below the fleet's prefix.

use std::time::Duration;

use dustgate::clock::{Clock as _, SystemClock};
use dustgate::dust::{Dust, Grant, Holder, Inquiry, Known, Lease, LeaseRequest, Lock, Put, Value, Written};

use crate::support::server::Server;
use crate::support::until;

/// The highest that the scripts can count to.
const TOP: u64 = (1 << 53) - 1;
const TTL: Duration = Duration::from_secs(30);

async fn put(store: &dyn Dust, key: &str) -> u64 {
    match store.put(key, "x", Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

fn is_of_today(number: u64) -> bool {
    number.abs_diff(SystemClock.wall_ms() * 1000) < 60_000_000
}

#[tokio::test]
async fn a_number_from_nowhere_is_absent_and_moves_no_other() {
    let server = Server::start(&[]).await;
    let store = crate::support::server::open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    put(&store, "good").await;
    let day_after_next = SystemClock.wall_ms() * 1000 + 2 * 86_400_000_000;
    for number in [TOP, u64::MAX, day_after_next] {
        server.admin(&format!(
            "SET {{dustgate}}:forged \"v{number} {{}}\"\r\nZADD {{dustgate}}#index 0 forged"
        ));
        let before = store.impossible();
        let entry = store.entry("forged").await.unwrap().unwrap();
        assert_eq!((&entry.value, entry.number), (&Value::Other, 1), "{number}");
        let all = store.entries("").await.unwrap();
        assert!(all.iter().all(|(_, entry)| entry.number < day_after_next), "{all:?}");
        assert_eq!(store.impossible(), before + 2);
        assert!(is_of_today(put(&store, "good").await), "{number}");
    }
}

#[tokio::test]
async fn a_lease_with_a_number_from_nowhere_is_none() {
    let server = Server::start(&[]).await;
    let store = crate::support::server::open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    server.admin(&format!("SET {{dustgate}}:lock \"l{TOP} somebody\""));
    let grant = store.lease("lock", TTL, &Holder("me".into()), 0).await.unwrap();
    assert_eq!(grant, Grant::Occupied);
    assert!(is_of_today(put(&store, "good").await));
    // What is in the way can be taken away.
    store.release(&Lease { key: "lock".into(), token: TOP, holder: Holder("".into()) }).await.unwrap();
    let grant = store.lease("lock", TTL, &Holder("me".into()), 0).await.unwrap();
    assert!(matches!(grant, Grant::Granted(lease) if is_of_today(lease.token)));
}

#[tokio::test]
async fn a_last_number_from_nowhere_heals() {
    let server = Server::start(&[]).await;
    let store = crate::support::server::open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let before = put(&store, "a").await;
    for last in [TOP.to_string(), "1e300".into(), "nan".into(), "inf".into(), "-5".into(), "what".into()] {
        server.admin(&format!("SET {{dustgate}}#last {last}"));
        let after = put(&store, "a").await;
        assert!(after > before && is_of_today(after), "{last}: {after}");
    }
    server.admin("DEL {dustgate}#last\r\nZADD {dustgate}#last 0 x");
    // Not a text at all: nothing can be counted in it, and that is said.
    assert!(store.put("a", "x", Put::default()).await.is_ok());
}

#[tokio::test]
async fn a_change_with_a_number_from_nowhere_is_not_heard() {
    let server = Server::start(&[]).await;
    let store = crate::support::server::open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let mut changes = store.on(&["a"]).await.unwrap();
    server.admin(&format!("PUBLISH {{dustgate}}#events/0 \"s 1 {TOP} {TOP} 0 a\""));
    until("the count", async || (store.impossible() == 1).then_some(())).await;
    assert!(is_of_today(put(&store, "a").await));
    assert!(!changes.next().await.lost);
}

#[tokio::test]
async fn what_is_no_value_is_not_in_the_way_of_a_flight() {
    let server = Server::start(&[]).await;
    let store = crate::support::server::open(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let holder = Holder("me".into());
    let lease = Some(LeaseRequest { ttl: TTL, holder: &holder, seen: 0 });
    let inquiry =
        Inquiry { value: "value", verdict: "verdict", lock: "lock", known: Known::default(), lease };
    for value in ["v5 \\xff", "b5 1/0", &format!("v{TOP} x"), "v05", "hello", "v"] {
        server.admin(&format!("SET {{dustgate}}:value \"{value}\""));
        let found = store.enter(inquiry).await.unwrap();
        assert_eq!(found.value.map(|entry| entry.value), Some(Value::Other), "{value}");
        let Lock::Granted(lease) = found.lock else { panic!("{value}: {:?}", found.lock) };
        store.release(&lease).await.unwrap();
    }
    server.admin("DEL {dustgate}:value\r\nZADD {dustgate}:value 0 x");
    let found = store.enter(inquiry).await.unwrap();
    assert_eq!(found.value.map(|entry| entry.value), Some(Value::Other));
    assert!(matches!(found.lock, Lock::Granted(_)), "{:?}", found.lock);
}
