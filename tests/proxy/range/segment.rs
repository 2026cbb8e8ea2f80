//! Parts that are stored, served, completed and never mixed (RFC 9110 §15.3.7.3, RFC 9111 §3.3, §3.4).

use super::source::Source;
use crate::support::{Answer, End, Origin, Proxy, Reply};

const BODY: &str = "0123456789abcdefghij";

fn is_part(reply: &Reply, body: &str, range: &str) {
    reply.assert(206, body);
    assert_eq!(reply.field("content-range"), range);
    assert_eq!(reply.field("content-length"), body.len().to_string());
    assert_eq!(reply.field("etag"), "\"a\"");
}

async fn part(proxy: &Proxy, range: &str) -> Reply {
    proxy.get("/a").field("Range", range).await
}

/// One that goes upstream, and has been stored when this returns.
async fn filled(proxy: &Proxy, range: &str) -> Reply {
    proxy.filled_by(proxy.get("/a").field("Range", range)).await
}

#[tokio::test]
async fn a_part_is_stored_and_answers_for_what_lies_in_it() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    let first = filled(&proxy, "Bytes=5-14,").await;
    is_part(&first, "56789abcde", "bytes 5-14/20");
    assert_eq!(first.cache_status(), "dustgate; fwd=uri-miss; stored");
    assert_eq!(origin.last("/a").field("range"), "bytes=5-14");
    for (range, body, content_range) in [
        ("bytes=5-14", "56789abcde", "bytes 5-14/20"),
        ("bytes=6-9", "6789", "bytes 6-9/20"),
        ("bytes=14-14", "e", "bytes 14-14/20"),
    ] {
        let reply = part(&proxy, range).await;
        is_part(&reply, body, content_range);
        assert!(reply.is_hit(), "{range}: {reply:?}");
    }
    let outside = part(&proxy, "bytes=20-").await;
    assert_eq!((outside.status, outside.field("content-range")), (416, "bytes */20"));
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn the_end_of_a_body_is_known_by_its_total() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    is_part(&filled(&proxy, "bytes=-6").await, "efghij", "bytes 14-19/20");
    for (range, body) in
        [("bytes=-6", "efghij"), ("bytes=-2", "ij"), ("bytes=16-", "ghij"), ("bytes=14-99", "efghij")]
    {
        let reply = part(&proxy, range).await;
        reply.assert(206, body);
        assert!(reply.is_hit(), "{range}");
    }
    assert_eq!(origin.total(), 1);
    // What is before it is fetched, and then all is there.
    let whole = proxy.fill("/a").await;
    whole.assert(200, BODY);
    assert_eq!(origin.last("/a").field("range"), "bytes=0-13");
    let hit = proxy.get("/a").await;
    hit.assert(200, BODY);
    assert!(hit.is_hit() && origin.total() == 2, "{hit:?}");
}

#[tokio::test]
async fn the_rest_completes_a_beginning() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=0-7").await;
    let whole = proxy.fill("/a").await;
    whole.assert(200, BODY);
    assert_eq!(whole.field("content-length"), "20");
    assert!(!whole.fields.has("content-range"));
    assert_eq!(whole.cache_status(), "dustgate; fwd=partial; stored");
    let asked = origin.last("/a");
    assert_eq!((asked.field("range"), asked.field("if-range")), ("bytes=8-", "\"a\""));
    let hit = proxy.get("/a").await;
    hit.assert(200, BODY);
    assert!(hit.is_hit());
    is_part(&part(&proxy, "bytes=6-9").await, "6789", "bytes 6-9/20");
    let head = proxy.ask("HEAD", "/a").await;
    assert_eq!((head.status, head.field("content-length"), head.is_hit()), (200, "20", true));
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn parts_that_touch_or_overlap_become_one() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=5-9").await;
    for (range, body, fetched) in [
        ("bytes=8-12", "89abc", "bytes=10-12"),
        ("bytes=13-14", "de", "bytes=13-14"),
        ("bytes=2-6", "23456", "bytes=2-4"),
        ("bytes=0-1", "01", "bytes=0-1"),
        ("bytes=14-", "efghij", "bytes=15-"),
    ] {
        let reply = filled(&proxy, range).await;
        reply.assert(206, body);
        assert_eq!(reply.cache_status(), "dustgate; fwd=partial; stored", "{range}");
        assert_eq!(origin.last("/a").field("range"), fetched);
    }
    let whole = proxy.get("/a").await;
    whole.assert(200, BODY);
    assert!(whole.is_hit() && !whole.fields.has("content-range"), "{whole:?}");
    assert_eq!(origin.total(), 6);
}

