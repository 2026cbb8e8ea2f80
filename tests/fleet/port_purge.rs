//! A purge on the data port of one instance holds on all of them, and what one warms the others have.

use serde_json::json;

use crate::meet::fleet;
use crate::support::{Answer, all};

#[tokio::test]
async fn a_purge_on_the_data_port_is_confirmed_by_the_whole_fleet() {
    let fleet = fleet(3, |setup| setup.route(r#"purge = { from = ["127.0.0.1"] }"#)).await;
    fleet.origin.on("/a", Answer::cacheable("a").field("Surrogate-Key", "t"));
    for (n, field) in [None, Some("t")].into_iter().enumerate() {
        fleet.of[0].get("/a").await.assert(200, "a");
        fleet.idle().await;
        for reply in fleet.each("/a").await {
            assert_eq!(reply.status, 200);
        }
        let ask = fleet.of[n].ask("PURGE", "/a");
        let ask = if let Some(tag) = field { ask.field("Surrogate-Key", tag) } else { ask };
        ask.await.assert(200, "Purged\nmatched 1, confirmed 3, silent 0\n");
        let before = fleet.origin.count("/a");
        for reply in fleet.each("/a").await {
            reply.assert(200, "a");
        }
        assert_eq!(fleet.origin.count("/a"), before + 1);
    }
}

#[tokio::test]
async fn what_all_instances_warm_at_once_is_fetched_once() {
    let fleet = fleet(3, |setup| setup).await;
    let urls: Vec<String> = (0..20).map(|n| format!("http://api.test/a?{n}")).collect();
    fleet.origin.on_each("/a", |_| Answer::cacheable("a"));
    let warm = fleet.of.iter().map(|one| one.admin_post("/v1/warm", &json!({ "urls": urls })).send());
    for reply in all(warm).await {
        assert!(reply.status == 200 && reply.text().contains("\"failed\":0"), "{reply:?}");
    }
    assert_eq!(fleet.origin.count("/a"), 20);
}
