//! A purge on the data port of one instance holds on all of them.

use crate::meet::fleet;
use crate::support::Answer;

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
