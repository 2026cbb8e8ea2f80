//! Tags that an origin names: who gets their fields.

use crate::support::{Answer, Gate, Origin, Proxy};

/// The fields that name tags, in all their forms.
const FIELDS: [(&str, &str); 4] =
    [("Surrogate-Key", "a b"), ("Cache-Tag", "a,b"), ("xkey", "a"), ("Cache-Groups", "\"a\", \"b\"")];

fn tagged(answer: Answer) -> Answer {
    FIELDS.iter().fold(answer, |answer, (name, value)| answer.field(name, value))
}

#[tokio::test]
async fn clients_do_not_get_them_by_default() {
    let origin = Origin::start().await;
    origin.on("/a", tagged(Answer::cacheable("hello")));
    origin.on("/p", tagged(Answer::ok("hello").cache("private")));
    origin.on("/f", tagged(Answer::status(500)));
    origin.on("/u", tagged(Answer::ok("done")));
    let proxy = Proxy::before(&origin).await;
    let replies = [
        proxy.fill("/a").await,
        proxy.get("/a").await,
        proxy.ask("HEAD", "/a").await,
        proxy.get("/p").await,
        proxy.ask("HEAD", "/p").await,
        proxy.get("/f").await,
        proxy.ask("POST", "/u").content("x").await,
        proxy.get("/a").field("Cookie", "a=b").field("Cache-Control", "no-cache").await,
    ];
    for reply in replies {
        for (name, _) in FIELDS {
            assert_eq!(reply.field(name), "", "{name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_route_may_pass_them_on() {
    let origin = Origin::answering(tagged(Answer::cacheable("hello"))).await;
    let proxy = Proxy::before(&origin).route("tags = \"pass\"").await;
    for reply in [proxy.fill("/a").await, proxy.get("/a").await] {
        for (name, value) in FIELDS {
            assert_eq!(reply.field(name), value, "{name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn fields_that_a_route_does_not_read_are_like_any_other() {
    let origin = Origin::answering(tagged(Answer::cacheable("hello").field("X-Tags", "a"))).await;
    let proxy = Proxy::before(&origin).route("tag_headers = [\"x-tags\"]").await;
    let reply = proxy.fill("/a").await;
    assert_eq!((reply.field("x-tags"), reply.field("xkey")), ("", "a"), "{reply:?}");
}

#[tokio::test]
async fn an_unsafe_request_invalidates_the_groups_that_its_answer_names() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::cacheable("hello").field("Cache-Groups", "\"x\", \"y\""));
    origin.on("/b", Answer::cacheable("hello").field("Cache-Groups", "\"z\""));
    let told =
        |status: u16| Answer::status(status).field("Cache-Group-Invalidation", "\"y\", \"w\"").part("");
    origin.on("/ok", told(200));
    origin.on("/fails", told(500));
    origin.on("/get", told(200));
    let proxy = Proxy::before(&origin).await;
    let elsewhere = |path: &str| proxy.get(path).host("other.test");
    for path in ["/a", "/b"] {
        proxy.fill(path).await;
        proxy.filled_by(elsewhere(path)).await;
    }
    // An error leaves all as it is, and so does a safe method (RFC 9875 §3).
    proxy.ask("POST", "/fails").content("x").await;
    proxy.get("/get").await;
    assert!(proxy.get("/a").await.is_hit());
    let reply = proxy.ask("POST", "/ok").content("x").await;
    assert_eq!(reply.field("cache-group-invalidation"), "\"y\", \"w\"", "other caches need it too");
    assert!(!proxy.get("/a").await.is_hit());
    assert!(proxy.get("/b").await.is_hit(), "of another group");
    assert!(elsewhere("/a").await.is_hit(), "of another origin");
}

#[tokio::test]
async fn a_route_that_stores_nothing_may_invalidate_groups_of_its_origin() {
    let origin = Origin::start().await;
    origin.on("/a", Answer::cacheable("hello").field("Cache-Groups", "\"x\""));
    origin.on("/api/p", Answer::ok("done").field("Cache-Group-Invalidation", "\"x\""));
    let api = "[[routes]]\nname = \"api\"\npath = \"/api/*\"\nupstream = \"origin\"\ncache = false\n";
    let proxy = Proxy::before(&origin).more(api).await;
    proxy.fill("/a").await;
    proxy.ask("POST", "/api/p").content("x").host("other.test").await.assert(200, "done");
    assert!(proxy.get("/a").await.is_hit(), "of another origin");
    proxy.ask("POST", "/api/p").content("x").await.assert(200, "done");
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_group_is_invalidated_for_fills_under_way_too() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let old = Answer::cacheable("old,").field("Cache-Groups", "\"x\"");
    origin.on("/a", old.gate(&gate).part("still old").chunked());
    origin.on("/p", Answer::ok("done").field("Cache-Group-Invalidation", "\"x\""));
    let proxy = Proxy::before(&origin).await;
    let mut before = proxy.get("/a").begin().await;
    before.at_least(4).await;
    proxy.ask("POST", "/p").content("x").await.assert(200, "done");
    origin.on("/a", Answer::cacheable("new"));
    proxy.get("/a").await.assert(200, "new");
    gate.open();
    before.rest().await.assert(200, "still old");
    proxy.get("/a").await.assert(200, "new");
}
