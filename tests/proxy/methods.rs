//! Everything that is not a GET that may be stored passes through, streamed both ways.

use crate::support::{Answer, End, Gate, Origin, Proxy, Reply, all};

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a\"")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let head = proxy.ask("HEAD", "/a").await;
    assert_eq!((head.status, head.body.len(), head.field("content-length")), (200, 0, "5"));
    assert!(head.is_hit());
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn head_passes_as_head_and_never_leads() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for n in 1..=2 {
        let head = proxy.ask("HEAD", "/a").await;
        assert_eq!((head.status, head.field("content-length")), (200, "5"));
        assert_eq!((origin.count("/a"), origin.last("/a").method.as_str()), (n, "HEAD"));
    }
    assert!(!proxy.get("/a").await.is_hit());
}

/// Ten of them at once, and what they bring.
async fn heads(proxy: &Proxy, gate: &Gate, many: usize) -> Vec<Reply> {
    let asks = (0..many).map(|_| proxy.ask("HEAD", "/a").send());
    let (replies, ()) = tokio::join!(all(asks), async {
        proxy.until_followers(many - 1).await;
        gate.open();
    });
    replies
}

#[tokio::test]
async fn heads_that_ask_the_same_share_one_exchange() {
    for (answer, exchanges) in [
        (Answer::cacheable("hello").field("ETag", "\"a\""), 1),
        // As of a GET: who came while it was under way has the next one, together.
        (Answer::ok("hello").cache("no-cache").field("ETag", "\"a\""), 2),
        (Answer::status(404), 1),
        (Answer::status(503), 1),
    ] {
        let gate = Gate::shut();
        let origin = Origin::answering(answer.held_by(&gate)).await;
        let proxy = Proxy::before(&origin).await;
        let replies = heads(&proxy, &gate, 10).await;
        let made = origin.count("/a");
        assert!(made <= exchanges, "{made} exchanges");
        for reply in &replies {
            let first = &replies[0];
            assert_eq!((reply.status, reply.field("etag")), (first.status, first.field("etag")));
            assert_eq!(reply.field("content-length"), first.field("content-length"));
            assert!(reply.body.is_empty());
        }
        let shared = |reply: &&Reply| reply.cache_status().ends_with("collapsed; detail=awaited");
        assert_eq!(replies.iter().filter(shared).count(), 10 - made, "{:?}", replies[0].fields);
    }
}

#[tokio::test]
async fn heads_share_nothing_that_is_for_one_client_and_nothing_with_who_asks_otherwise() {
    let (first, others, origin) = crate::credentials::a_session_each().await;
    let proxy = Proxy::before(&origin).await;
    others.open();
    let replies = heads(&proxy, &first, 10).await;
    let cookies: std::collections::HashSet<_> =
        replies.iter().map(|reply| reply.field("set-cookie")).collect();
    assert_eq!((cookies.len(), origin.count("/a")), (10, 10));

    let gate = Gate::shut();
    origin.on("/b", Answer::cacheable("hello").held_by(&gate));
    let asks =
        [("X-A", "1"), ("X-A", "2"), ("Authorization", "me"), ("If-None-Match", "\"b\""), ("X-A", "1")];
    let asked =
        all(asks.iter().map(|(name, value)| proxy.ask("HEAD", "/b").field(name, value).asked())).await;
    gate.reached_by(4).await;
    proxy.until_followers(1).await;
    gate.open();
    for asked in asked {
        assert_eq!(asked.head().await.expect("an answer").status, 200);
    }
    assert_eq!(origin.count("/b"), 4);
}

#[tokio::test]
async fn a_head_that_leaves_takes_the_exchange_from_nobody() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let first = proxy.ask("HEAD", "/a").asked().await;
    gate.reached_by(1).await;
    let second = proxy.ask("HEAD", "/a").asked().await;
    proxy.until_followers(1).await;
    // By a reset: one that merely closes may still be there.
    first.reset();
    proxy.logged(1, "/a").await;
    gate.open();
    assert_eq!(second.head().await.expect("an answer").status, 200);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_head_after_a_purge_rides_nothing_that_was_asked_before_it() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let held = gate.clone();
    origin.on_each("/a", move |seen| {
        let answer = Answer::cacheable("hello").field("X-Own", &seen.nth.to_string());
        if seen.nth == 1 { answer.held_by(&held) } else { answer }
    });
    let proxy = Proxy::before(&origin).await;
    let before = proxy.ask("HEAD", "/a").asked().await;
    gate.reached_by(1).await;
    proxy.purge_url("/a").await;
    let after = proxy.ask("HEAD", "/a").asked().await;
    proxy.until_followers(1).await;
    gate.open();
    assert_eq!(before.head().await.expect("an answer").rest().await.field("x-own"), "1");
    assert_eq!(after.head().await.expect("an answer").rest().await.field("x-own"), "2");
}

