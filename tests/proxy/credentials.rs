//! What belongs to one client never reaches another, and nobody waits for it.

use std::collections::HashSet;

use crate::support::{Answer, Gate, Origin, Proxy, Reply, all};

const HERD: usize = 30;

/// Answers each with its own fields, once all of them are there.
async fn echo(answer: Answer, gate: &Gate) -> Origin {
    let origin = Origin::start().await;
    let gate = gate.clone();
    origin.on_each("/a", move |seen| {
        let own = format!("{}{}", seen.field("authorization"), seen.field("cookie"));
        answer.clone().part(own).held_by(&gate)
    });
    origin
}

/// A herd in which everybody has its own value of a field. All must be at the origin at once.
async fn each_its_own(proxy: &Proxy, gate: &Gate, name: &str) -> Vec<Reply> {
    let value = |n: usize| if name == "Cookie" { format!("session={n}") } else { format!("Bearer {n}") };
    let asks = (0..HERD).map(|n| proxy.get("/a").field(name, &value(n)).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        gate.reached_by(HERD).await;
        gate.open();
    });
    for (n, reply) in replies.iter().enumerate() {
        reply.assert(200, &value(n));
    }
    replies
}

#[tokio::test]
async fn authorization_goes_alone_and_at_once() {
    let gate = Gate::shut();
    let origin = echo(Answer::status(200).cache("max-age=60"), &gate).await;
    let proxy = Proxy::before(&origin).await;
    for reply in each_its_own(&proxy, &gate, "Authorization").await {
        assert_eq!(reply.cache_status(), "dustgate; fwd=bypass; detail=authorization");
    }
    // Nothing of it is there for others, and the key is as open as before.
    let reply = proxy.get("/a").await;
    reply.assert(200, "");
    assert_eq!(reply.cache_status(), "dustgate; fwd=uri-miss; stored");
}

#[tokio::test]
async fn cookies_go_alone_and_at_once() {
    let gate = Gate::shut();
    let origin = echo(Answer::status(200).cache("max-age=60"), &gate).await;
    let proxy = Proxy::before(&origin).await;
    each_its_own(&proxy, &gate, "Cookie").await;
    proxy.get("/a").await.assert(200, "");
}

