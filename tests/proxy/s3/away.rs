//! A bucket that is away: at the start, and in what answers say of themselves.

use serde_json::json;

use super::before;
use crate::support::relay::{Mode, Relay};
use crate::support::server::Server;
use crate::support::{Answer, Origin, Proxy, S3, until};

async fn degraded(proxy: &Proxy) -> serde_json::Value {
    let reply = proxy.admin_get("/readyz").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["degraded"].clone()
}

#[tokio::test]
async fn an_instance_that_starts_while_the_bucket_is_away_serves_and_stores_when_it_is_there() {
    let s3 = S3::start().await;
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("{} {}", seen.target, seen.nth)));
    for mode in [Mode::Unavailable, Mode::Down] {
        let (server, relay) = (Server::least().await, Relay::before(s3.at));
        let fleet = format!("{mode:?}").to_lowercase();
        let start =
            || before(&origin, &S3::url_by(relay.at, &fleet)).dust(&format!("url = \"{}\"", server.url()));
        // The first of its fleet: nothing can begin without the bucket.
        relay.set(mode);
        let first = start().await;
        let path = |name: &str| format!("/{fleet}/{name}");
        first.get(&path("alone")).await.assert(200, &format!("{} 1", path("alone")));
        let told = degraded(&first).await.to_string();
        assert!(told.contains("bodies"), "{told}");
        relay.set(Mode::Pass);
        until("it to be whole", async || (degraded(&first).await == json!([])).then_some(())).await;
        first.fill(&path("kept")).await;
        assert!(first.get(&path("kept")).await.is_hit());
        // One more of them: it is one of the fleet at once, and finds its bodies later.
        relay.set(mode);
        let second = start().await;
        assert_eq!(degraded(&second).await, json!(["bodies"]));
        let passed = second.get(&path("kept")).await;
        assert_eq!((passed.status, passed.cache_status().contains("stored")), (200, false), "{passed:?}");
        relay.set(Mode::Pass);
        until("it to be whole", async || (degraded(&second).await == json!([])).then_some(())).await;
        second.fill(&path("late")).await;
        assert!(first.get(&path("late")).await.is_hit(), "both know it");
        let event = |text: &str| {
            !second
                .log
                .json(|line| line["event"] == "bodies" && line["text"].as_str().unwrap().contains(text))
                .is_empty()
        };
        assert!(event("are served, and not stored there until that is over") && event("they are stored"));
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_at_the_start_is_a_mistake_and_no_outage() {
    let s3 = S3::start().await;
    let origin = Origin::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = before(&origin, &s3.url("fleet")).text(tempfile::tempdir().unwrap().path());
    std::fs::write(file.path(), text).unwrap();
    let mut command = crate::support::process::dustgate();
    command.args(["serve", "-c"]).arg(file.path());
    command.env("AWS_ACCESS_KEY_ID", "dustgate-test").env("AWS_SECRET_ACCESS_KEY", "wrong");
    let said = crate::support::command::finish(&mut command).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("bodies.url: the body store refuses: "), "{said:?}");
}

#[tokio::test]
async fn no_answer_says_stored_while_the_bucket_is_known_to_be_away() {
    let s3 = S3::start().await;
    let relay = Relay::before(s3.at);
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(seen.target.clone()));
    let proxy = before(&origin, &S3::url_by(relay.at, "fleet")).await;
    assert_eq!(proxy.fill("/before").await.cache_status(), "dustgate; fwd=uri-miss; stored");
    relay.set(Mode::Down);
    // The head of this one has gone out when its bytes turn out not to be taken.
    proxy.fill("/first").await;
    let reply = proxy.fill("/second").await;
    assert_eq!(reply.cache_status(), "dustgate; fwd=uri-miss; detail=body-store");
    assert_eq!(proxy.logged(1, "/second").await[0]["why"], "body-store");
    relay.set(Mode::Pass);
    proxy.fill("/back").await;
    assert_eq!(proxy.fill("/after").await.cache_status(), "dustgate; fwd=uri-miss; stored");
    assert!(proxy.get("/back").await.is_hit() && proxy.get("/after").await.is_hit());
}