/// nginx codes a GET on the fly, and describes the file to a HEAD.
#[tokio::test]
async fn a_head_of_what_is_coded_on_the_fly_says_nothing_of_the_stored_get() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match seen.method.as_str() {
        "HEAD" => Answer::cacheable("a longer text").field("ETag", "\"a\""),
        _ => Answer::cacheable("coded").field("ETag", "W/\"a\"").field("Content-Encoding", "gzip"),
    });
    let proxy = Proxy::before(&origin).route("client_cache_control = \"honour\"").await;
    let gzip = |method: &str| proxy.ask(method, "/a").field("Accept-Encoding", "gzip");
    proxy.filled_by(gzip("GET")).await.assert(200, "coded");
    // The client wants the origin's word.
    assert_eq!(gzip("HEAD").field("Cache-Control", "no-cache").await.field("etag"), "\"a\"");
    assert_eq!(origin.last("/a").method, "HEAD");
    let reply = gzip("GET").await;
    reply.assert(200, "coded");
    assert!(reply.is_hit(), "{reply:?}");
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_head() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send([proxy.ask("HEAD", "/a").bytes(), proxy.get("/b").bytes()].concat()).await;
    let head = conn.reading(true).await.expect("an answer");
    assert_eq!(head.status, 200);
    let (reply, _) = head.into_conn().reply().await.expect("the next answer");
    reply.assert(200, "hello");
}

#[tokio::test]
async fn others_pass_with_what_they_carry() {
    let origin = Origin::start().await;
    origin
        .on_each("*", |seen| Answer::status(201).part(format!("{} of {}", seen.method, seen.content.len())));
    let proxy = Proxy::before(&origin).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "LOCK", "M-SEARCH"] {
        let reply = proxy.ask(method, "/a").content("content").await;
        reply.assert(201, &format!("{method} of 7"));
        assert_eq!(origin.last("/a").content, b"content");
        assert!(reply.cache_status().starts_with("dustgate; fwd=method"), "{method}: {:?}", reply.fields);
    }
    proxy.ask("DELETE", "/a").await.assert(201, "DELETE of 0");
    let line = proxy.logged(1, "/a").await.remove(0);
    assert_eq!((&line["cache"], &line["bytes_in"]), (&"pass".into(), &7.into()), "{line}");
}

#[tokio::test]
async fn an_unsafe_method_drops_what_is_stored() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "UNKNOWN", "PROPPATCH", "LOCK", "MKCOL", "MOVE"] {
        let origin = Origin::answering(Answer::cacheable("hello")).await;
        let proxy = Proxy::before(&origin).await;
        proxy.fill("/a").await;
        proxy.fill("/b").await;
        proxy.ask(method, "/a").content("x").await;
        assert!(!proxy.get("/a").await.is_hit(), "{method}");
        assert!(proxy.get("/b").await.is_hit(), "{method}: not its URL");
    }
}

#[tokio::test]
async fn a_safe_method_drops_nothing() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for method in ["OPTIONS", "HEAD", "PROPFIND", "REPORT", "SEARCH", "QUERY"] {
        proxy.ask(method, "/a").content("x").await;
        assert!(proxy.get("/a").await.is_hit(), "{method}");
    }
}

/// A GET that is stale at once, and what a HEAD is answered.
async fn stale_with_head(head: Answer) -> Origin {
    let origin = Origin::start().await;
    origin.on_each("/a", move |seen| match seen.method.as_str() {
        "HEAD" => head.clone(),
        _ => Answer::ok("hello")
            .cache("max-age=10")
            .field("Age", "20")
            .field("ETag", "\"a\"")
            .field("X-Own", "1"),
    });
    origin
}

