//! What `explain` says a request comes to is what then happens to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::run_in;
use crate::support::{Answer, Origin, Proxy};

/// Stale as soon as it is stored, so that no test has to wait.
fn stale(directives: &str) -> Answer {
    Answer::ok("hello").cache(directives).field("Age", "20").field("ETag", "\"a\"")
}

/// What the running proxy says of a request.
async fn explain(proxy: &Proxy, method: &str, path: &str, headers: &[(&str, &str)]) -> Value {
    let url = format!("http://api.test{path}");
    let question = json!({ "url": url, "method": method, "headers": headers });
    let reply = proxy.admin_post("/v1/explain", &question).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let value = reply.json();
    let lines: Vec<&str> = value["text"].as_str().unwrap().lines().collect();
    let names: BTreeSet<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    let named: BTreeSet<&str> = value["lines"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), lines.len(), "no line twice: {value:#}");
    assert_eq!(names, named, "none is lost in JSON");
    value
}

/// That it comes to this, with this in its text.
#[track_caller]
fn comes_to(value: &Value, code: u64, word: &str) {
    assert_eq!(value["code"], code, "{value:#}");
    assert!(value["text"].as_str().unwrap().contains(word), "no {word:?} in {value:#}");
}

fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        }
        all.insert(path);
    }
    all
}

