//! Applications that share a key with a route, by the single flight of an official client: the same paths,
//! one text with JSON in it, and the same rule of the lock.

use std::time::Duration;

use dustgate::testkit::dust_server::DustServer;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kit::{self, Fleet, STORE};
use crate::support::fleet::{flies, timed};
use crate::support::{Answer, Gate};

/// An application, as the official clients do it.
struct Application<'a> {
    server: &'a DustServer,
    path: String,
}

/// What its flight finds first.
#[derive(Debug, PartialEq)]
enum Found {
    Cached(Value),
    Won(u64),
    Held,
}

impl<'a> Application<'a> {
    /// One that shares the key of a target.
    async fn of(server: &'a DustServer, fleet: &Fleet, target: &str) -> Self {
        let said = fleet.of[0].command(&["explain", "-v", &format!("http://api.test{target}")]).await;
        let path = said.out.split_whitespace().find(|word| word.starts_with("dustgate/1/"));
        let path =
            path.unwrap_or_else(|| panic!("{said:?}")).trim_matches(|c: char| !c.is_ascii_alphanumeric());
        Self { server, path: path.to_owned() }
    }

    fn lock(&self) -> String {
        format!("_dust:sf/{}", self.path)
    }

    /// Without `fresh` whatever is there counts.
    fn flight(&self, fresh: impl Fn(&Value) -> bool, ttl: Duration) -> Found {
        let there =
            self.server.row(STORE, &self.path).and_then(|(value, _)| Some(value.as_str()?.to_owned()));
        if let Some(text) = there {
            let value = serde_json::from_str(&text).expect("a result is JSON");
            if fresh(&value) {
                return Found::Cached(value);
            }
        }
        let ttl = u64::try_from(ttl.as_millis()).unwrap();
        match self.server.write(STORE, &json!({ "op": "lease", "path": self.lock(), "ttl_ms": ttl })) {
            Ok(lease) => Found::Won(lease["token"].as_u64().unwrap()),
            Err(reason) if reason == "held" => Found::Held,
            Err(reason) => panic!("{reason}"),
        }
    }

    fn publish(&self, token: u64, text: &str) {
        let fence = json!({ "key": self.lock(), "token": token });
        self.server
            .write(STORE, &json!({ "op": "set", "path": self.path, "value": text, "fence": fence }))
            .unwrap();
        self.server.write(STORE, &json!({ "op": "release", "path": self.lock(), "token": token })).unwrap();
    }

    fn text(&self) -> String {
        self.server.row(STORE, &self.path).unwrap().0.as_str().unwrap().to_owned()
    }
}

/// As `docs/dust.md` has it.
fn is_fresh(record: &Value, now: u64) -> bool {
    let ms = |name: &str| record[name].as_u64().unwrap_or_default();
    ms("received_at") + ms("fresh_ms") - ms("age_ms") > now
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_has_filled_is_a_hit_for_applications_of_both_modes() {
    let server = kit::server().await;
    let fleet = Fleet::of(1, &server, |setup| setup).await;
    fleet.origin.on("/a", Answer::cacheable("hello"));
    let gate = Gate::shut();
    fleet.origin.on("/b", Answer::cacheable("hello").held_by(&gate));
    fleet.of[0].fill("/a").await.assert(200, "hello");
    let application = Application::of(&server, &fleet, "/a").await;
    let now = server.now();
    let Found::Cached(record) = application.flight(|_| true, Duration::from_secs(1)) else {
        panic!("it is there")
    };
    assert_eq!((record["status"].as_u64(), record["body"]["len"].as_u64()), (Some(200), Some(5)), "{record}");
    assert_eq!(application.flight(|it| is_fresh(it, now), Duration::from_secs(1)), Found::Cached(record));
    // In a minute it is stale: the application leads.
    let later = now + 61_000;
    let found = application.flight(|it| is_fresh(it, later), Duration::from_secs(1));
    assert!(matches!(found, Found::Won(_)), "{found:?}");

    // While a route fills, the application waits.
    let filling = fleet.of[0].get("/b").asked().await;
    gate.reached_by(1).await;
    let application = Application::of(&server, &fleet, "/b").await;
    assert_eq!(application.flight(|_| true, Duration::from_secs(1)), Found::Held);
    gate.open();
    filling.head().await.unwrap().rest().await.assert(200, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_an_application_publishes_is_waited_for_and_served_without_a_fetch() {
    let server = kit::server().await;
    let fleet = Fleet::of(2, &server, |setup| setup).await;
    fleet.origin.on("/a", Answer::cacheable("hello"));
    fleet.of[0].fill("/a").await.assert(200, "hello");
    let application = Application::of(&server, &fleet, "/a").await;
    let record = application.text();
    // The second instance has not got it in memory. What was there goes, and the application fills.
    server.write(STORE, &json!({ "op": "delete", "path": application.path })).unwrap();
    let Found::Won(token) = application.flight(|_| true, Duration::from_secs(20)) else {
        panic!("it is free")
    };
    let waiting = fleet.of[1].get("/a").asked().await;
    flies(&fleet.of[1], "/a", |_| true).await;
    application.publish(token, &record);
    waiting.head().await.unwrap().rest().await.assert(200, "hello");
    assert_eq!(fleet.origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_a_miss_and_is_overwritten() {
    let server = kit::server().await;
    let fleet = Fleet::of(1, &server, |setup| setup).await;
    for (n, text) in
        ["{\"s3\":\"b/k1\"}", "7", "\"x\"", "{\"v\":1}", "{\"v\":2,\"status\":200}"].iter().enumerate()
    {
        let path = format!("/{n}");
        fleet.origin.on(&path, Answer::cacheable("hello"));
        let application = Application::of(&server, &fleet, &path).await;
        let Found::Won(token) = application.flight(|_| true, Duration::from_secs(20)) else {
            panic!("it is free")
        };
        let waiting = fleet.of[0].get(&path).asked().await;
        flies(&fleet.of[0], &path, |_| true).await;
        application.publish(token, text);
        waiting.head().await.unwrap().rest().await.assert(200, "hello");
        fleet.of[0].until_stored(n + 1).await;
        let Found::Cached(record) = application.flight(|_| true, Duration::from_secs(1)) else {
            panic!("{text}")
        };
        assert_eq!(record["status"], 200, "{text}");
        assert_eq!(fleet.origin.count(&path), 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_an_application_that_died_is_waited_for_and_taken_over_when_it_lapses() {
    const TTL: Duration = Duration::from_secs(2);
    let server = kit::server().await;
    let fleet = Fleet::of(2, &server, |setup| setup).await;
    fleet.origin.on("/a", Answer::cacheable("hello"));
    let application = Application::of(&server, &fleet, "/a").await;
    let began = Instant::now();
    let found = application.flight(|_| true, TTL);
    assert!(matches!(found, Found::Won(_)), "{found:?}");
    let (one, two) = tokio::join!(timed(fleet.of[0].get("/a")), timed(fleet.of[1].get("/a")));
    for (_, reply) in [one, two] {
        reply.assert(200, "hello");
    }
    assert!(began.elapsed() >= TTL, "not before its end: {:?}", began.elapsed());
    assert_eq!(fleet.origin.count("/a"), 1, "one of them took it over");
}
