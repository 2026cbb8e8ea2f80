//! A fleet that may ask its origin only so often, and meets in a Dust server: that has no buckets, so each instance
//! has its share.

use crate::kit::{self, Fleet};
use crate::support::crowd::{self, Crowd};
use crate::support::{Proxy, all, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_never_asked_more_often_than_the_fleet_may_and_everybody_is_answered() {
    let server = kit::server().await;
    let fleet = Fleet::of(3, &server, crowd::limited).await;
    // Until then, an instance may take itself for the only one. It counts when it is asked for something.
    for instance in &fleet.of {
        instance.get("/first").await;
        until("each to have a third of the rate", async || {
            let status = instance.admin_get("/v1/status").await.json();
            (status["upstreams"][0]["rate"]["shares"] == 3).then_some(())
        })
        .await;
    }
    let crowd = Crowd::come(&fleet.origin, &fleet.of, 4).await;
    crowd.judge(4);
    let metrics = all(fleet.of.iter().map(Proxy::metrics)).await;
    let spent: f64 = metrics.iter().map(|of| of.sum("dustgate_upstream_tokens_total", &[])).sum();
    let asked = f64::from(u32::try_from(crowd.asked).unwrap());
    assert!((spent - asked).abs() < 0.5, "one token for each: {spent} for {asked}");
}