#[tokio::test]
async fn alone_it_touches_no_store() {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let file = directory.path().join("dustgate.toml");
    // An admin port where nobody is: the discard port of a loopback address.
    let text =
        "[admin]\nlisten = \"127.0.0.2:9\"\n[[routes]]\nname = \"all\"\nupstream = \"http://127.0.0.1:9\"\n";
    std::fs::write(&file, text).unwrap();
    let before = files(directory.path());
    let said =
        run_in(directory.path(), &["explain", "http://api.test/a", "-c", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("as if nothing were stored"), "{said:?}");
    assert!(said.out.contains("GET http://127.0.0.1:9/a   Host: 127.0.0.1:9"), "{said:?}");
    assert_eq!(files(directory.path()), before, "it made something");
}

#[tokio::test]
async fn alone_it_leaves_what_is_stored_as_it_is() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.kill().await;
    let content = |proxy: &Proxy| {
        let all = files(proxy.directory()).into_iter().filter(|path| path.is_file());
        all.map(|path| (std::fs::read(&path).unwrap(), path)).collect::<BTreeSet<_>>()
    };
    let before = content(&proxy);
    let said = run_in(proxy.directory(), &["explain", "http://api.test/a", "-c", proxy.config()]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(content(&proxy) == before, "it changed something");
}

#[tokio::test]
async fn stale_and_alone_is_for_this_request_alone() {
    let origin = Origin::answering(stale("max-age=10")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    comes_to(&explain(&proxy, "GET", "/a", &[]).await, 3, "validated with upstream");
    comes_to(&explain(&proxy, "GET", "/a", &[("cookie", "a=b")]).await, 4, "for this request alone");
    let head = explain(&proxy, "HEAD", "/a", &[]).await;
    comes_to(&head, 4, "neither leads nor follows: method");
    comes_to(&head, 4, "HEAD http://");
    assert_eq!(origin.total(), 1);
    proxy.get("/a").field("cookie", "a=b").await;
    assert_eq!(origin.last("/a").field("if-none-match"), "", "it was not validated for everybody");
}

#[tokio::test]
async fn stale_and_noted() {
    let origin = Origin::answering(stale("max-age=10, stale-if-error=600")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/pass").await;
    proxy.fill("/fail").await;
    origin.on("/pass", Answer::ok("yours").cache("private"));
    proxy.get("/pass").await.assert(200, "yours");
    comes_to(&explain(&proxy, "GET", "/pass", &[]).await, 4, "remembered as not shareable: private");
    assert_eq!(proxy.logged(2, "/pass").await[1]["cache"], "pass");

    origin.on("/fail", Answer::status(503).field("Retry-After", "30"));
    proxy.get("/fail").await.assert(200, "hello");
    comes_to(&explain(&proxy, "GET", "/fail", &[]).await, 0, "stale-if-error");
    origin.on("/bare", Answer::status(503).field("Retry-After", "30"));
    proxy.get("/bare").await;
    comes_to(&explain(&proxy, "GET", "/bare", &[]).await, 3, "503 at once");
}

#[tokio::test]
async fn soft_purged_within_its_grace_is_served() {
    let fresh = |more: &str| Answer::ok("hello").cache(&format!("max-age=60{more}")).field("ETag", "\"a\"");
    let origin = Origin::answering(fresh(", stale-while-revalidate=60")).await;
    origin.on("/plain", fresh(""));
    let proxy = Proxy::before(&origin).await;
    for path in ["/grace", "/plain", "/gone"] {
        proxy.fill(path).await;
    }
    for path in ["/grace", "/plain"] {
        proxy.purge(&json!({ "url": format!("http://api.test{path}"), "soft": true })).await;
    }
    proxy.purge_url("/gone").await;
    comes_to(&explain(&proxy, "GET", "/grace", &[]).await, 0, "stale by a soft purge, within");
    comes_to(&explain(&proxy, "GET", "/plain", &[]).await, 3, "stale by a soft purge, and must be validated");
    comes_to(
        &explain(&proxy, "GET", "/gone", &[]).await,
        3,
        "a purge of its URL came after its bytes were asked for",
    );
    assert!(proxy.get("/grace").await.is_hit());
}

#[tokio::test]
async fn what_the_client_says_counts_as_it_does_in_earnest() {
    let origin = Origin::answering(stale("max-age=10")).await;
    let proxy = Proxy::before(&origin).route("client_cache_control = \"honour\"").await;
    proxy.fill("/a").await;
    let only = [("cache-control", "only-if-cached")];
    comes_to(&explain(&proxy, "GET", "/a", &only).await, 3, "504, and upstream is not asked");
    assert_eq!(proxy.get("/a").field("cache-control", "only-if-cached").await.status, 504);
    let lenient = [("cache-control", "max-stale=600")];
    comes_to(&explain(&proxy, "GET", "/a", &lenient).await, 0, "detail=max-stale");
    proxy.get("/a").field("cache-control", "max-stale=600").await.assert(200, "hello");
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn the_upstream_is_shown_as_it_would_be_asked() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let more = "[upstreams.other]\nurl = \"https://other.test:8443/base\"\nhost = \"client\"\n\
                [[routes]]\nname = \"other\"\nhost = \"other.test\"\nupstream = \"other\"\nstrip_prefix = \"/v1\"\n";
    let proxy = Proxy::before(&origin).more(more).await;
    let value = explain(&proxy, "GET", "/a?b=c", &[]).await;
    comes_to(&value, 3, &format!("GET http://{0}/a?b=c   Host: {0}", origin.at));
    let question = json!({ "url": "http://other.test/v1/x?y" });
    let value = proxy.admin_post("/v1/explain", &question).await.json();
    comes_to(&value, 3, "GET https://other.test:8443/base/x?y   Host: other.test");
}

#[tokio::test]
async fn the_rule_that_decided_is_named_with_its_section() {
    let origin = Origin::answering(stale("max-age=10")).await;
    origin.on("/must", stale("max-age=10, must-revalidate"));
    origin.on("/shared", stale("s-maxage=10"));
    origin.on("/ask-first", stale("max-age=10, no-cache"));
    origin.on("/both", stale("s-maxage=10, stale-while-revalidate=600"));
    let down = Answer::status(503).cache("max-age=10, stale-while-revalidate=600").field("Age", "20");
    origin.on("/down", down.field("ETag", "\"a\"").part("down"));
    origin.on("/never", Answer::ok("hello").cache("no-store"));
    origin.on("/fresh", Answer::cacheable("hello"));
    origin.on("/guess", Answer::ok("hello").field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    origin.on("/varies", Answer::cacheable("hello").field("Vary", "X-Tenant"));
    let proxy = Proxy::before(&origin).await;
    for path in ["/stale", "/must", "/shared", "/ask-first", "/both", "/down", "/fresh", "/guess"] {
        proxy.fill(path).await;
    }
    proxy.filled_by(proxy.get("/varies").field("x-tenant", "a")).await;
    proxy.get("/never").await;
    for (method, path, fields, code, words) in [
        ("GET", "/nothing", &[][..], 3, "nothing is stored under this key (RFC 9111 §4)"),
        ("GET", "/stale", &[], 3, "nothing lets it be served so (RFC 9111 §4.2.4)"),
        ("GET", "/must", &[], 3, "must-revalidate forbids to serve it so (RFC 9111 §5.2.2.2)"),
        ("GET", "/shared", &[], 3, "s-maxage forbids to serve it so (RFC 9111 §5.2.2.10)"),
        ("GET", "/ask-first", &[], 3, "no-cache: validated before each use (RFC 9111 §5.2.2.4)"),
        ("GET", "/never", &[], 4, "no-store: the response says no-store (RFC 9111 §5.2.2.5)"),
        ("GET", "/fresh", &[], 0, "60 s by max-age (RFC 9111 §4.2.1)"),
        (
            "GET",
            "/guess",
            &[],
            0,
            "60 s by a heuristic, 10 % of the time since Last-Modified (RFC 9111 §4.2.2)",
        ),
        ("GET", "/fresh", &[("authorization", "me")], 4, "lets others have the answer (RFC 9111 §3.5)"),
        (
            "GET",
            "/nothing",
            &[("authorization", "me")],
            4,
            "(RFC 9111 §3.5); vary_on = [\"authorization\"] on route all",
        ),
        (
            "GET",
            "/fresh",
            &[("x-api-key", "me")],
            4,
            "secret-header: the request carries a key or token in a field",
        ),
        (
            "GET",
            "/nothing",
            &[("x_auth_token", "me")],
            4,
            "secret-header: the request carries a key or token",
        ),
        ("GET", "/down", &[], 3, "what says that the origin failed is not served so (RFC 5861 §4)"),
        ("GET", "/both", &[], 0, "within stale-while-revalidate (RFC 5861 §3)"),
        ("GET", "/varies", &[("x-tenant", "a")], 0, "Vary: x-tenant → \"a\""),
        ("GET", "/varies", &[("x-tenant", "b")], 3, "selected by this request's x-tenant (RFC 9111 §4.1)"),
        ("GET", "/fresh", &[("if-match", "\"a\"")], 4, "RFC 9110 §13.1"),
        ("HEAD", "/nothing", &[], 4, "(RFC 9110 §9.3.2)"),
        ("POST", "/fresh", &[], 4, "written through (RFC 9111 §4)"),
    ] {
        comes_to(&explain(&proxy, method, path, fields).await, code, words);
    }
}

#[tokio::test]
async fn a_part_is_told_from_the_whole() {
    let part = Answer::status(206).part("01234").cache("max-age=60").field("ETag", "\"a\"");
    let origin = Origin::answering(part.field("Content-Range", "bytes 0-4/10")).await;
    let proxy = Proxy::before(&origin).route("range = \"segment\"").await;
    proxy.filled_by(proxy.get("/a").field("range", "bytes=0-4")).await;
    let within = explain(&proxy, "GET", "/a", &[("range", "bytes=1-2")]).await;
    comes_to(&within, 0, "206, bytes 0-4 of 10, 5 B in 1 segment");
    for range in [&[][..], &[("range", "bytes=3-7")]] {
        comes_to(&explain(&proxy, "GET", "/a", range).await, 3, "(RFC 9111 §3.3, §3.4)");
    }
}

/// The fields of a record are what an origin wrote. U+009B begins a sequence that a terminal obeys.
#[tokio::test]
async fn what_an_origin_wrote_is_printed_without_what_a_terminal_would_obey() {
    let evil = "\u{9b}31m\u{202e}";
    let answer = Answer::cacheable("hello").field("ETag", &format!("\"{evil}\""));
    let origin = Origin::answering(answer).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    for arguments in [
        &["explain", "http://api.test/a"][..],
        &["explain", "--json", "http://api.test/a"],
        &["ls"],
        &["ls", "--json"],
        &["purge", "--tag", evil],
        &["purge", "--prefix", evil],
    ] {
        let said = proxy.command(arguments).await;
        let bare = |char: char| char != '\n' && dustgate::telemetry::is_unprintable(char);
        assert!(!said.out.contains(bare) && !said.err.contains(bare), "{arguments:?}: {said:?}");
    }
}
