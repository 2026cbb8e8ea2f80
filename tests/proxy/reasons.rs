//! Every reason why a response is not stored has one word. `Cache-Status`, the log, `explain` and the metric
//! say the same one.

use std::collections::BTreeSet;

use dustgate::policy::PassReason::{self, *};
use serde_json::json;

use crate::support::client::RequestFacts;
use crate::support::server::Server;
use crate::support::{Answer, Gate, Origin, Proxy, Reply, until};

/// Reasons that no request shows by itself, each with its own test below. No response is known that makes a
/// contradiction: what passes the policy fits a record. That word comes from the same check as `head-too-large`, and
/// that check has a test of its own.
const NOT_BY_ONE_REQUEST: [PassReason; 4] = [Contradiction, BodyStore, DustDown, OtherFill];

/// A request that shows a reason, and what the origin answers to it.
struct Case {
    reason: PassReason,
    /// The route that it goes to, which is named like the first segment of the path.
    route: &'static str,
    method: &'static str,
    fields: &'static [(&'static str, &'static str)],
    content: &'static str,
    answer: Answer,
    /// What `explain` says of the same request before anybody has asked the origin. Else it only knows
    /// afterwards.
    foreseen: bool,
}

impl Case {
    fn path(&self) -> String {
        format!("/{}/{}", self.route, self.reason.as_str())
    }

    fn request(&self, proxy: &Proxy) -> RequestFacts {
        let request = proxy.ask(self.method, &self.path());
        let request = self.fields.iter().fold(request, |request, (name, value)| request.field(name, value));
        if self.content.is_empty() { request } else { request.content(self.content) }
    }

    async fn explained(&self, proxy: &Proxy) -> String {
        let url = format!("http://api.test{}", self.path());
        let length = self.content.len().to_string();
        let mut fields = self.fields.to_vec();
        if !self.content.is_empty() {
            fields.push(("content-length", &length));
        }
        let question = json!({ "url": url, "method": self.method, "headers": fields });
        let reply = proxy.admin_post("/v1/explain", &question).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["lines"]["because"].as_str().unwrap().to_owned()
    }
}

/// A GET on the plain route, judged by the answer.
fn said(reason: PassReason, answer: Answer) -> Case {
    Case { reason, route: "plain", method: "GET", fields: &[], content: "", answer, foreseen: false }
}

/// A GET with these fields, of what could be stored otherwise.
fn asked(reason: PassReason, route: &'static str, fields: &'static [(&'static str, &'static str)]) -> Case {
    Case { route, fields, foreseen: true, ..said(reason, Answer::cacheable("hello")) }
}

fn cases() -> Vec<Case> {
    let hello = || Answer::ok("hello");
    let whole = || Answer::cacheable("hello");
    vec![
        said(NoStore, hello().cache("no-store")),
        said(Private, hello().cache("private")),
        said(SetCookie, whole().field("Set-Cookie", "a=b")),
        said(VaryStar, whole().field("Vary", "*")),
        Case { route: "small", ..said(TooLarge, whole()) },
        said(HeadTooLarge, whole().field("X-Long", &"x".repeat(70_000))),
        said(Tags, whole().field("Surrogate-Key", &"t".repeat(129))),
        said(EventStream, whole().field("Content-Type", "text/event-stream")),
        said(Unframed, Answer::status(200).cache("max-age=60").until_close().part("hello")),
        said(NotCacheableStatus, Answer::status(302).field("Location", "/other").part("")),
        said(NoLifetime, hello()),
        said(ZeroLifetime, hello().cache("max-age=0")),
        said(OriginError, Answer::status(500).part("oops")),
        said(NotUnderstood, Answer::status(299).cache("max-age=60, must-understand").part("hello")),
        Case {
            route: "segments",
            fields: &[("range", "bytes=0-1")],
            ..said(
                Partial,
                Answer::status(206).cache("max-age=60").field("Content-Range", "bytes 0-1/5").part("he"),
            )
        },
        asked(Authorization, "plain", &[("authorization", "me")]),
        asked(SecretHeader, "plain", &[("x-api-key", "me")]),
        asked(Cookie, "plain", &[("cookie", "_ga=1")]),
        asked(ConnectionAuth, "plain", &[("authorization", "Negotiate YII=")]),
        asked(MethodOverride, "plain", &[("x-http-method-override", "DELETE")]),
        asked(Precondition, "plain", &[("if-match", "\"a\"")]),
        asked(Range, "parts", &[("range", "bytes=0-1")]),
        asked(RequestNoStore, "honour", &[("cache-control", "no-store")]),
        asked(RouteSays, "bypass", &[]),
        Case { method: "POST", content: "x", ..asked(Method, "plain", &[]) },
        Case { content: "x", ..asked(Content, "plain", &[]) },
    ]
}

