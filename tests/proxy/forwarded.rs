//! What the origin is told of the client's request: its scheme, host, port and address.

use crate::support::{Answer, Origin, Proxy};

/// What the origin was told with its last request for a path.
fn told(origin: &Origin, path: &str) -> Vec<String> {
    let seen = origin.last(path);
    let names = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-for", "forwarded"];
    let lines =
        |name: &&str| seen.fields.all(name).into_iter().map(|value| format!("{name}: {value}")).collect();
    names.iter().map(lines).collect::<Vec<Vec<_>>>().concat()
}

#[tokio::test]
async fn a_pass_tells_the_port_as_the_client_wrote_it_and_a_fill_that_of_its_key() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.ask("POST", "/a").host("api.test:8080").content("x").await;
    let of_pass = ["x-forwarded-proto: http", "x-forwarded-host: api.test:8080", "x-forwarded-port: 8080"];
    assert_eq!(told(&origin, "/a"), [&of_pass[..], &["x-forwarded-for: 127.0.0.1"]].concat());
    proxy.ask("POST", "/a").content("x").await;
    assert_eq!(told(&origin, "/a")[2], "x-forwarded-port: 80");
    // The answer is for all who ask for that host, by whatever port.
    let ask =
        proxy.get("/b").host("api.test:8080").field("X-Forwarded-Port", "7").field("Forwarded", "host=x");
    proxy.filled_by(ask).await;
    let of_key = ["x-forwarded-proto: http", "x-forwarded-host: api.test"];
    assert_eq!(told(&origin, "/b"), of_key);
    assert!(proxy.get("/b").host("api.test:81").await.is_hit());
    // With the port in the key, it is told.
    let named = Proxy::before(&origin).route("host = [\"api.test:8080\", \"api.test\"]").await;
    named.filled_by(named.get("/c").host("api.test:8080")).await;
    assert_eq!(told(&origin, "/c"), of_pass);
    let client = Proxy::before(&origin).upstream("host = \"client\"").await;
    client.filled_by(client.get("/d").host("api.test:8080")).await;
    assert_eq!(told(&origin, "/d"), of_pass);
    client.filled_by(client.get("/e")).await;
    assert_eq!(told(&origin, "/e")[2], "x-forwarded-port: 80", "by another port it would be another key");
}

#[tokio::test]
async fn forwarded_says_the_same_by_the_setting() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    for (setting, x) in [("rfc7239", false), ("both", true)] {
        let proxy = Proxy::before(&origin).route(&format!("forwarded = \"{setting}\"")).await;
        let told = |path: &str| {
            let mut lines = told(&origin, path);
            let forwarded = lines.pop().expect("Forwarded");
            assert_eq!(!lines.is_empty(), x, "{setting}: {lines:?}");
            forwarded
        };
        proxy.ask("POST", "/a").host("[::1]:8080").content("x").await;
        assert_eq!(told("/a"), "forwarded: for=127.0.0.1;host=\"[::1]:8080\";proto=http");
        proxy.filled_by(proxy.get("/b").host("api.test:8080").field("Forwarded", "for=6.6.6.6")).await;
        assert_eq!(told("/b"), "forwarded: host=api.test;proto=http");
        // A response that varies on it could be anybody's own.
        origin.on("/varies", Answer::cacheable("x").field("Vary", "Forwarded"));
        assert!(proxy.get("/varies").await.cache_status().ends_with("detail=vary-star"));
    }
    let always = Proxy::before(&origin).route("forwarded = \"rfc7239\"\nclient_ip = \"always\"");
    let always = always.server("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let ask = always.get("/c").field("X-Forwarded-For", "2001:db8::7").field("X-Forwarded-Proto", "https");
    always.filled_by(ask.field("X-Forwarded-Host", "www.test")).await;
    let own = "for=127.0.0.1;host=www.test;proto=https";
    assert_eq!(told(&origin, "/c"), [format!("forwarded: for=\"[2001:db8::7]\", {own}")]);
}

#[tokio::test]
async fn what_is_asked_alone_may_still_be_stored_for_all() {
    let origin = Origin::answering(Answer::cacheable("hello").cache("public")).await;
    for setting in ["x", "rfc7239", "both"] {
        let proxy = Proxy::before(&origin).route(&format!("forwarded = \"{setting}\"")).await;
        let reply = proxy.filled_by(proxy.get("/a").field("Cookie", "a=b")).await;
        assert!(reply.cache_status().ends_with("stored"), "{setting}: {reply:?}");
        assert!(proxy.get("/a").await.is_hit(), "{setting}");
    }
}