#[tokio::test]
async fn what_a_head_says_of_the_stored_get_outlives_a_restart() {
    let head = Answer::cacheable("hello").field("ETag", "\"a\"").field("X-Own", "2");
    let origin = stale_with_head(head).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.ask("HEAD", "/a").await;
    let updated = async |proxy: &Proxy| {
        let reply = proxy.get("/a").await;
        reply.assert(200, "hello");
        reply.assert_hit_for(60);
        assert_eq!(reply.field("x-own"), "2");
    };
    updated(&proxy).await;
    let proxy = proxy.restart().await;
    updated(&proxy).await;
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_head_of_something_else_makes_the_stored_get_stale() {
    let head = Answer::cacheable("other").field("ETag", "\"b\"");
    let origin = stale_with_head(head).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.ask("HEAD", "/a").await;
    proxy.get("/a").await.assert(200, "hello");
    assert_eq!(origin.last("/a").field("if-none-match"), "\"a\"", "validated");
    assert_eq!(origin.count("/a"), 3);
}

/// That it is as long proves nothing: it would be fresh for ever.
#[tokio::test]
async fn a_head_that_carries_no_validator_refreshes_nothing() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| match (seen.method.as_str(), seen.nth) {
        ("HEAD", _) => Answer::cacheable("newer"),
        (_, 1) => Answer::ok("older").cache("max-age=10").field("Age", "20"),
        _ => Answer::cacheable("newer"),
    });
    let proxy = Proxy::before(&origin).route("keep = \"1h\"").await;
    proxy.fill("/a").await;
    assert_eq!(proxy.ask("HEAD", "/a").await.status, 200);
    proxy.get("/a").await.assert(200, "newer");
}

#[tokio::test]
async fn an_unsafe_method_drops_what_it_names() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).upstream("host = \"client\"").await;
    for path in ["/by-location", "/by-content-location", "/relative", "/elsewhere", "/failed"] {
        proxy.fill(path).await;
    }
    let location = |value: &str| Answer::status(201).field("Location", value);
    origin
        .on("/1", location("http://api.test/by-location").field("Content-Location", "/by-content-location"));
    origin.on("/2", location("relative"));
    origin.on("/3", location("http://other.test/elsewhere"));
    origin.on("/4", Answer::status(500).field("Location", "/failed"));
    for path in ["/1", "/2", "/3", "/4"] {
        proxy.ask("POST", path).content("x").await;
    }
    for (path, kept) in [
        ("/by-location", false),
        ("/by-content-location", false),
        ("/relative", false),
        ("/elsewhere", true),
        ("/failed", true),
    ] {
        assert_eq!(proxy.get(path).await.is_hit(), kept, "{path}");
    }
}

#[tokio::test]
async fn an_unsafe_method_beats_a_fill_in_flight() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("old").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let before = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    origin.on_each("/a", |seen| Answer::cacheable(if seen.method == "POST" { "posted" } else { "new" }));
    proxy.ask("POST", "/a").content("x").await.assert(200, "posted");
    // Who comes after it never gets what was asked for before it, though that is still coming.
    proxy.get("/a").await.assert(200, "new");
    gate.open();
    // Who came before it may have either, whole.
    let before = before.head().await.expect("an answer").rest().await;
    assert!(before.is(200, "old") || before.is(200, "new"), "{before:?}");
    proxy.get("/a").await.assert(200, "new");
}

#[tokio::test]
async fn a_large_upload_is_streamed() {
    const LEN: usize = 4 << 20;
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send(format!("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: {LEN}\r\n\r\n")).await;
    conn.send(vec![b'x'; LEN / 2]).await;
    // The first half is there before the second is sent.
    origin.uploaded("/a", LEN / 2).await;
    conn.send(vec![b'y'; LEN / 2]).await;
    conn.last_reply().await.expect("an answer").assert(200, "thanks");
    let seen = origin.last("/a");
    assert_eq!(seen.content.len(), LEN);
    assert_eq!(seen.field("content-length"), LEN.to_string());
}

#[tokio::test]
async fn a_chunked_upload_is_streamed() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    origin.uploaded("/a", 3).await;
    conn.send("3\r\ntwo\r\n0\r\n\r\n").await;
    conn.last_reply().await.expect("an answer").assert(200, "thanks");
    assert_eq!(origin.last("/a").content, b"onetwo");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_request() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\n\r\nhalf").await;
    origin.uploaded("/a", 4).await;
    drop(conn);
    // The origin is told by a break, and never that four bytes were all.
    origin.left_by(1).await;
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn who_expects_100_continue_gets_it() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(conn.interim().await, "HTTP/1.1 100 Continue");
    conn.send("hello").await;
    conn.last_reply().await.expect("an answer").assert(200, "thanks");
    assert_eq!(origin.last("/a").content, b"hello");
}

#[tokio::test]
async fn who_is_refused_is_not_asked_to_go_on() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).route("host = \"other.test\"").await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(conn.interim().await, "HTTP/1.1 421 Misdirected Request");
}

#[tokio::test]
async fn an_answer_may_come_before_the_content_has_gone() {
    let origin = Origin::start().await;
    origin.on_early("/a", Answer::status(413).part("too much").then_silence());
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000\r\n\r\nx").await;
    conn.last_reply().await.expect("an answer").assert(413, "too much");
}

