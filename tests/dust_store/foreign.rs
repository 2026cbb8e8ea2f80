//! Other clients in the stores of a fleet.

use std::time::Duration;

use dustgate::dust::{Dust, Grant, Holder, Put, Value, Written};
use dustgate::testkit::dust_server::{DustServer, Setup};
use serde_json::json;

use crate::kit;

const TTL: Duration = Duration::from_secs(30);
const VALUE: &str = "dustgate/1/9f2c41d07a3b00000000000000000001";
const STAMP: &str = "dustgate/1/s/all/h";

async fn put(dust: &dyn Dust, key: &str) -> u64 {
    match dust.put(key, "{}", Put::default()).await {
        Ok(Written::At(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// Three stores, and the one in which the value is.
async fn three() -> (DustServer, dustgate::dust::Server, String) {
    let names: Vec<_> = (0..3).map(|n| format!("acme/cache-{n}")).collect();
    let server = DustServer::start(names.iter().fold(Setup::real(), |setup, name| setup.store(name))).await;
    let dust = kit::try_open(kit::target(&server, "acme/cache-{0..2}")).await.unwrap();
    put(&dust, VALUE).await;
    let its = names.into_iter().find(|name| server.row(name, VALUE).is_some()).unwrap();
    (server, dust, its)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_covers_another_clients_lease_from_before_it_and_none_from_after_it() {
    let (server, dust, store) = three().await;
    let first = put(&dust, STAMP).await;
    for n in 0..2 {
        let lock = format!("_dust:sf/{VALUE}{}", if n == 0 { "" } else { "!" });
        server.write(&store, &json!({ "op": "lease", "path": lock, "ttl_ms": 30_000 })).unwrap();
        let held = async || match dust.lease(&lock, TTL, &Holder("one".into()), 0).await {
            Ok(Grant::Held { token: Some(token), .. }) => token,
            other => panic!("{other:?}"),
        };
        let token = held().await;
        assert!(token > first, "it began after the purge");
        let second = put(&dust, STAMP).await;
        assert!(second > token && held().await == token, "it began before the purge");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_client_makes_up_raises_nothing() {
    let (server, dust, store) = three().await;
    let before = put(&dust, STAMP).await;
    let value = r#"{"dustgate":{"epoch":99999999},"v":1}"#;
    server.write(&store, &json!({ "op": "set", "path": VALUE, "value": value })).unwrap();
    let lock = format!("_dust:sf/{VALUE}");
    let lease = json!({ "op": "lease", "path": lock, "ttl_ms": 30_000, "holder": "theirs#e99999999" });
    server.write(&store, &lease).unwrap();
    let ceiling = dust.ceiling();
    assert!(dust.entry(VALUE).await.unwrap().is_some_and(|entry| entry.number < before));
    assert!(dust.entry(&lock).await.unwrap().is_some_and(|entry| entry.number < before));
    assert_eq!(dust.ceiling(), ceiling);
    assert!(put(&dust, STAMP).await < ceiling);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_another_client_makes_up_raises_nothing() {
    let (server, dust, store) = three().await;
    let lock = format!("_dust:sf/{VALUE}");
    let (ceiling, due) = (dust.ceiling(), server.now() + 60_000);
    let lease = json!({ "_type": "lease", "holder": "theirs", "token": server.seq(&store) + 900_000, "expires_at": due });
    server.write(&store, &json!({ "op": "set", "path": lock, "value": lease })).unwrap();
    // It has the number of no write: it is no lease.
    assert_eq!(dust.entry(&lock).await.unwrap().map(|entry| entry.value), Some(Value::Other));
    let held = Grant::Held { rest: None, token: None, holder: None };
    assert_eq!(dust.lease(&lock, TTL, &Holder("one".into()), 0).await, Ok(held));
    assert!(dust.ceiling() < ceiling + (100 << 32), "{} after {ceiling}", dust.ceiling());
}
