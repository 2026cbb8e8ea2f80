//! What a request that is not a plain GET does to what is stored, and what not.

use crate::support::{Answer, Gate, Origin, Proxy};

#[tokio::test]
async fn a_head_for_one_client_tells_nothing_of_what_is_stored() {
    let tagged = |tag: &str| Answer::cacheable("hello").field("ETag", &format!("\"{tag}\""));
    for setting in ["cookies = \"pass\"", "cookies = \"guard\""] {
        let origin = Origin::answering(tagged("public")).await;
        let proxy = Proxy::before(&origin).route(setting).await;
        proxy.fill("/a").await;
        origin.on("/a", tagged("private").field("X-Own", "private"));
        for fields in
            [&[("Authorization", "x"), ("If-Match", "*")][..], &[("Cookie", "a=b"), ("If-Match", "*")]]
        {
            let head =
                fields.iter().fold(proxy.ask("HEAD", "/a"), |ask, (name, value)| ask.field(name, value));
            assert_eq!(head.await.field("x-own"), "private", "passed");
            let reply = proxy.get("/a").await;
            assert!(reply.is_hit(), "{setting} {fields:?}");
            assert_eq!(
                (reply.field("etag"), reply.field("x-own")),
                ("\"public\"", ""),
                "{setting} {fields:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unsafe_method_drops_what_a_get_has_stored_whatever_its_own_route_stores() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let posts = "[[routes]]\nname = \"posts\"\npath = \"/*\"\nmethods = [\"POST\"]\nupstream = \"origin\"\ncache = false";
    let proxy = Proxy::before(&origin).route("query = { exclude = [\"utm_*\"] }").more(posts).await;
    proxy.fill("/a?b=1").await;
    proxy.ask("POST", "/a?b=1&utm_source=x").content("x").await.assert(200, "hello");
    assert_eq!(proxy.logged(2, "/a").await[1]["route"], "posts");
    assert!(!proxy.get("/a?b=1").await.is_hit());
}

#[tokio::test]
async fn what_the_origin_names_in_its_own_words_is_dropped_too() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("path = \"/v1/*\"").route("strip_prefix = \"/v1\"").await;
    for path in ["/v1/absolute", "/v1/relative", "/v1/ours", "/v1/other"] {
        proxy.fill(path).await;
    }
    let named = |location: &str, content: &str| {
        Answer::status(201).field("Location", location).field("Content-Location", content)
    };
    origin.on("/1", named(&format!("http://{}/absolute", origin.at), "/relative"));
    origin.on("/2", named("http://api.test/v1/ours", "http://elsewhere.test/other"));
    for path in ["/v1/1", "/v1/2"] {
        assert_eq!(proxy.ask("POST", path).content("x").await.status, 201);
    }
    for (path, kept) in
        [("/v1/absolute", false), ("/v1/relative", false), ("/v1/ours", false), ("/v1/other", true)]
    {
        assert_eq!(proxy.get(path).await.is_hit(), kept, "{path}");
    }
}

/// RFC 4918 §10.3.
#[tokio::test]
async fn a_copy_or_move_drops_what_it_writes_to() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("path = \"/v1/*\"").route("strip_prefix = \"/v1\"").await;
    for method in ["COPY", "MOVE"] {
        for (nth, (there, status, kept)) in [
            ("http://api.test/v1/PATH", 201, false),
            ("https://api.test/v1/PATH", 204, false),
            ("/v1/PATH", 201, false),
            (&*format!("http://{}/PATH", origin.at), 201, false),
            ("http://other.test/v1/PATH", 201, true),
            ("http://api.test:81/v1/PATH", 201, true),
            ("/v1/PATH", 412, true),
        ]
        .into_iter()
        .enumerate()
        {
            let path = format!("{method}-{nth}");
            proxy.fill(&format!("/v1/{path}")).await;
            origin.on("/source", Answer::status(status));
            let ask = proxy.ask(method, "/v1/source").field("Destination", &there.replace("PATH", &path));
            assert_eq!(ask.await.status, status);
            assert_eq!(proxy.get(&format!("/v1/{path}")).await.is_hit(), kept, "{method} {there} {status}");
        }
    }
    // No other method writes there, whatever its request says.
    proxy.fill("/v1/a").await;
    origin.on("/source", Answer::status(204));
    proxy.ask("POST", "/v1/source").field("Destination", "/v1/a").content("x").await;
    assert!(proxy.get("/v1/a").await.is_hit());
    // Without an answer it may have been done.
    origin.on("/source", Answer::reset());
    proxy.ask("MOVE", "/v1/source").field("Destination", "/v1/a").await.assert_error(502);
    crate::support::until("the old one to be gone", async || {
        (!proxy.get("/v1/a").await.is_hit()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unsafe_method_leaves_nothing_where_nothing_is_stored() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let stamps = async || proxy.metrics().await.sum("dustgate_purges_total", &[("kind", "unsafe")]);
    for n in 0..20 {
        proxy.ask("POST", &format!("/{n}")).content("x").await.assert(200, "hello");
    }
    assert_eq!(stamps().await, 0.0);
    // What only the store remembers counts.
    proxy.fill("/a").await;
    let proxy = proxy.restart().await;
    proxy.ask("POST", "/a").content("x").await.assert(200, "hello");
    assert_eq!(proxy.metrics().await.sum("dustgate_purges_total", &[("kind", "unsafe")]), 1.0);
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn an_unsafe_method_that_was_refused_leaves_everything_as_it_is() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for status in [401, 403, 405, 500] {
        origin.on("/a", Answer::status(status).part("no"));
        assert_eq!(proxy.ask("POST", "/a").content("x").await.status, status);
        let reply = proxy.get("/a").await;
        assert!(reply.is_hit(), "{status}");
        reply.assert(200, "hello");
    }
}

#[tokio::test]
async fn an_unsafe_method_without_an_answer_may_have_been_done() {
    let origin = Origin::answering(Answer::cacheable("old")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    origin
        .on_each("/a", |seen| if seen.method == "POST" { Answer::reset() } else { Answer::cacheable("new") });
    proxy.ask("POST", "/a").content("x").await.assert_error(502);
    let reply = crate::support::until("the old one to be gone", async || {
        let reply = proxy.get("/a").await;
        (!reply.is_hit()).then_some(reply)
    })
    .await;
    reply.assert(200, "new");
}

#[tokio::test]
async fn an_unsafe_method_beats_a_fill_that_began_while_it_was_under_way() {
    let (posted, filled) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let (post, fill) = (posted.clone(), filled.clone());
    origin.on_each("/a", move |seen| match (seen.method.as_str(), seen.nth) {
        ("POST", _) => Answer::ok("done").held_by(&post),
        (_, 2) => Answer::cacheable("old").held_by(&fill),
        _ => Answer::cacheable("new"),
    });
    let proxy = Proxy::before(&origin).await;
    // Nothing is stored when it is sent, so it leaves no stamp then.
    let post = proxy.ask("POST", "/a").content("x").asked().await;
    posted.reached_by(1).await;
    let get = proxy.get("/a").asked().await;
    filled.reached_by(1).await;
    posted.open();
    post.head().await.expect("an answer").rest().await.assert(200, "done");
    filled.open();
    get.head().await.expect("an answer").rest().await;
    proxy.get("/a").await.assert(200, "new");
}

fn posted(body: &str) -> Answer {
    Answer::status(200).cache("max-age=60").field("Content-Location", "/a").part(body.to_owned())
}

#[tokio::test]
async fn the_answer_to_a_post_may_be_what_a_get_would_get() {
    let origin = Origin::answering(Answer::cacheable("got")).await;
    origin.on_each(
        "/a",
        |seen| if seen.method == "POST" { posted("posted") } else { Answer::cacheable("got") },
    );
    for before in [false, true] {
        let proxy = Proxy::before(&origin).await;
        if before {
            proxy.fill("/a").await.assert(200, "got");
        }
        proxy.filled_by(proxy.ask("POST", "/a").content("x")).await.assert(200, "posted");
        let reply = proxy.get("/a").await;
        assert!(reply.is_hit(), "{before}: {:?}", reply.fields);
        reply.assert(200, "posted");
        proxy.purge_url("/a").await;
        proxy.get("/a").await.assert(200, "got");
    }
}

#[tokio::test]
async fn the_answer_to_a_post_is_not_stored_when_a_purge_of_any_kind_came_between() {
    for what in [
        serde_json::json!({"url": "http://api.test/a"}),
        serde_json::json!({"host": "api.test"}),
        serde_json::json!({"prefix": "http://api.test/"}),
        serde_json::json!({"tag": "t"}),
        serde_json::json!({"all": true}),
    ] {
        let gate = Gate::shut();
        let origin = Origin::start().await;
        let held = gate.clone();
        origin.on_each("/a", move |seen| match seen.method.as_str() {
            "POST" => posted("old").field("xkey", "t").held_by(&held),
            _ => Answer::cacheable("got").field("xkey", "t"),
        });
        let proxy = Proxy::before(&origin).await;
        // So that the POST has something to invalidate.
        proxy.fill("/a").await;
        let post = proxy.ask("POST", "/a").content("x").asked().await;
        gate.reached_by(1).await;
        proxy.purge(&what).await;
        gate.open();
        post.head().await.expect("an answer").rest().await.assert(200, "old");
        proxy.get("/a").await.assert(200, "got");
    }
}

#[tokio::test]
async fn the_answer_to_a_post_is_not_stored_when_another_came_between() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let held = gate.clone();
    origin.on_each("/a", move |seen| match (seen.method.as_str(), seen.content.as_slice()) {
        ("POST", b"1") => posted("first").held_by(&held),
        ("POST", _) => Answer::ok("second"),
        _ => Answer::cacheable("got"),
    });
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    let first = proxy.ask("POST", "/a").content("1").asked().await;
    gate.reached_by(1).await;
    proxy.ask("POST", "/a").content("2").await.assert(200, "second");
    gate.open();
    first.head().await.expect("an answer").rest().await.assert(200, "first");
    proxy.get("/a").await.assert(200, "got");
}

/// One whose answer may not be reused as stored lets the next begin, and outlives it.
#[tokio::test]
async fn an_unsafe_method_beats_a_fill_that_others_have_gone_past() {
    let held = Gate::shut();
    let origin = Origin::start().await;
    let slow = held.clone();
    origin.on_each("/a", move |seen| match (seen.method.as_str(), seen.nth) {
        ("POST", _) => Answer::status(204),
        (_, 1) => Answer::ok("ol").cache("max-age=0, stale-while-revalidate=600").gate(&slow).part("d"),
        (_, 2) => Answer::ok("one's own").cache("no-store"),
        _ => Answer::cacheable("new"),
    });
    // No word of the second is left that the POST could find.
    let proxy = Proxy::before(&origin).route("pass_ttl = \"0s\"\nclient_cache_control = \"honour\"").await;
    let mut first = proxy.get("/a").begin().await;
    first.at_least(2).await;
    proxy.get("/a").field("Cache-Control", "no-cache").await.assert(200, "one's own");
    proxy.ask("POST", "/a").content("x").await.assert(204, "");
    held.open();
    first.rest().await.assert(200, "d");
    proxy.until_metric("dustgate_fills_total", &[("outcome", "stored")], |many| many == 1.0).await;
    let reply = proxy.get("/a").await;
    assert!(!reply.is_hit(), "{:?}", reply.fields);
    reply.assert(200, "new");
}
