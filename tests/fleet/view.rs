//! What operators see: which instance led, in the log, in Cache-Status and in the list of flights.

use crate::support::fleet::{Fleet, flies, name};
use crate::support::{Answer, Gate};

#[tokio::test(flavor = "multi_thread")]
async fn the_instance_that_led_is_named_everywhere() {
    let fleet = Fleet::of(2).await;
    let (leads, rides) = (name(&fleet.of[0]).await, name(&fleet.of[1]).await);
    assert_ne!(leads, rides);
    let gate = Gate::shut();
    fleet.origin.on("/a", Answer::cacheable("hello").held_by(&gate));
    let own = fleet.of[0].get("/a").asked().await;
    gate.reached_by(1).await;
    let riding = fleet.of[1].get("/a").asked().await;
    let by_it = |flight: &serde_json::Value| flight["holder"] == leads && flight["fence"] != 0;
    let led = flies(&fleet.of[0], "/a", by_it).await;
    let rode = flies(&fleet.of[1], "/a", by_it).await;
    assert_eq!((&led["role"], &led["holder"]), (&"leader".into(), &leads.clone().into()), "{led}");
    assert_eq!((&rode["role"], &rode["holder"]), (&"follower".into(), &leads.clone().into()), "{rode}");
    assert_eq!(led["fence"], rode["fence"]);
    gate.open();
    let own = own.head().await.expect("an answer").rest().await;
    let riding = riding.head().await.expect("an answer").rest().await;
    assert_eq!(own.cache_status(), "dustgate; fwd=uri-miss; stored");
    let detail = format!("dustgate; fwd=uri-miss; collapsed; detail=awaited:{leads}");
    assert_eq!(riding.cache_status(), detail);
    let own = &fleet.of[0].logged(1, "/a").await[0];
    let riding = &fleet.of[1].logged(1, "/a").await[0];
    assert_eq!(own["instance"], leads);
    assert_eq!(riding["instance"], rides);
    assert_eq!(riding["leader"], leads);
    assert_eq!(own["fence"], riding["fence"]);
    assert_eq!(riding["fence"], led["fence"]);
    let page = fleet.of[1].metrics().await;
    assert_eq!(page.sum("dustgate_followers_total", &[("scope", "fleet"), ("end", "rode")]), 1.0);
}