#[tokio::test]
async fn an_endless_stream_of_events_passes_as_it_comes() {
    let gate = Gate::shut();
    let events = Answer::status(200).field("Content-Type", "text/event-stream").chunked();
    let origin =
        Origin::answering(events.part("data: 1\n\n").gate(&gate).part("data: 2\n\n").then_silence()).await;
    let proxy = Proxy::before(&origin).await;
    let mut one = proxy.get("/a").begin().await;
    assert_eq!(one.at_least(9).await, b"data: 1\n\n");
    // Nobody waits for its end.
    let mut other = proxy.get("/a").begin().await;
    assert_eq!(other.at_least(9).await, b"data: 1\n\n");
    gate.open();
    assert_eq!(one.at_least(9).await, b"data: 2\n\n");
    assert_eq!(other.at_least(9).await, b"data: 2\n\n");
    assert_eq!(origin.count("/a"), 2);
    // And the origin learns when nobody listens any more.
    one.into_conn().reset();
    other.into_conn().reset();
    origin.left_by(2).await;
}

#[tokio::test]
async fn the_answer_to_a_post_is_streamed() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("one,").gate(&gate).part("two").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut reading = proxy.ask("POST", "/a").content("x").begin().await;
    assert_eq!(reading.at_least(4).await, b"one,");
    gate.open();
    let rest = reading.rest().await;
    assert_eq!((rest.text(), rest.end), ("two", End::Clean));
}

#[tokio::test]
async fn posts_do_not_wait_for_each_other() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::ok("thanks").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let asks = (0..20).map(|_| proxy.ask("POST", "/a").content("x").send());
    let (replies, ()) = tokio::join!(crate::support::all(asks), async {
        gate.reached_by(20).await;
        gate.open();
    });
    replies.iter().for_each(|reply| reply.assert(200, "thanks"));
}

#[tokio::test]
async fn a_get_with_content_or_an_override_passes() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.get("/a").content("x").await;
    assert_eq!(origin.last("/a").content, b"x");
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let reply = proxy.get("/a").field(name, "DELETE").await;
        assert!(!reply.is_hit(), "{name}");
        assert_eq!(origin.last("/a").field(name), "DELETE");
    }
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let origin = Origin::answering(Answer::cacheable("never")).await;
    origin.on("/a", Answer::status(302).field("Location", "/b"));
    let proxy = Proxy::before(&origin).await;
    let reply = proxy.get("/a").await;
    assert_eq!((reply.status, reply.field("location")), (302, "/b"));
    assert_eq!(origin.count("/b"), 0);
}

#[tokio::test]
async fn codings_are_left_alone() {
    let origin =
        Origin::answering(Answer::cacheable("not really gzip").field("Content-Encoding", "gzip")).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..2 {
        let reply = proxy.get("/a").field("Accept-Encoding", "gzip").await;
        reply.assert(200, "not really gzip");
        assert_eq!(reply.field("content-encoding"), "gzip");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn what_a_post_says_a_get_would_get_is_stored() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| Answer::cacheable(seen.method.clone()).field("Content-Location", "/a"));
    let proxy = Proxy::before(&origin).upstream("host = \"client\"").await;
    proxy.ask("POST", "/a").content("x").await.assert(200, "POST");
    proxy.until_metric("dustgate_memory_objects", &[], |n| n >= 1.0).await;
    let hit = proxy.get("/a").await;
    hit.assert(200, "POST");
    assert!(hit.is_hit());
    // Not what showed credentials, nor what says nothing of where it is.
    proxy.ask("POST", "/a").field("Authorization", "x").content("x").await.assert(200, "POST");
    proxy.get("/a").await.assert(200, "GET");
    // Nor what asked for another method.
    for name in ["X-HTTP-Method-Override", "X_HTTP_Method_Override"] {
        proxy.ask("POST", "/a").field(name, "REPORT").content("x").await.assert(200, "POST");
        proxy.get("/a").await.assert(200, "GET");
    }
}

#[tokio::test]
async fn no_offer_of_an_upgrade_reaches_the_origin() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for token in ["TLS/1.2", "h2c"] {
        let ask = proxy.get("/a").field("Connection", "Upgrade, HTTP2-Settings").field("Upgrade", token);
        ask.field("HTTP2-Settings", "AAMAAABk").await.assert(200, "hello");
        let seen = origin.last("/a");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(!seen.fields.has(name), "{name} in {seen:?}");
        }
    }
}
