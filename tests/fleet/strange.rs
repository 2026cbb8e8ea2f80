//! Somebody else writes below the fleet's prefix: what is there is not believed, and is told of.

use serde_json::{Value, json};

use crate::support::fleet::Fleet;
use crate::support::{Answer, until};

/// The name of a record in the store, once there is one.
fn record(fleet: &Fleet) -> String {
    let said = fleet.redis.admin("KEYS {dustgate}:dustgate/1/*");
    let is_record = |name: &&str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = said.lines().find_map(|line| line.strip_prefix("{dustgate}:dustgate/1/").filter(is_record));
    name.unwrap_or_else(|| panic!("no record: {said}")).to_owned()
}

/// The text of a key.
fn text(fleet: &Fleet, key: &str) -> String {
    let said = fleet.redis.admin(&format!("GET {key}"));
    said.lines().find(|line| line.starts_with('v')).expect("a value").to_owned()
}

/// Puts a text at a key, as it is.
fn set(fleet: &Fleet, key: &str, text: &str) {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let said = fleet.redis.admin(&format!("SET {key} \"{quoted}\""));
    assert!(said.contains("+OK"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_where_a_lease_belongs_is_counted_and_named() {
    let fleet = Fleet::of(1).await;
    let one = &fleet.of[0];
    fleet.origin.on("/a", Answer::cacheable("hello"));
    one.fill("/a").await;
    let lock = format!("_dust:sf/dustgate/1/{}", record(&fleet));
    one.purge_url("/a").await;
    set(&fleet, &format!("{{dustgate}}:{lock}"), "somebody's");
    one.get("/a").await.assert(200, "hello");
    one.until_metric("dustgate_dust_occupied_total", &[], |count| count >= 1.0).await;
    let named = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["event"] == "occupied" || line.to_string().contains("occupied")).then(|| line.to_string())
    };
    let said = one.log.find("a word of it", named).await;
    assert!(said.contains(&lock), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_record_stops_no_purge_and_is_fresh_for_nobody() {
    let fleet = Fleet::with(2, |setup| setup.bodies("small = \"0B\"")).await;
    fleet.origin.on("/a", Answer::cacheable("hello"));
    fleet.of[0].fill("/a").await;
    let key = format!("{{dustgate}}:dustgate/1/{}", record(&fleet));
    let good = text(&fleet, &key);
    let (number, json) = good.split_once(' ').unwrap();
    let top = ((1u64 << 53) - 1).to_string();
    let token = number.strip_prefix('v').unwrap();
    assert!(token.parse::<u64>().is_ok());
    let mut record: Value = serde_json::from_str(json).unwrap();
    record["received_at"] = u64::MAX.into();
    for forged in [format!("v{top} {json}"), format!("{number} {record}")] {
        let before = fleet.origin.count("/a");
        fleet.of[0].purge_url("/a").await;
        set(&fleet, &key, &forged);
        let reply = fleet.of[1].get("/a").await;
        reply.assert(200, "hello");
        assert!(!reply.is_hit(), "{forged}: {reply:?}");
        assert_eq!(fleet.origin.count("/a"), before + 1, "{forged}");
        let said = fleet.of[1].purge_url("/a").await;
        assert!(said["number"].as_u64().unwrap() < 1 << 52, "{said}");
    }
    fleet.of[1].until_metric("dustgate_dust_impossible_total", &[], |count| count >= 1.0).await;
    fleet.of[1]
        .until_metric("dustgate_integrity_failures_total", &[("what", "pointer")], |count| count >= 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_set_to_evict_is_away_until_it_is_set_back() {
    let fleet = Fleet::of(1).await;
    let one = &fleet.of[0];
    fleet.redis.admin("CONFIG SET maxmemory-policy volatile-lru");
    until("the store to be refused", async || {
        let ready = one.admin_get("/readyz").await.json();
        (ready["degraded"] == json!(["dust"])).then_some(())
    })
    .await;
    // It serves by itself meanwhile.
    fleet.origin.on("/a", Answer::cacheable("hello"));
    one.get("/a").await.assert(200, "hello");
    fleet.redis.admin("CONFIG SET maxmemory-policy noeviction");
    until("the store to be back", async || {
        (one.admin_get("/readyz").await.json()["degraded"] == json!([])).then_some(())
    })
    .await;
    one.log.find("why", |line| line.contains("CONFIG SET maxmemory-policy noeviction").then_some(())).await;
}
