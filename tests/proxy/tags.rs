//! Tags that an origin names: who gets their fields.

use crate::support::{Answer, Origin, Proxy};

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