#[tokio::test]
async fn of_parts_that_lie_apart_the_newer_stays() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=0-3").await;
    filled(&proxy, "bytes=10-13").await.assert(206, "abcd");
    assert!(part(&proxy, "bytes=11-12").await.is_hit());
    filled(&proxy, "bytes=0-3").await.assert(206, "0123");
    assert_eq!(origin.total(), 3);
    // One that has both is fetched whole.
    filled(&proxy, "bytes=0-5").await.assert(206, "012345");
    assert_eq!(origin.last("/a").field("range"), "bytes=4-5");
}

#[tokio::test]
async fn all_of_it_asked_for_as_a_range_is_the_whole() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    is_part(&filled(&proxy, "bytes=0-").await, BODY, "bytes 0-19/20");
    let whole = proxy.get("/a").await;
    whole.assert(200, BODY);
    assert!(whole.is_hit() && origin.total() == 1);
}

#[tokio::test]
async fn several_ranges_and_if_range_ask_for_the_whole() {
    for (fields, status) in [
        (&[("Range", "bytes=0-1,5-6")][..], 206),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"a\"")], 206),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"b\"")], 200),
    ] {
        let (origin, proxy) = Source::of(BODY).proxied().await;
        let ask = fields.iter().fold(proxy.get("/a"), |ask, (name, value)| ask.field(name, value));
        let reply = proxy.filled_by(ask).await;
        assert_eq!((reply.status, reply.end), (status, End::Clean), "{fields:?}");
        assert!(!origin.last("/a").fields.has("range") && !origin.last("/a").fields.has("if-range"));
        assert!(proxy.get("/a").await.is_hit());
        assert_eq!(origin.total(), 1);
    }
}

#[tokio::test]
async fn several_ranges_and_conditions_of_a_stored_part() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=4-15").await;
    let several = part(&proxy, "bytes=4-5,10-11").await;
    assert_eq!((several.status, several.end, several.is_hit()), (206, End::Clean, true));
    let text = several.text();
    assert!(
        text.contains("bytes 4-5/20\r\n\r\n45\r\n") && text.contains("bytes 10-11/20\r\n\r\nab\r\n"),
        "{text}"
    );
    let held = proxy.get("/a").field("Range", "bytes=4-5").field("If-Range", "\"a\"").await;
    assert!(held.is(206, "45") && held.is_hit(), "{held:?}");
    for method in ["GET", "HEAD"] {
        let same = proxy.ask(method, "/a").field("If-None-Match", "\"a\"").await;
        assert_eq!((same.status, same.is_hit()), (304, true), "{method}");
    }
    assert_eq!(origin.total(), 1);
    // What a HEAD is told is of the whole, and asked of the origin.
    let head = proxy.ask("HEAD", "/a").await;
    assert_eq!((head.status, head.field("content-length")), (200, "20"));
    assert_eq!((origin.total(), origin.last("/a").method.as_str()), (2, "HEAD"));
    assert!(part(&proxy, "bytes=4-5").await.is_hit());
}