#[tokio::test]
async fn a_stored_answer_is_for_authorized_clients_only_by_the_origins_word() {
    for (cache, shared) in [
        ("max-age=60", false),
        ("public, max-age=60", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ] {
        let origin = Origin::answering(Answer::ok("hello").cache(cache)).await;
        let proxy = Proxy::before(&origin).await;
        proxy.fill("/a").await;
        let reply = proxy.get("/a").field("Authorization", "Bearer x").await;
        assert_eq!(reply.is_hit(), shared, "{cache}");
        // With a cookie it is like any other.
        assert!(proxy.get("/a").field("Cookie", "a=b").await.is_hit(), "{cache}");
    }
}

#[tokio::test]
async fn what_authorization_brings_back_is_stored_only_by_the_origins_word() {
    for (cache, shared) in [("max-age=60", false), ("public, max-age=60", true), ("s-maxage=60", true)] {
        let origin = Origin::answering(Answer::ok("hello").cache(cache)).await;
        let proxy = Proxy::before(&origin).route("default_ttl = \"1m\"").await;
        proxy.get("/a").field("Authorization", "Bearer x").await.assert(200, "hello");
        if shared {
            proxy.until_stored(1).await;
        }
        assert_eq!(proxy.get("/a").await.is_hit(), shared, "{cache}");
    }
    // A route's own lifetime is not the origin's word.
    let origin = Origin::answering(Answer::ok("hello")).await;
    let proxy = Proxy::before(&origin).route("default_ttl = \"1m\"").await;
    proxy.get("/a").field("Authorization", "Bearer x").await;
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_stranger_cannot_switch_a_key_off() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for _ in 0..3 {
        proxy.get("/a").field("Authorization", "Bearer x").await;
        proxy.get("/a").field("Cookie", "a=b").await;
        proxy.get("/a").field("X-HTTP-Method-Override", "GET").await;
    }
    proxy.fill("/a").await;
    assert!(proxy.get("/a").await.is_hit());
}

/// An origin that gives each request for `/a` a session of its own, and what holds the first answer and
/// the others.
pub(crate) async fn a_session_each() -> (Gate, Gate, Origin) {
    let (first, others) = (Gate::shut(), Gate::shut());
    let origin = Origin::start().await;
    let gates = (first.clone(), others.clone());
    origin.on_each("/a", move |seen| {
        let gate = if seen.nth == 1 { &gates.0 } else { &gates.1 };
        Answer::cacheable("hello").field("Set-Cookie", &format!("session={}", seen.nth)).held_by(gate)
    });
    (first, others, origin)
}

#[tokio::test]
async fn set_cookie_is_each_clients_own() {
    let (first, others, origin) = a_session_each().await;
    let proxy = Proxy::before(&origin).await;
    let (replies, ()) = tokio::join!(proxy.herd(HERD, "/a"), async {
        proxy.until_followers(HERD - 1).await;
        first.open();
        others.reached_by(HERD - 1).await;
        others.open();
    });
    let cookies: HashSet<_> = replies.iter().map(|reply| reply.field("set-cookie")).collect();
    assert_eq!(cookies.len(), HERD, "somebody has somebody else's session: {cookies:?}");
    assert!(!proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_route_may_strip_or_store_set_cookie() {
    for (setting, cookie) in [("strip", ""), ("store", "a=b")] {
        let origin = Origin::answering(Answer::cacheable("hello").field("Set-Cookie", "a=b")).await;
        let proxy = Proxy::before(&origin).route(&format!("set_cookie = \"{setting}\"")).await;
        assert_eq!(proxy.fill("/a").await.field("set-cookie"), cookie, "{setting}");
        let hit = proxy.get("/a").await;
        assert_eq!((hit.is_hit(), hit.field("set-cookie")), (true, cookie), "{setting}");
    }
}

#[tokio::test]
async fn a_route_may_pass_or_strip_cookies() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("cookies = \"pass\"").await;
    proxy.fill("/a").await;
    assert!(!proxy.get("/a").field("Cookie", "a=b").await.is_hit());
    let proxy = Proxy::before(&origin).route("cookies = \"strip\"").await;
    proxy.filled_by(proxy.get("/b").field("Cookie", "a=b")).await;
    assert!(!origin.last("/b").fields.has("cookie"));
    assert!(proxy.get("/b").field("Cookie", "c=d").await.is_hit());
}

#[tokio::test]
async fn keyed_credentials_make_an_ordinary_request_of_their_own_key() {
    let gate = Gate::shut();
    let origin = echo(Answer::status(200).cache("max-age=60"), &gate).await;
    let proxy = Proxy::before(&origin).route("vary_on = [\"authorization\", \"cookie:session\"]").await;
    // Two of each kind: one leads, the other rides.
    let asks = (0..20).map(|n| proxy.get("/a").field("Authorization", &format!("Bearer {}", n / 2)).send());
    let (replies, ()) = tokio::join!(all(asks), async {
        gate.reached_by(10).await;
        proxy.until_followers(10).await;
        gate.open();
    });
    for (n, reply) in replies.iter().enumerate() {
        reply.assert(200, &format!("Bearer {}", n / 2));
        assert!(reply.field("vary").to_lowercase().contains("authorization"));
    }
    assert_eq!(origin.count("/a"), 10);
    proxy.filled_by(proxy.get("/a").field("Cookie", "session=1; other=1")).await.assert(200, "session=1");
    assert!(proxy.get("/a").field("Cookie", "other=2; session=1").await.is_hit());
    assert!(!proxy.get("/a").field("Cookie", "session=2").await.is_hit());
}

#[tokio::test]
async fn an_answer_that_varies_on_cookies_is_stored_for_each() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        Answer::cacheable(format!("for {}", seen.field("cookie"))).field("Vary", "Cookie")
    });
    let proxy = Proxy::before(&origin).await;
    for cookie in ["a=1", "a=2"] {
        proxy.get("/a").field("Cookie", cookie).await.assert(200, &format!("for {cookie}"));
    }
    for cookie in ["a=1", "a=2"] {
        proxy.get("/a").field("Cookie", cookie).await.assert(200, &format!("for {cookie}"));
    }
    proxy.get("/a").await.assert(200, "for ");
}

#[tokio::test]
async fn secrets_are_written_nowhere() {
    const SECRET: &str = "hunter2";
    let origin = Origin::start().await;
    origin.on_each("/a", |_| Answer::cacheable("hello").field("Vary", "Authorization, Cookie"));
    let proxy = Proxy::before(&origin)
        .route("vary_on = [\"authorization\", \"cookie:session\"]")
        .route("request_headers = { set = { x-api-key = \"hunter2\" } }")
        .await;
    for _ in 0..2 {
        proxy.get("/a").field("Authorization", SECRET).field("Cookie", &format!("session={SECRET}")).await;
    }
    proxy.logged(2, "/a").await;
    for page in [
        "/metrics",
        "/v1/config",
        "/v1/routes",
        "/v1/status",
        "/v1/flights",
        "/v1/explain?url=http://api.test/a",
    ] {
        let text = String::from_utf8_lossy(&proxy.admin_get(page).await.body).into_owned();
        assert!(!text.contains(SECRET), "{page}: {text}");
    }
    for line in proxy.log.so_far().iter().chain(&proxy.errors.so_far()) {
        assert!(!line.contains(SECRET), "{line}");
    }
    proxy.kill().await;
    for entry in walk(&proxy.directory().join("dust")) {
        let bytes = std::fs::read(&entry).unwrap();
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{}", entry.display());
    }
}

fn walk(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    std::fs::read_dir(path).unwrap().flat_map(|entry| walk(&entry.unwrap().path())).collect()
}

