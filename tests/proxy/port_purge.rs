//! Purges that come to the data port: off unless a route says so, for named networks only, and with the promises of
//! all others.

use crate::support::{Answer, Gate, Origin, Proxy, Reply};

const ALLOWED: &str = r#"purge = { from = ["127.0.0.0/8"] }"#;

async fn origin() -> Origin {
    let origin = Origin::start().await;
    for (path, tags) in [("/a", "menu t-1"), ("/b", "menu"), ("/c", "t-2")] {
        origin.on(path, Answer::cacheable("hello").field("Surrogate-Key", tags));
    }
    origin
}

async fn filled(origin: &Origin, route: &str) -> Proxy {
    let proxy = Proxy::before(origin).route(route).await;
    for path in ["/a", "/b", "/c"] {
        proxy.fill(path).await;
    }
    proxy
}

async fn left(proxy: &Proxy) -> Vec<&'static str> {
    let mut left = Vec::new();
    for path in ["/a", "/b", "/c"] {
        if proxy.get(path).field("Cache-Control", "only-if-cached").await.is_hit() {
            left.push(path);
        }
    }
    left
}

fn assert_purged(reply: &Reply, matched: u64) {
    reply.assert(200, &format!("Purged\nmatched {matched}, confirmed 1, silent 0\n"));
    assert!(reply.field("content-type").starts_with("text/plain"), "{reply:?}");
}

#[tokio::test]
async fn without_the_setting_a_purge_is_refused_and_goes_nowhere() {
    let origin = origin().await;
    let proxy = filled(&origin, "").await;
    for method in ["PURGE", "BAN"] {
        assert_eq!(proxy.ask(method, "/a").await.status, 405);
    }
    assert_eq!((left(&proxy).await.len(), origin.total()), (3, 3));
}

#[tokio::test]
async fn a_purge_of_a_url_takes_all_its_variants_and_no_other_url() {
    let origin = origin().await;
    origin.on("/v", Answer::cacheable("hello").field("Vary", "Accept-Language"));
    let proxy = filled(&origin, ALLOWED).await;
    let get = |language: &str| proxy.get("/v").field("Accept-Language", language);
    for language in ["de", "en"] {
        proxy.filled_by(get(language)).await;
    }
    assert_purged(&proxy.ask("PURGE", "/v").await, 2);
    for language in ["de", "en"] {
        assert!(!get(language).await.is_hit(), "{language}");
    }
    assert_eq!(left(&proxy).await, ["/a", "/b", "/c"]);
    assert_purged(&proxy.ask("PURGE", "/b").await, 1);
    assert_eq!(left(&proxy).await, ["/a", "/c"]);
    // What is not there is purged all the same: it may be under way.
    assert_purged(&proxy.ask("PURGE", "/nothing").await, 0);
}

#[tokio::test]
async fn fields_of_tags_name_tags_and_not_the_url() {
    for (field, value, stays) in [
        ("Surrogate-Key", "menu", &["/c"][..]),
        ("xkey", "t-1 t-2", &["/b"]),
        ("Cache-Tag", "t-1, t-2", &["/b"]),
        ("Cache-Groups", "\"menu\"", &["/c"]),
        ("xkey-purge", "menu t-2", &[]),
        ("Surrogate-Key", "nobody", &["/a", "/b", "/c"]),
    ] {
        let origin = origin().await;
        let proxy = filled(&origin, ALLOWED).await;
        let reply = proxy.ask("PURGE", "/a").field(field, value).await;
        assert_purged(&reply, 3 - stays.len() as u64);
        assert_eq!(left(&proxy).await, stays, "{field}: {value}");
    }
}