#[tokio::test]
async fn a_stale_part_is_validated_or_completed_under_its_tag() {
    let source = Source::of(BODY);
    source.now(|version| version.cache = "max-age=0".into());
    let (origin, proxy) = source.proxied().await;
    filled(&proxy, "bytes=0-7").await;
    source.now(|version| version.cache = "max-age=60".into());
    let valid = filled(&proxy, "bytes=2-4").await;
    is_part(&valid, "234", "bytes 2-4/20");
    assert_eq!(valid.cache_status(), "dustgate; fwd=stale; fwd-status=304; stored");
    assert_eq!(origin.last("/a").field("if-none-match"), "\"a\"");
    assert!(part(&proxy, "bytes=0-7").await.is_hit());
    assert_eq!(origin.total(), 2);
    // A 206 of what is missing says as much of what is there.
    proxy.purge(&serde_json::json!({"url": "http://api.test/a", "soft": true})).await;
    filled(&proxy, "bytes=6-9").await.assert(206, "6789");
    assert_eq!(origin.last("/a").field("range"), "bytes=8-9");
    assert!(part(&proxy, "bytes=0-9").await.is_hit());
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn two_versions_are_never_mixed() {
    for (tag, asked, want) in [
        // Each as (what is asked for, what the client gets of the new version).
        ("\"b\"", None, "ABCDEFGHIJ0123456789"),
        ("W/\"a\"", None, "ABCDEFGHIJ0123456789"),
        ("\"b\"", Some("bytes=4-9"), "EFGHIJ"),
        ("W/\"a\"", Some("bytes=4-9"), "EFGHIJ"),
    ] {
        let source = Source::of(BODY);
        let (origin, proxy) = source.proxied().await;
        filled(&proxy, "bytes=0-5").await;
        source.now(|version| {
            (version.body, version.tag) = (b"ABCDEFGHIJ0123456789".to_vec(), tag.into());
        });
        let ask = proxy.get("/a");
        let reply = match asked {
            Some(range) => proxy.filled_by(ask.field("Range", range)).await,
            None => proxy.filled_by(ask).await,
        };
        assert!(reply.is(if asked.is_some() { 206 } else { 200 }, want), "{tag} {asked:?}: {reply:?}");
        assert_eq!(reply.field("etag"), tag);
        let again = part(&proxy, "bytes=5-6").await;
        again.assert(206, "FG");
        assert_eq!(again.field("etag"), tag);
        assert!(origin.total() <= 4, "{tag} {asked:?}: {:?}", origin.requests("/a"));
    }
}

#[tokio::test]
async fn a_part_that_is_not_what_it_should_be_is_not_stored() {
    let of = |range: &str| Answer::status(206).cache("max-age=60").field("Content-Range", range);
    for (what, answer, stays) in [
        ("no strong tag", of("bytes 2-5/20").field("ETag", "W/\"a\"").part("2345"), true),
        ("no tag", of("bytes 2-5/20").part("2345"), true),
        ("no total", of("bytes 2-5/*").field("ETag", "\"a\"").part("2345"), true),
        ("five of six bytes", of("bytes 2-7/20").field("ETag", "\"a\"").part("23456"), true),
        ("another range", of("bytes 0-3/20").field("ETag", "\"a\"").part("0123"), true),
        ("less", of("bytes 2-4/20").field("ETag", "\"a\"").part("234"), true),
        (
            "several parts",
            Answer::status(206)
                .cache("max-age=60")
                .field("ETag", "\"a\"")
                .field("Content-Type", "multipart/byteranges; boundary=x")
                .part("--x\r\nContent-Range: bytes 2-5/20\r\n\r\n2345\r\n--x--\r\n"),
            true,
        ),
        ("private", of("bytes 2-5/20").field("ETag", "\"a\"").cache("private").part("2345"), true),
        ("chunks that are too few", of("bytes 2-5/20").field("ETag", "\"a\"").part("234").chunked(), false),
        (
            "chunks that are too many",
            of("bytes 2-5/20").field("ETag", "\"a\"").part("23456").chunked(),
            false,
        ),
        ("broken off", of("bytes 2-5/20").field("ETag", "\"a\"").declaring(4).part("23").then_close(), false),
    ] {
        let origin = Origin::answering(answer).await;
        let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
        for n in 1..=2 {
            if stays {
                // What is only not to be stored goes to its client as it is.
                let reply = filled(&proxy, "bytes=2-5").await;
                assert_eq!((reply.status, reply.end), (206, End::Clean), "{what}: {reply:?}");
            } else {
                // Broken off after some of it, or another answer in place of none of it.
                let reply = proxy.get("/a").field("Range", "bytes=2-5").await;
                let said = (reply.status, reply.end);
                assert!(matches!(said, (206, End::Broken) | (502, End::Clean)), "{what}: {reply:?}");
                let truncated = [("outcome", "truncated")];
                proxy.until_metric("dustgate_fills_total", &truncated, |count| count == n as f64).await;
            }
            assert_eq!(origin.total(), n, "{what} was stored");
        }
    }
}

#[tokio::test]
async fn what_refuses_a_range_is_passed_and_not_stored() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.field("range") {
        "" => Answer::cacheable(BODY),
        "bytes=90-" => Answer::status(416).cache("max-age=60").field("Content-Range", "bytes */20"),
        _ => Answer::status(400).cache("max-age=60").part("no"),
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    for n in 1..=2 {
        let reply = part(&proxy, "bytes=90-").await;
        assert_eq!((reply.status, reply.field("content-range")), (416, "bytes */20"));
        part(&proxy, "bytes=2-4").await.assert(400, "no");
        assert_eq!(origin.total(), 2 * n);
    }
    proxy.get("/a").await.assert(200, BODY);
}

#[tokio::test]
async fn a_rest_that_is_refused_or_fails_is_asked_for_as_the_whole_or_once() {
    for (status, fetches, want) in [(403, 3, 200), (503, 2, 503)] {
        let origin = Origin::start().await;
        origin.on_each("/a", move |seen| match seen.field("range") {
            "" => Answer::cacheable(BODY).field("ETag", "\"a\""),
            "bytes=0-5" => Answer::status(206)
                .cache("max-age=60")
                .field("ETag", "\"a\"")
                .field("Content-Range", "bytes 0-5/20")
                .part("012345"),
            _ => Answer::status(status).cache("max-age=60, no-store"),
        });
        let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
        filled(&proxy, "bytes=0-5").await;
        assert_eq!(proxy.fill("/a").await.status, want);
        assert_eq!(origin.total(), fetches, "{status}");
    }
}

#[tokio::test]
async fn an_origin_without_ranges_gives_the_whole() {
    let origin = Origin::answering(Answer::cacheable(BODY)).await;
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    filled(&proxy, "bytes=2-4").await.assert(206, "234");
    assert_eq!(origin.last("/a").field("range"), "bytes=2-4");
    let whole = proxy.get("/a").await;
    whole.assert(200, BODY);
    assert!(whole.is_hit() && origin.total() == 1);
}

#[tokio::test]
async fn that_a_range_is_not_to_be_shared_is_remembered_for_nobody() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.field("range") {
        "" => Answer::cacheable(BODY),
        _ => Answer::status(206)
            .cache("no-store")
            .field("ETag", "\"a\"")
            .field("Content-Range", "bytes 2-4/20")
            .part("234"),
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    filled(&proxy, "bytes=2-4").await.assert(206, "234");
    proxy.fill("/a").await.assert(200, BODY);
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_part_counts_by_its_own_length() {
    let source = Source::of(BODY);
    let origin = source.origin().await;
    let proxy = Proxy::before(&origin).route("range = \"segment\"").route("max_object_size = \"10B\"").await;
    filled(&proxy, "bytes=0-5").await.assert(206, "012345");
    filled(&proxy, "bytes=4-9").await.assert(206, "456789");
    assert_eq!(origin.last("/a").field("range"), "bytes=6-9");
    assert!(part(&proxy, "bytes=0-9").await.is_hit());
    // More than that is another part, and the whole is too large.
    filled(&proxy, "bytes=8-12").await.assert(206, "89abc");
    assert_eq!(origin.last("/a").field("range"), "bytes=8-12");
    proxy.get("/a").await.assert(200, BODY);
    assert!(part(&proxy, "bytes=8-12").await.is_hit());
}

#[tokio::test]
async fn a_purge_takes_parts_like_anything_else() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=0-5").await;
    proxy.purge_url("/a").await;
    filled(&proxy, "bytes=4-9").await.assert(206, "456789");
    assert_eq!(origin.last("/a").field("range"), "bytes=4-9");
    // The joined one has bytes from before a purge of the second.
    filled(&proxy, "bytes=10-12").await.assert(206, "abc");
    proxy.ask("POST", "/a").content("x").await;
    filled(&proxy, "bytes=4-5").await.assert(206, "45");
    assert_eq!(origin.last("/a").field("range"), "bytes=4-5");
}

#[tokio::test]
async fn parts_outlive_the_process() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=0-5").await;
    let proxy = proxy.restart().await;
    // Memory is empty: a fill finds it in the store.
    is_part(&part(&proxy, "bytes=2-4").await, "234", "bytes 2-4/20");
    assert!(part(&proxy, "bytes=0-5").await.is_hit());
    assert_eq!(origin.total(), 1);
    let proxy = proxy.restart().await;
    proxy.fill("/a").await.assert(200, BODY);
    assert_eq!(origin.last("/a").field("range"), "bytes=6-");
    let proxy = proxy.restart().await;
    proxy.get("/a").await.assert(200, BODY);
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn where_the_route_changes_parts_stay_parts() {
    let (origin, proxy) = Source::of(BODY).proxied().await;
    filled(&proxy, "bytes=0-5").await;
    let proxy = proxy.restart_with("range = \"segment\"", "range = \"fill\"").await;
    is_part(&part(&proxy, "bytes=2-4").await, "234", "bytes 2-4/20");
    assert_eq!(origin.total(), 1);
    proxy.fill("/a").await.assert(200, BODY);
    assert!(!origin.last("/a").fields.has("range"));
}

#[tokio::test]
async fn a_stale_part_is_served_for_a_failing_origin_where_it_has_what_is_asked() {
    let source = Source::of(BODY);
    source.now(|version| version.cache = "max-age=0, stale-if-error=60".into());
    let (mut origin, proxy) = source.proxied().await;
    filled(&proxy, "bytes=0-5").await;
    origin.refuse().await;
    // Connections that are open stay so: they fail too.
    origin.on("/a", Answer::reset());
    is_part(&part(&proxy, "bytes=2-4").await, "234", "bytes 2-4/20");
    for range in ["bytes=2-8", "bytes=8-9"] {
        part(&proxy, range).await.assert_error(502);
    }
    proxy.get("/a").await.assert_error(502);
}

#[tokio::test]
async fn variants_have_parts_of_their_own() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let body = if seen.field("accept") == "text/a" { BODY } else { "ABCDEFGHIJKLMNOPQRST" };
        let answer = |status| {
            let tag = format!("\"{}\"", &body[..1]);
            Answer::status(status).cache("max-age=60").field("ETag", &tag).field("Vary", "Accept")
        };
        match seen.field("range") {
            "" => answer(200).part(body),
            "bytes=0-5" => answer(206).field("Content-Range", "bytes 0-5/20").part(&body[..6]),
            "bytes=6-" => answer(206).field("Content-Range", "bytes 6-19/20").part(&body[6..]),
            other => panic!("{other}"),
        }
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    for (accept, first, whole) in [("text/a", "012345", BODY), ("text/b", "ABCDEF", "ABCDEFGHIJKLMNOPQRST")] {
        let get = || proxy.get("/a").field("Accept", accept);
        proxy.filled_by(get().field("Range", "bytes=0-5")).await.assert(206, first);
        assert!(get().field("Range", "bytes=0-5").await.is_hit());
        proxy.filled_by(get()).await.assert(200, whole);
        assert_eq!(origin.last("/a").field("range"), "bytes=6-");
        assert!(get().await.is_hit());
    }
    assert_eq!(origin.total(), 4);
}

#[tokio::test]
async fn several_parts_are_never_joined_though_they_name_one() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let answer = |status| Answer::status(status).cache("max-age=60").field("ETag", "\"a\"");
        match seen.field("range") {
            "bytes=0-9" => answer(206).field("Content-Range", "bytes 0-9/20").part(&BODY[..10]),
            "bytes=10-" => answer(206)
                .field("Content-Range", "bytes 10-19/20")
                .field("Content-Type", "multipart/byteranges; boundary=x")
                .part("--x--\r\n\r\n-"),
            _ => answer(200).part(BODY),
        }
    });
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    filled(&proxy, "bytes=0-9").await.assert(206, &BODY[..10]);
    proxy.fill("/a").await.assert(200, BODY);
    assert_eq!(origin.total(), 3);
}