#[tokio::test]
async fn only_if_cached_goes_nowhere_whoever_asks() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    // Stored, but not for the authorized.
    let ask = proxy.get("/a").field("Authorization", "x").field("Cache-Control", "only-if-cached");
    ask.await.assert_error(504);
    assert_eq!(origin.total(), 1);
}

/// What a request brings by itself may be stored for others: so it asks as they do.
#[tokio::test]
async fn a_request_by_itself_asks_for_its_languages_in_their_normal_form() {
    let origin = Origin::start().await;
    origin.on_each("/a", |seen| {
        let said = seen.field("accept-language").to_owned();
        Answer::ok(said).cache("public, max-age=60").field("Vary", "Accept-Language")
    });
    let proxy = Proxy::before(&origin).await;
    let own = proxy.get("/a").field("Authorization", "me").field("Accept-Language", "EN;x=payload, de;q=0.5");
    proxy.filled_by(own).await.assert(200, "en, de;q=0.5");
    let other = proxy.get("/a").field("Accept-Language", "en,de;q=0.5").await;
    other.assert(200, "en, de;q=0.5");
    assert!(other.is_hit(), "{other:?}");
}

#[tokio::test]
async fn keys_and_tokens_of_apis_go_alone_and_at_once() {
    for (name, setting) in [
        ("X-Api-Key", "cache = true"),
        ("X-Auth-Token", "cache = true"),
        ("X_Api_Key", "cache = true"),
        ("X-Session-Key", "secret_headers = [\"x-session-key\"]"),
        ("X_Session_Key", "secret_headers = [\"X-Session-Key\"]"),
        // What an origin may take for the field that the key covers.
        ("X_Api_Key", "vary_on = [\"x-api-key\"]"),
    ] {
        let gate = Gate::shut();
        let origin = Origin::start().await;
        let held = gate.clone();
        origin.on_each("/a", move |seen| {
            Answer::cacheable(seen.fields.get(name).unwrap_or_default().to_owned()).held_by(&held)
        });
        let proxy = Proxy::before(&origin).route(setting).await;
        let asks = (0..5).map(|n| proxy.get("/a").field(name, &format!("key {n}")).send());
        let (replies, ()) = tokio::join!(all(asks), async {
            gate.reached_by(5).await;
            gate.open();
        });
        for (n, reply) in replies.iter().enumerate() {
            reply.assert(200, &format!("key {n}"));
            assert_eq!(reply.cache_status(), "dustgate; fwd=bypass; detail=secret-header", "{name}");
        }
        // Nothing of it is there for others, nor for them what others have stored.
        proxy.fill("/a").await.assert(200, "");
        assert!(proxy.get("/a").await.is_hit());
        proxy.get("/a").field(name, "key").await.assert(200, "key");
    }
}

#[tokio::test]
async fn a_key_that_names_the_response_makes_an_ordinary_request_and_is_written_as_a_digest() {
    for setting in [
        "vary_on = [\"x-api-key\"]",
        "vary_on = [\"x-api-key\"]\nsecret_headers = [\"x-api-key\"]",
        "vary_on = [\"x-session-key\"]\nsecret_headers = [\"x-session-key\"]",
    ] {
        let name = if setting.contains("session") { "X-Session-Key" } else { "X-Api-Key" };
        let origin = Origin::start().await;
        origin.on_each("/a", move |seen| {
            Answer::cacheable(seen.fields.get(name).unwrap_or_default().len().to_string())
        });
        let proxy = Proxy::before(&origin).route(setting).await;
        for value in ["hunter2", "hunter22"] {
            let reply = proxy.filled_by(proxy.get("/a").field(name, value)).await;
            reply.assert(200, &value.len().to_string());
            assert!(proxy.get("/a").field(name, value).await.is_hit(), "{setting}");
        }
        let said = proxy.admin_get("/v1/explain?url=http://api.test/a").await;
        assert!(!said.text().contains("hunter2"));
        proxy.kill().await;
        for entry in walk(&proxy.directory().join("dust")) {
            let bytes = std::fs::read(&entry).unwrap();
            assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{setting}: {}", entry.display());
        }
    }
}

#[tokio::test]
async fn the_origins_word_shares_with_keys_and_tokens_what_it_shares_with_authorization() {
    let origin = Origin::answering(Answer::ok("hello").cache("public, max-age=60")).await;
    let proxy = Proxy::before(&origin).route("secret_headers = [\"x-session-key\"]").await;
    for (path, name) in [("/a", "X-Api-Key"), ("/b", "X-Session-Key")] {
        proxy.get(path).field(name, "hunter2").await.assert(200, "hello");
        crate::support::until("it to be stored", async || {
            proxy.get(path).field(name, "hunter2").await.is_hit().then_some(())
        })
        .await;
        // An origin that varies on it: a digest of its own for each, and nothing in the clear.
        origin.on("/c", Answer::ok("hello").cache("public, max-age=60").field("Vary", name));
        proxy.get("/c").field(name, "hunter2").await;
        proxy.purge_url("/c").await;
    }
    proxy.kill().await;
    for entry in walk(&proxy.directory().join("dust")) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{}", entry.display());
    }
}