fn routes() -> String {
    let routes = [
        ("plain", ""),
        ("small", "max_object_size = \"4B\""),
        ("segments", "range = \"segment\""),
        ("parts", "range = \"pass\""),
        ("honour", "client_cache_control = \"honour\""),
        ("bypass", "cache = false"),
    ];
    let route = |(name, line): &(&str, &str)| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}/*\"\nupstream = \"origin\"\n{line}\n")
    };
    routes.iter().map(route).collect()
}

#[tokio::test]
async fn header_log_explain_and_metric_say_the_same_word_of_every_reason() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).no_route().more(&routes()).await;
    let cases = cases();
    let shown: BTreeSet<_> = cases.iter().map(|case| case.reason.as_str()).collect();
    for reason in PassReason::ALL {
        let elsewhere = NOT_BY_ONE_REQUEST.contains(reason);
        assert!(elsewhere != shown.contains(reason.as_str()), "{reason:?} is shown here or elsewhere");
    }
    for case in cases {
        let (path, word) = (case.path(), case.reason.as_str());
        origin.on(&path, case.answer.clone());
        let sentence = case.reason.explained(case.route);
        if case.foreseen {
            let because = case.explained(&proxy).await;
            assert!(because.ends_with(&sentence), "{word}: explain says {because:?}");
        }
        let reply = case.request(&proxy).await;
        let status = reply.cache_status();
        assert!(status.ends_with(&format!("; detail={word}")), "{word}: {status:?} {reply:?}");
        assert!(!status.contains("stored") && !status.contains("collapsed"), "{word}: {status:?}");
        let line = proxy.logged(1, &path).await.remove(0);
        assert_eq!((line["why"].as_str(), line["route"].as_str()), (Some(word), Some(case.route)), "{line}");
        let labels = [("route", case.route), ("reason", word)];
        proxy.until_metric("dustgate_unstored_total", &labels, |count| count == 1.0).await;
        if !case.foreseen && case.fields.is_empty() {
            let because = case.explained(&proxy).await;
            assert!(because.ends_with(&sentence), "{word}: explain says {because:?}");
        }
    }
}

#[tokio::test]
async fn what_is_stored_says_nothing_of_the_kind() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    origin.on("/a", Answer::ok("hello"));
    proxy.fill("/a").await;
    origin.on("/a", Answer::cacheable("hello"));
    assert_eq!(proxy.fill("/a").await.cache_status(), "dustgate; fwd=uri-miss; stored");
    assert_eq!(proxy.logged(2, "/a").await[1]["why"], serde_json::Value::Null);
    assert!(proxy.get("/a").await.is_hit());
    assert_eq!(proxy.metrics().await.sum("dustgate_unstored_total", &[]), 1.0);
    // Nor is the response before it remembered as the last one.
    proxy.purge_url("/a").await;
    let question = json!({ "url": "http://api.test/a" });
    let said = proxy.admin_post("/v1/explain", &question).await.json();
    assert!(!said["text"].as_str().unwrap().contains("not stored"), "{said:#}");
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_counted_when_that_is_known() {
    let origin = Origin::answering(Answer::cacheable("hello").chunked()).await;
    let proxy = Proxy::before(&origin).route("max_object_size = \"4B\"").await;
    proxy.fill("/a").await.assert(200, "hello");
    proxy.until_metric("dustgate_unstored_total", &[("reason", "too-large")], |count| count == 1.0).await;
    let again = proxy.get("/a").await;
    assert!(again.cache_status().ends_with("; detail=too-large"), "{again:?}");
    proxy.until_metric("dustgate_unstored_total", &[("reason", "too-large")], |count| count == 2.0).await;
}

#[tokio::test]
async fn a_follower_says_that_it_shares_the_fetch_and_its_line_has_the_word() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let (mut replies, ()) = tokio::join!(proxy.herd(2, "/a"), async {
        proxy.until_followers(1).await;
        gate.open();
    });
    replies.sort_by_key(|reply| reply.cache_status().to_owned());
    assert_eq!(replies[0].cache_status(), "dustgate; fwd=uri-miss; collapsed; detail=awaited");
    assert_eq!(replies[1].cache_status(), "dustgate; fwd=uri-miss; detail=no-lifetime");
    let lines = proxy.logged(2, "/a").await;
    assert!(lines.iter().all(|line| line["why"] == "no-lifetime"), "{lines:?}");
    // It was one exchange.
    assert_eq!(proxy.metrics().await.sum("dustgate_unstored_total", &[]), 1.0);
}

/// Checks header, log and metric of a request on the one route, and that `explain` afterwards says the sentence.
/// With `unknown`, that it does not: the reason is nothing that holds for the next request.
async fn shows(proxy: &Proxy, reason: PassReason, reply: &Reply, path: &str, nth: usize, unknown: bool) {
    let word = reason.as_str();
    reply.assert(200, reply.text());
    let status = reply.cache_status();
    assert!(status.ends_with(&format!("; detail={word}")) && !status.contains("stored"), "{status:?}");
    let lines = proxy.logged(nth, path).await;
    assert!(lines.iter().any(|line| line["why"] == word && line["route"] == "all"), "{lines:?}");
    let labels = [("route", "all"), ("reason", word)];
    proxy.until_metric("dustgate_unstored_total", &labels, |count| count >= 1.0).await;
    let question = json!({ "url": format!("http://api.test{path}") });
    let says = async || {
        let because = proxy.admin_post("/v1/explain", &question).await.json();
        because["lines"]["because"].as_str().unwrap().ends_with(&reason.explained("all"))
    };
    if unknown {
        assert!(!says().await, "{word}");
    } else {
        // What is noted of an answer is written when the answer is out.
        until(&format!("explain to say {word}"), async || says().await.then_some(())).await;
    }
}

/// `explain` asks no store whether it answers: it says what the stores have.
#[tokio::test]
async fn a_variant_that_needs_the_store_while_that_is_away_says_so() {
    let mut server = Server::least().await;
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "X-Tenant")).await;
    let proxy = Proxy::before(&origin).dust(&format!("url = \"{}\"", server.url())).await;
    server.kill();
    let reply = proxy.get("/a").await;
    assert_eq!(reply.cache_status(), "dustgate; fwd=uri-miss; detail=dust-down");
    shows(&proxy, DustDown, &reply, "/a", 1, true).await;
}

#[tokio::test]
async fn a_body_that_the_body_store_does_not_take_says_so() {
    let large = "x".repeat(100_000);
    let origin = Origin::answering(Answer::cacheable(large)).await;
    let proxy = Proxy::before(&origin).await;
    let bodies = proxy.directory().join("bodies");
    until("something else to be in its place", async || {
        // What is being written at the start may make it anew.
        let _ = std::fs::remove_dir_all(&bodies);
        std::fs::write(&bodies, "in its place").ok()
    })
    .await;
    // The head of this one has gone out when its bytes turn out not to be taken.
    proxy.fill("/first").await;
    let reply = proxy.get("/a").await;
    shows(&proxy, BodyStore, &reply, "/a", 1, false).await;
}

/// The first fetch began when the response varied by one field less, and the second one since. What `explain` is
/// asked about may be stored by the other fetch at any moment.
#[tokio::test]
async fn a_variant_that_another_fetch_stores_says_so() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "X-Tenant")).await;
    let proxy = Proxy::before(&origin).await;
    let get = |tenant: &str, name: &str| proxy.get("/a").field("x-tenant", tenant).field("x-name", name);
    proxy.filled_by(get("a", "a")).await;
    let (head, end) = (Gate::shut(), Gate::shut());
    let (held, goes_on) = (head.clone(), end.clone());
    origin.on_each("/a", move |seen| {
        let answer = Answer::status(200).cache("max-age=60").field("Vary", "X-Tenant, X-Kind").chunked();
        match seen.field("x-name") {
            "first" => answer.held_by(&held).part("hello"),
            "second" => answer.part("he").gate(&goes_on).part("llo"),
            _ => answer.part("hello"),
        }
    });
    let first = tokio::spawn(get("b", "first").send());
    head.reached_by(1).await;
    proxy.filled_by(get("c", "between")).await;
    let second = get("b", "second").begin().await;
    head.open();
    let reply = first.await.unwrap();
    shows(&proxy, OtherFill, &reply, "/a", 3, true).await;
    end.open();
    second.rest().await.assert(200, "hello");
    proxy.until_metric("dustgate_fills_total", &[("outcome", "stored")], |count| count == 3.0).await;
    assert!(get("b", "third").await.is_hit(), "the other fetch has stored it");
}

#[tokio::test]
async fn explain_knows_why_a_variant_was_not_stored() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "X-Tenant")).await;
    let proxy = Proxy::before(&origin).await;
    let get = |tenant: &str| proxy.get("/a").field("x-tenant", tenant);
    proxy.filled_by(get("a")).await;
    origin.on("/a", Answer::ok("hello").field("Vary", "X-Tenant"));
    proxy.filled_by(get("b")).await;
    for (tenant, knows) in [("b", true), ("c", false)] {
        let question = json!({ "url": "http://api.test/a", "headers": [["x-tenant", tenant]] });
        let said = proxy.admin_post("/v1/explain", &question).await.json();
        let because = said["lines"]["because"].as_str().unwrap();
        assert!(because.starts_with("no stored variant is selected by this request's x-tenant"), "{because}");
        assert_eq!(because.ends_with(&NoLifetime.explained("all")), knows, "{because}");
    }
}