#[tokio::test]
async fn tags_are_purged_on_the_host_of_the_request_unless_the_route_says_all() {
    let origin = origin().await;
    for (all, stays) in [("false", 3), ("true", 1)] {
        let route = format!("purge = {{ from = [\"127.0.0.1\"], all_hosts = {all} }}");
        let proxy = filled(&origin, &route).await;
        let reply = proxy.ask("PURGE", "/").host("other.test").field("xkey", "menu").await;
        assert_eq!((reply.status, left(&proxy).await.len()), (200, stays), "{reply:?}");
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale_what_it_covers() {
    for (field, value) in [("Fastly-Soft-Purge", "1"), ("xkey-softpurge", "t-1")] {
        let origin = Origin::start().await;
        let answer = Answer::cacheable("hello").field("ETag", "\"1\"").field("Surrogate-Key", "t-1");
        origin.on("/a", answer);
        let proxy = Proxy::before(&origin).route(ALLOWED).await;
        proxy.fill("/a").await;
        assert_eq!(proxy.ask("PURGE", "/a").field(field, value).await.status, 200);
        assert!(!proxy.get("/a").await.is_hit());
        assert_eq!(origin.last("/a").field("if-none-match"), "\"1\"", "{field}");
    }
}

#[tokio::test]
async fn whoever_is_not_named_may_not_whatever_its_fields_say() {
    let origin = origin().await;
    let proxy = filled(&origin, r#"purge = { from = ["10.0.0.0/8"] }"#).await;
    for field in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP"] {
        let value = if field == "Forwarded" { "for=10.0.0.1" } else { "10.0.0.1" };
        let reply = proxy.ask("PURGE", "/a").field(field, value).await;
        reply.assert_error(405);
        assert_eq!(reply.json()["error"], "purge_not_allowed", "{field}");
    }
    assert_eq!((left(&proxy).await.len(), origin.total()), (3, 3));
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_client_is_judged() {
    let origin = origin().await;
    let proxy = Proxy::before(&origin)
        .server(r#"trusted_proxies = ["127.0.0.0/8"]"#)
        .route(r#"purge = { from = ["10.0.0.0/8"] }"#)
        .await;
    for (chain, status) in [
        ("10.1.2.3", 200),
        ("192.0.2.1", 405),
        // What the client itself wrote stands further left.
        ("10.1.2.3, 192.0.2.1", 405),
        ("192.0.2.1, 10.1.2.3", 200),
        ("10.1.2.3, unknown", 405),
        ("", 405),
    ] {
        let reply = proxy.ask("PURGE", "/a").field("X-Forwarded-For", chain).await;
        assert_eq!(reply.status, status, "{chain:?}: {reply:?}");
    }
}

#[tokio::test]
async fn a_purge_reaches_what_clients_get_through_tls() {
    let origin = origin().await;
    let proxy = Proxy::before(&origin)
        .server(r#"trusted_proxies = ["127.0.0.0/8"]"#)
        .route(r#"purge = { from = ["127.0.0.0/8"] }"#)
        .await;
    let get = || proxy.get("/a").field("X-Forwarded-Proto", "https");
    proxy.filled_by(get()).await;
    assert!(get().await.is_hit());
    assert_purged(&proxy.ask("PURGE", "/a").await, 1);
    assert!(!get().await.is_hit());
}

#[tokio::test]
async fn a_purge_beats_a_fill_that_is_under_way() {
    for field in [None, Some(("Surrogate-Key", "t"))] {
        let (gate, origin) = (Gate::shut(), Origin::start().await);
        let shut = gate.clone();
        origin.on_each("/a", move |seen| match seen.nth {
            1 => Answer::cacheable("the old").field("Surrogate-Key", "t").held_by(&shut),
            _ => Answer::cacheable("the new").field("Surrogate-Key", "t"),
        });
        let proxy = Proxy::before(&origin).route(ALLOWED).await;
        let before = proxy.get("/a").asked().await;
        gate.reached_by(1).await;
        let ask = proxy.ask("PURGE", "/a");
        let ask = if let Some((name, value)) = field { ask.field(name, value) } else { ask };
        assert_eq!(ask.await.status, 200);
        if field.is_none() {
            // A tag is known with the head: whoever comes now waits for that.
            proxy.get("/a").await.assert(200, "the new");
        }
        gate.open();
        before.head().await.expect("an answer").rest().await.assert(200, "the old");
        proxy.get("/a").await.assert(200, "the new");
    }
}

#[tokio::test]
async fn what_names_nothing_purges_nothing() {
    let origin = origin().await;
    let proxy = filled(&origin, ALLOWED).await;
    let many = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for (field, value) in
        [("Surrogate-Key", ""), ("Cache-Groups", "menu"), ("xkey", &"x".repeat(129)), ("xkey", &many)]
    {
        let reply = proxy.ask("PURGE", "/a").field(field, value).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &"purge_of_nothing".into()), "{field}");
    }
    assert_eq!(left(&proxy).await.len(), 3);
}

#[tokio::test]
async fn a_purge_has_a_rate_and_a_line_that_names_its_client() {
    let origin = origin().await;
    let proxy = filled(&origin, r#"purge = { from = ["127.0.0.1"], rate = "2/h" }"#).await;
    for status in [200, 200, 429] {
        let reply = proxy.ask("PURGE", "/a?secret=1").await;
        assert_eq!((reply.status, reply.field("retry-after").is_empty()), (status, status == 200));
    }
    let lines = proxy.log.json_lines(2, "the purges' lines", |line| line["event"] == "purge").await;
    assert_eq!(lines[0]["by"], "PURGE from 127.0.0.1", "{}", lines[0]);
    let text = lines[0].to_string();
    assert!(text.contains("http://api.test/a") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn what_is_refused_takes_nothing_of_the_rate_and_what_is_named_twice_counts_once() {
    let origin = origin().await;
    let proxy = filled(&origin, r#"purge = { from = ["127.0.0.1"], rate = "2/h" }"#).await;
    let many = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for (tags, status) in [(&*many, 400), (&"x".repeat(129), 400), ("a b a b", 200), ("c", 429)] {
        assert_eq!(proxy.ask("PURGE", "/a").field("xkey", tags).await.status, status, "{tags}");
    }
}

#[tokio::test]
async fn a_route_has_methods_of_its_own_for_purges() {
    let origin = origin().await;
    let proxy = filled(&origin, r#"purge = { from = ["127.0.0.1"], methods = ["PURGEKEYS"] }"#).await;
    assert_eq!(proxy.ask("PURGE", "/a").await.status, 405);
    assert_purged(&proxy.ask("PURGEKEYS", "/").field("xkey-softpurge", "t-1").await, 1);
    assert_eq!((left(&proxy).await, origin.total()), (vec!["/b", "/c"], 3));
}
