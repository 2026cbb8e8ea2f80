//! File descriptors: with too few of them there are fewer connections, and no outage.

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Answer, Origin, Proxy, all, until};

const FEW: &str = "-n 256";

#[tokio::test]
async fn idle_connections_on_the_operators_port_leave_the_data_port_alone() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).limits(FEW).await;
    let idle = all((0..220).map(|_| TcpStream::connect(proxy.admin))).await;
    proxy.fill("/a").await.assert(200, "hello");
    assert!(proxy.get("/a").await.is_hit());
    // Nor do they keep an operator out.
    assert_eq!(proxy.admin_get("/readyz").await.status, 200);
    let most = proxy.admin_get("/v1/config").await.json()["admin"]["max_connections"].as_f64().unwrap();
    let open = proxy.metrics().await.sum("dustgate_connections", &[("listener", "admin")]);
    assert!(open > 0.0 && open <= most, "{open} of {most}");
    assert!(idle.iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_does_not_fit_is_lowered_and_said_and_kept_to() {
    let origin = Origin::answering(Answer::ok("hello").cache("no-store")).await;
    let proxy = Proxy::before(&origin).limits(FEW).await;
    let said = proxy.errors.so_far().join("\n");
    let config = proxy.admin_get("/v1/config").await.json();
    let in_force = |path: &str| config.pointer(path).and_then(serde_json::Value::as_u64).unwrap();
    let clients = in_force("/server/max_connections");
    for (key, wanted, at) in [
        ("server.max_connections", 10_000, "/server/max_connections"),
        ("admin.max_connections", 64, "/admin/max_connections"),
        ("upstreams.origin.max_concurrent", 1024, "/upstreams/origin/max_concurrent"),
    ] {
        let lowered = in_force(at);
        assert!(lowered > 0 && lowered < 256, "{key}: {lowered}");
        let line = said.lines().find(|line| line.starts_with(&format!("warning: {key} = {wanted}: ")));
        let line = line.unwrap_or_else(|| panic!("nothing of {key}: {said}"));
        assert!(line.contains("256") && line.contains(&format!("{lowered} in force")), "{line}");
    }
    let checked = proxy.command(&["check"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.err.contains("warning: server.max_connections = 10000: "), "{checked:?}");

    // As many clients as there may be, and each of them can still be answered by the origin.
    let mut first = proxy.connect().await;
    let idle = all((0..300).map(|_| TcpStream::connect(proxy.at))).await;
    until("all places to be taken", async || {
        let open = proxy.metrics().await.sum("dustgate_connections", &[("listener", "data")]);
        assert!(open <= clients as f64, "{open}");
        (open == clients as f64).then_some(())
    })
    .await;
    for n in 0..3 {
        first.send(proxy.get(&format!("/{n}")).bytes()).await;
        let (reply, next) = first.reply().await.expect("an answer");
        reply.assert(200, "hello");
        first = next;
    }
    assert!(idle.iter().all(Result::is_ok));
    assert_eq!(proxy.metrics().await.sum("dustgate_upstream_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn a_soft_limit_below_the_need_is_raised() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let setup = Proxy::before(&origin).server("max_connections = 500").upstream("max_concurrent = 100");
    let proxy = setup.limits("-S -n 64").await;
    let (soft, hard) = proxy.process().descriptors();
    assert_eq!(soft, hard);
    let said = proxy.errors.so_far().join("\n");
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(proxy.admin_get("/v1/config").await.json()["server"]["max_connections"], json!(500));
}
