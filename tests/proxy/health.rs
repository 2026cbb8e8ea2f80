//! How the instance says that it fares.

use crate::support::{Answer, Origin, Proxy};

#[tokio::test]
async fn status_tells_how_the_store_answers() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let status = proxy.admin_get("/v1/status").await.json();
    assert_eq!(status["dust"]["kind"], "embedded", "{status:#}");
    assert_eq!((&status["dust"]["up"], &status["dust"]["unsure"]), (&true.into(), &false.into()));
    assert!(status["dust"]["call_p50_ms"].as_f64().is_some_and(|ms| ms < 2_000.0), "{status:#}");
    assert_eq!(status["bodies"]["up"], true);
    let metrics = proxy.metrics().await;
    for (name, value) in [("dustgate_ready", 1.0), ("dustgate_draining", 0.0), ("dustgate_dust_up", 1.0)] {
        assert_eq!(metrics.sum(name, &[]), value, "{name}");
    }
    assert_eq!(metrics.sum("dustgate_clock_offset_seconds", &[]), 0.0);
}

#[tokio::test]
async fn the_last_purge_is_known_after_a_restart() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let number = proxy.purge_url("/a").await["number"].as_f64().expect("a number");
    assert_eq!(proxy.metrics().await.sum("dustgate_purge_last_number", &[]), number);
    let proxy = proxy.restart_killed().await;
    assert_eq!(proxy.metrics().await.sum("dustgate_purge_last_number", &[]), number);
}

#[tokio::test]
async fn a_fills_own_pass_is_counted() {
    let origin = Origin::answering(Answer::ok("yours").cache("private")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.get("/a").await.assert(200, "yours");
    proxy.until_metric("dustgate_passes_total", &[("reason", "private")], |count| count == 1.0).await;
    proxy.get("/a").await.assert(200, "yours");
    proxy.until_metric("dustgate_passes_total", &[("reason", "private")], |count| count == 2.0).await;
}

#[tokio::test]
async fn a_check_of_the_running_instance_says_whether_it_is_ready() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).admin("token = \"secret-of-the-operator\"").await;
    let live = proxy.command(&["check", "--live"]).await;
    assert_eq!((live.code, live.err.as_str()), (0, ""), "{live:?}");
    assert!(live.out.contains("ready"), "{live:?}");
    proxy.kill().await;
    let gone = proxy.command(&["check", "--live"]).await;
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.err.contains("/readyz"), "{gone:?}");
}
