//! Clients that have it already.

use crate::support::{Answer, Origin, Proxy};

const DATE: &str = "Mon, 02 Nov 2026 10:00:00 GMT";
const BEFORE: &str = "Mon, 02 Nov 2026 09:00:00 GMT";
const AFTER: &str = "Mon, 02 Nov 2026 11:00:00 GMT";

/// Fields of a request, and whether it has what is stored.
const ASKED: &[(&[(&str, &str)], bool)] = &[
    (&[("If-None-Match", "\"a\"")], true),
    (&[("If-None-Match", "W/\"a\"")], true),
    (&[("If-None-Match", "\"x\", \"a\"")], true),
    (&[("If-None-Match", "\"x\""), ("If-None-Match", "\"a\"")], true),
    (&[("If-None-Match", "*")], true),
    (&[("If-None-Match", "\"b\"")], false),
    (&[("If-None-Match", "a")], false),
    (&[("If-None-Match", "\"b\""), ("If-Modified-Since", AFTER)], false),
    (&[("If-None-Match", "\"a\""), ("If-Modified-Since", BEFORE)], true),
    (&[("If-Modified-Since", DATE)], true),
    (&[("If-Modified-Since", AFTER)], true),
    (&[("If-Modified-Since", BEFORE)], false),
    (&[("If-Modified-Since", "yesterday")], false),
];

#[tokio::test]
async fn who_has_it_is_told_so() {
    let answer = Answer::cacheable("hello")
        .field("ETag", "\"a\"")
        .field("Last-Modified", DATE)
        .field("Content-Location", "/a.txt")
        .field("Vary", "Accept");
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    let get = |fields: &[(&str, &str)], path: &str| {
        fields.iter().fold(proxy.get(path), |ask, (name, value)| ask.field(name, value))
    };
    proxy.fill("/a").await.assert(200, "hello");
    for (n, (fields, has_it)) in ASKED.iter().enumerate() {
        let hit = get(fields, "/a").await;
        // A miss is fetched whole for everybody, and then answered alike.
        let miss = get(fields, &format!("/miss/{n}")).await;
        for reply in [hit, miss] {
            if *has_it {
                assert_eq!((reply.status, reply.body.len()), (304, 0), "{fields:?}: {:?}", reply.fields);
                for name in ["etag", "cache-control", "date", "content-location", "vary", "cache-status"] {
                    assert!(reply.fields.has(name), "no {name} for {fields:?}: {:?}", reply.fields);
                }
            } else {
                reply.assert(200, "hello");
            }
        }
    }
    assert_eq!(origin.total(), ASKED.len() + 1);
}

#[tokio::test]
async fn only_a_200_can_be_had_already() {
    let origin =
        Origin::answering(Answer::status(404).cache("max-age=60").field("ETag", "\"a\"").part("no")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.get("/a").field("If-None-Match", "\"a\"").await.assert(404, "no");
}

#[tokio::test]
async fn head_may_have_it_too() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    assert_eq!(proxy.ask("HEAD", "/a").field("If-None-Match", "\"a\"").await.status, 304);
}

#[tokio::test]
async fn other_preconditions_are_the_origins_to_judge() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for (name, value) in [("If-Match", "\"b\""), ("If-Unmodified-Since", BEFORE)] {
        origin.on("/a", Answer::status(412).part("no"));
        proxy.get("/a").field(name, value).await.assert(412, "no");
        assert_eq!(origin.last("/a").field(name), value);
    }
    proxy.get("/a").await.assert(200, "hello");
}

/// Many origins send one without quotes, and compare it as it stands.
#[tokio::test]
async fn a_tag_without_quotes_is_compared_as_the_text_that_it_is() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "abc-1")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for (asked, status) in [
        ("abc-1", 304),
        ("\"abc-1\"", 304),
        ("W/\"abc-1\"", 304),
        ("\"x\", abc-1", 304),
        ("abc-2", 200),
        ("\"abc\"", 200),
    ] {
        let reply = proxy.get("/a").field("If-None-Match", asked).await;
        assert_eq!((reply.status, reply.field("etag")), (status, "abc-1"), "{asked}");
    }
    // It says nothing of bytes.
    let part = proxy.get("/a").field("Range", "bytes=0-1").field("If-Range", "abc-1").await;
    part.assert(200, "hello");
    assert_eq!(origin.count("/a"), 1);
}
