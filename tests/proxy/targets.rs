//! Request targets, Host, framing and keys: the exact bytes, on the client's side and on the
//! origin's.

use crate::support::{Answer, Conn, Origin, Proxy, Reply};

/// What is refused: what it is, the bytes, the status. The connection is closed behind it.
const REFUSED: &[(&str, &str, u16)] = &[
    ("a dot segment", "GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots at the end", "GET /a/.. HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots behind a single one", "GET /a/./../b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("escaped dots", "GET /a/%2e%2e/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("escaped dots in capitals", "GET /a/%2E%2E/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("half escaped dots", "GET /a/.%2e/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots escaped twice", "GET /a/%252e%252e/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots before an escaped space", "GET /a/..%20/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots before an escaped tab", "GET /a/..%09/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots before an escaped backslash", "GET /a/..%5Cb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots before an escaped slash", "GET /a/..%2fb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("dots with parameters", "GET /a/..;x/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a single dot with parameters", "GET /a/.;x/b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a quotation mark", "GET /a\"b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a backslash", "GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a backslash in the query", "GET /a?b\\c HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a control byte", "GET /a\u{1}b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a tab", "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("DEL", "GET /a\u{7f}b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("an escaped NUL", "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("an escaped NUL in the query", "GET /a?b=%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a lone percent sign", "GET /a% HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("half an escape", "GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("an escape of no number", "GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a star outside OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("no path", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("another scheme", "GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("no Host", "GET /a HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
    ("the same Host twice", "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
    ("two Hosts in one line", "GET /a HTTP/1.1\r\nHost: h, i\r\n\r\n", 400),
    ("an empty Host", "GET /a HTTP/1.1\r\nHost: \r\n\r\n", 400),
    ("user info in Host", "GET /a HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
    ("user info in the target", "GET http://u:p@h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a path in Host", "GET /a HTTP/1.1\r\nHost: h/b\r\n\r\n", 400),
    ("a port that is none", "GET /a HTTP/1.1\r\nHost: h:99999\r\n\r\n", 400),
    ("absolute, and no Host", "GET http://h/a HTTP/1.1\r\n\r\n", 400),
    ("absolute, and two Hosts", "GET http://h/a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
    ("dots in an absolute target", "GET http://h/a/../b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("two lengths", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("a length that is none", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("a space before the colon", "GET /a HTTP/1.1\r\nHost : h\r\n\r\n", 400),
    ("a folded line", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
    // Without chunked behind it nobody can tell where the request ends (RFC 9112 §6.3).
    ("another coding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (
        "a coding before chunked",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "chunked twice",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "two codings in two lines",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    ("identity", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    (
        "a coding that ends early",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 405),
    ("TRACE", "TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    ("PURGE", "PURGE /a HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    ("BAN", "BAN /a HTTP/1.1\r\nHost: h\r\n\r\n", 405),
];

#[tokio::test]
async fn what_two_servers_might_read_differently_is_refused_and_closed() {
    let origin = Origin::answering(Answer::ok("never")).await;
    let proxy = Proxy::before(&origin).await;
    let mut wrong = Vec::new();
    for (what, bytes, status) in REFUSED {
        let mut conn = proxy.connect().await;
        // What follows would be taken for a request of its own by whoever read on.
        conn.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        match conn.reply().await {
            None => wrong.push(format!("{what}: closed without an answer")),
            Some((reply, _)) if reply.status != *status => {
                wrong.push(format!("{what}: {} and not {status}", reply.status));
            }
            Some((reply, conn)) => {
                if !conn.closed().await {
                    wrong.push(format!("{what}: not closed"));
                }
                if reply.fields.has("cache-status") {
                    wrong.push(format!("{what}: Cache-Status on our own error"));
                }
            }
        }
    }
    assert_eq!(origin.total(), 0, "some reached the origin: {wrong:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_length_beside_a_coding_is_refused_or_does_not_count_and_is_closed() {
    let origin = Origin::answering(Answer::ok("thanks")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    conn.send("1\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (reply, conn) = conn.reply().await.expect("an answer");
    assert!(conn.closed().await);
    assert_eq!(origin.count("/smuggled"), 0);
    if reply.status != 400 {
        let seen = origin.last("/a");
        assert_eq!((seen.fields.get("content-length"), seen.content.as_slice()), (None, &b"x"[..]));
    }
}

#[tokio::test]
async fn our_refusals_are_json() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    proxy.get("/a/../b").await.assert_error(400);
    proxy.ask("TRACE", "/").await.assert_error(405);
    proxy.get("/").field("Transfer-Encoding", "gzip, chunked").await.assert_error(501);
}

/// What passes: the target as the client writes it, and as the origin sees it, which is otherwise only
/// where a dot is removed, where the upstream client can't carry it raw, and in absolute form.
const FORWARDED: &[(&str, &str, &str)] = &[
    ("as it is", "/a/b?c=d", "/a/b?c=d"),
    ("the root", "/", "/"),
    ("an empty query", "/a?", "/a?"),
    ("escaped unreserved characters", "/%7euser/%61%2D%5F", "/%7euser/%61%2D%5F"),
    ("escaped unreserved characters in the query", "/a?%7e=%41", "/a?%7e=%41"),
    ("small hexadecimal digits", "/%c3%a9?x=%c3%a9", "/%c3%a9?x=%c3%a9"),
    ("a signature over the query", "/o?sig=%2bA%2F~%7E%3d&exp=1", "/o?sig=%2bA%2F~%7E%3d&exp=1"),
    ("an escaped slash", "/a%2fb", "/a%2fb"),
    ("an escaped percent sign", "/a%252eb%2541", "/a%252eb%2541"),
    ("an escaped backslash", "/a%5cb", "/a%5cb"),
    ("escaped control bytes", "/a%09%0A?b=c%0D%0ad", "/a%09%0A?b=c%0D%0ad"),
    ("a percent sign in the query", "/a?b=50%off&c=%u00e9&%", "/a?b=50%off&c=%u00e9&%"),
    ("half an escape in the query", "/a?b=%4", "/a?b=%4"),
    ("a dot as a segment", "/apt/./Release", "/apt/Release"),
    ("an escaped dot as a segment", "/a/%2e/b%7E/.", "/a/b%7E/"),
    ("what is no URL, in the query", "/a?{b}|`^[c]", "/a?{b}|`^[c]"),
    ("braces in the path", "/{a}%7e", "/%7Ba%7D%7e"),
    ("parameters of a segment", "/a;b=c/d", "/a;b=c/d"),
    ("empty segments", "//a//b/", "//a//b/"),
    ("letter case", "/A/b?C=d", "/A/b?C=d"),
    ("the order of parameters", "/a?z=1&a=2&z=0", "/a?z=1&a=2&z=0"),
    ("dots that are no segment", "/a/...b/.c/d.", "/a/...b/.c/d."),
    ("dots in the query", "/a?b=/../c", "/a?b=/../c"),
    ("an apostrophe in the query", "/a?b='c'", "/a?b=%27c%27"),
    ("an apostrophe in the path", "/a'b", "/a'b"),
    ("sub-delimiters", "/a!$&()*+,=:@b", "/a!$&()*+,=:@b"),
    ("a plus sign and spaces", "/a+b?c+d=%20", "/a+b?c+d=%20"),
    ("an absolute target", "http://api.test/a/b?c", "/a/b?c"),
    ("an absolute target in capitals", "HTTP://API.test/a", "/a"),
    ("an absolute target without a path", "http://other.test", "/"),
];

#[tokio::test]
async fn the_rest_reaches_the_origin_as_it_was_written() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut wrong = Vec::new();
    for cached in [true, false] {
        for (what, written, want) in FORWARDED {
            let ask = if cached { proxy.get(written) } else { proxy.ask("POST", written).content("x") };
            let before = origin.total();
            let reply = ask.await;
            let path = want.split('?').next().unwrap();
            let seen = origin.requests(path).pop().map(|seen| seen.target);
            if reply.status != 200 || origin.total() != before + 1 || seen.as_deref() != Some(want) {
                wrong.push(format!("{what}: {written} → {seen:?}, {}", reply.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn options_star_is_answered_here() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let reply = proxy.ask("OPTIONS", "*").await;
    assert_eq!(reply.status, 204);
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn an_absolute_target_replaces_host_and_never_chooses_the_upstream() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let elsewhere = Origin::answering(Answer::cacheable("elsewhere")).await;
    let proxy = Proxy::before(&origin).upstream("host = \"client\"").await;
    proxy.get(&format!("http://{}/a", elsewhere.at)).host("api.test").await.assert(200, "hello");
    assert_eq!(elsewhere.total(), 0);
    let seen = origin.last("/a");
    assert!(seen.field("host").starts_with("127.0.0.1"), "{seen:?}");
    assert_eq!(seen.fields.all("host").len(), 1);
}

#[tokio::test]
async fn spellings_of_one_target_are_one_key() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/~a/%C3%A9?q=%27").await.assert(200, "hello");
    for (target, host) in [
        ("/~a/%C3%A9?q='", "api.test"),
        ("/~a/./%C3%A9?q=%27", "api.test"),
        ("/~a/%2E/%C3%A9?q=%27", "API.Test"),
        ("/~a/%C3%A9?q=%27", "api.test:80"),
        ("/~a/%C3%A9?q=%27", "api.test:8080"),
        ("http://api.test/~a/%C3%A9?q=%27", "ignored.test"),
    ] {
        let reply = proxy.get(target).host(host).await;
        assert!(reply.is_hit(), "{target} {host}: {:?}", reply.fields);
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn what_may_mean_another_thing_is_another_key() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let targets = ["/a/b", "/A/b", "/a//b", "/a%2Fb", "/a/b/", "/a/b?", "/a/b?x&y", "/a/b?y&x", "/a/b;x"];
    for target in targets {
        assert!(!proxy.get(target).await.is_hit(), "{target}");
    }
    assert!(!proxy.get("/a/b").host("other.test").await.is_hit());
    assert_eq!(origin.total(), targets.len() + 1);
}

#[tokio::test]
async fn the_port_counts_only_where_a_route_writes_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("host = [\"api.test:8080\", \"api.test\"]").await;
    assert!(!proxy.filled_by(proxy.get("/a").host("api.test")).await.is_hit());
    assert!(!proxy.filled_by(proxy.get("/a").host("api.test:8080")).await.is_hit());
    assert!(proxy.get("/a").host("api.test:8080").await.is_hit());
    proxy.get("/a").host("other.test").await.assert_error(421);
}

#[tokio::test]
async fn the_query_is_keyed_as_the_route_says_and_no_more_of_it_reaches_the_origin() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).route("query = { exclude = [\"utm_*\"], sort = true }").await;
    proxy.fill("/a?utm_source=x&b=2&a=1&b=1").await.assert(200, "hello");
    assert_eq!(origin.last("/a").target, "/a?a=1&b=2&b=1");
    assert!(proxy.get("/a?b=2&a=1&b=1&utm_medium=y").await.is_hit());
    assert!(!proxy.get("/a?b=1&a=1&b=2").await.is_hit(), "the order of repeated names stays");
    // A pass is the client's own.
    proxy.ask("POST", "/a?utm_source=x&b=2&a=1").content("x").await;
    assert_eq!(origin.last("/a").target, "/a?utm_source=x&b=2&a=1");
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn: Conn = proxy.connect().await;
    let one = proxy.get("/a").bytes();
    // Sent at once, answered in order; the third is cut in two.
    conn.send([one.as_slice(), &proxy.get("/b").bytes(), &one[..one.len() / 2]].concat()).await;
    for part in ["first", "second"] {
        let (reply, next) = conn.reply().await.unwrap_or_else(|| panic!("no {part} answer"));
        reply.assert(200, "hello");
        conn = next;
    }
    conn.send(&one[one.len() / 2..]).await;
    let (reply, _) = conn.reply().await.expect("the third answer");
    reply.assert(200, "hello");
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn connection_close_is_kept() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send(proxy.get("/a").field("Connection", "close").bytes()).await;
    let (reply, conn) = conn.reply().await.expect("an answer");
    reply.assert(200, "hello");
    assert!(conn.closed().await);
}

#[tokio::test]
async fn http_1_0_is_answered_in_its_own_terms() {
    let origin = Origin::answering(Answer::cacheable("hello").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut conn = proxy.connect().await;
    conn.send("GET /a HTTP/1.0\r\nHost: api.test\r\n\r\n").await;
    let reply = conn.last_reply().await.expect("an answer");
    assert!(!reply.fields.has("transfer-encoding"), "{reply:?}");
    reply.assert(200, "hello");
}

#[tokio::test]
async fn the_host_that_a_trusted_proxy_names_is_the_host() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("for {}", seen.field("x-forwarded-host"))));
    let proxy = Proxy::before(&origin)
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .route("host = [\"api.test\", \"other.test\"]")
        .await;
    let named = |method: &str, host: &str| proxy.ask(method, "/a").field("X-Forwarded-Host", host);
    proxy.filled_by(named("GET", "Other.Test")).await.assert(200, "for other.test");
    // What one host's clients were told is nothing to another's.
    proxy.fill("/a").await.assert(200, "for api.test");
    assert!(proxy.get("/a").host("other.test").await.is_hit(), "the same host, asked for by itself");
    let hit = named("GET", "other.test").await;
    assert!(hit.is_hit());
    hit.assert(200, "for other.test");
    named("OPTIONS", "other.test").await.assert(200, "for other.test");
    named("GET", "elsewhere.test").await.assert_error(421);
    for bad in ["a.test, b.test", "u@a.test", "a.test/b", "", "a.test:99999"] {
        named("GET", bad).await.assert_error(400);
    }
    named("GET", "api.test").field("X-Forwarded-Host", "other.test").await.assert_error(400);
}

/// A GET that fills, and the end of its fill. The log has paths in their canonical form.
async fn filled(proxy: &Proxy, target: &str) -> Reply {
    let reply = proxy.get(target).await;
    proxy.until_metric("dustgate_fills", &[], |fills| fills == 0.0).await;
    reply
}

#[tokio::test]
async fn an_odd_spelling_shares_nothing_and_is_purged_with_its_url() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("{} {}", seen.target, seen.nth)));
    let proxy = Proxy::before(&origin).await;
    let spellings = ["/~a?q=%C3%A9", "/%7Ea?q=%C3%A9", "/%7ea?q=%c3%a9", "/~a?q=%C3%a9"];
    for spelling in spellings {
        let own = |text: &[u8]| text.starts_with(spelling.as_bytes());
        let first = filled(&proxy, spelling).await;
        assert!(own(&first.body) && !first.is_hit(), "{spelling}: {first:?}");
        let second = proxy.get(spelling).await;
        assert!(own(&second.body) && second.is_hit(), "{spelling}: {second:?}");
    }
    assert_eq!(origin.total(), spellings.len());
    // Whichever is named, all of the URL's go.
    for named in ["/~a?q=%C3%A9", "/%7ea?q=%c3%a9"] {
        proxy.purge_url(named).await;
        for spelling in spellings {
            assert!(!filled(&proxy, spelling).await.is_hit(), "{named} leaves {spelling}");
        }
    }
}

#[tokio::test]
async fn an_unsafe_method_invalidates_its_url_however_it_is_spelled() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("{}", seen.nth)));
    let proxy = Proxy::before(&origin).await;
    for (got, posted) in [("/%7Ea", "/~a"), ("/~b", "/%7Eb"), ("/%7Ec", "/%7Ec"), ("/%7Ed", "/%7ed")] {
        filled(&proxy, got).await.assert(200, "1");
        assert!(proxy.get(got).await.is_hit());
        proxy.ask("POST", posted).content("x").await;
        assert!(!filled(&proxy, got).await.is_hit(), "a POST to {posted} leaves {got}");
    }
}

#[tokio::test]
async fn a_fill_of_an_odd_spelling_is_without_what_its_route_takes_away() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let route = "strip_prefix = \"/v1\"\nquery = { exclude = [\"utm_*\"], sort = true }";
    let proxy = Proxy::before(&origin).route(route).await;
    filled(&proxy, "/%761/x%7e?z=%7e&%75tm_a=who&a=50%").await.assert(200, "hello");
    assert_eq!(origin.last("/x%7e").target, "/x%7e?a=50%&z=%7e");
    // What the key leaves out splits nothing, however it is spelled.
    assert!(proxy.get("/%761/x%7e?a=50%&z=%7e&utm_b=%7e").await.is_hit());
    proxy.ask("POST", "/%761/x%7e?z=%7e&%75tm_a=who&a=50%").content("x").await;
    assert_eq!(origin.last("/x%7e").target, "/x%7e?z=%7e&%75tm_a=who&a=50%");
}

#[tokio::test]
async fn a_port_that_the_origin_is_told_is_in_the_key_and_in_the_fetch() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| {
        Answer::cacheable(format!("{} {}", seen.field("host"), seen.field("x-forwarded-host")))
    });
    let proxy = Proxy::before(&origin).upstream("host = \"client\"").await;
    for host in ["api.test:8080", "api.test:9090", "api.test"] {
        let text = format!("{host} {host}");
        let first = proxy.filled_by(proxy.get("/a").host(host)).await;
        assert!(!first.is_hit(), "{host}");
        first.assert(200, &text);
        let again = proxy.get("/a").host(host).await;
        assert!(again.is_hit(), "{host}");
        again.assert(200, &text);
        proxy.ask("POST", "/b").host(host).content("x").await.assert(200, &text);
        proxy.get("/c").host(host).field("If-Match", "*").await.assert(200, &text);
    }
}

#[tokio::test]
async fn a_pass_tells_the_port_and_a_fill_only_one_that_its_key_has() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(seen.field("x-forwarded-host").to_owned()));
    let proxy = Proxy::before(&origin).await;
    let host = "api.test:8080";
    proxy.get("/a").host(host).field("If-Match", "*").await.assert(200, host);
    proxy.get("/a").host(host).field("X-HTTP-Method", "GET").await.assert(200, host);
    proxy.ask("POST", "/a").host(host).content("x").await.assert(200, host);
    proxy.filled_by(proxy.get("/a").host(host)).await.assert(200, "api.test");
}

#[tokio::test]
async fn a_request_of_http_1_0_without_host_is_answered_on_routes_without_one() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| {
        let forwarded = if seen.fields.has("x-forwarded-host") { "a host" } else { "no host" };
        Answer::cacheable(format!("{} {forwarded}", seen.fields.all("host").len()))
    });
    let ask = async |proxy: &Proxy, bytes: &str| {
        let mut conn = proxy.connect().await;
        conn.send(bytes).await;
        conn.last_reply().await.expect("an answer")
    };
    let bare = "GET /health HTTP/1.0\r\n\r\n";
    for upstream in ["", "host = \"client\""] {
        let proxy = Proxy::before(&origin).upstream(upstream).await;
        ask(&proxy, bare).await.assert(200, "1 no host");
        proxy.until_stored(1).await;
        assert!(ask(&proxy, bare).await.is_hit());
        proxy.purge(&serde_json::json!({ "url": "http:///health" })).await;
        assert!(!ask(&proxy, bare).await.is_hit());
        ask(&proxy, "GET /health HTTP/1.1\r\n\r\n").await.assert_error(400);
    }
    let proxy = Proxy::before(&origin).route("host = \"api.test\"").await;
    ask(&proxy, bare).await.assert_error(421);
}

#[tokio::test]
async fn options_goes_as_far_as_it_may() {
    let origin = Origin::answering(Answer::ok("origin")).await;
    let proxy = Proxy::before(&origin).await;
    let ask = |most: &str| proxy.ask("OPTIONS", "/a").field("Max-Forwards", most);
    let here = ask("0").await;
    assert_eq!((here.status, origin.total()), (204, 0));
    assert!(here.field("allow").contains("GET"), "{here:?}");
    ask("1").await.assert(200, "origin");
    assert_eq!(origin.last("/a").field("max-forwards"), "0");
    ask("x").await.assert(200, "origin");
    assert_eq!(origin.last("/a").field("max-forwards"), "x");
    proxy.ask("POST", "/a").field("Max-Forwards", "0").content("x").await.assert(200, "origin");
    assert_eq!(origin.last("/a").field("max-forwards"), "0", "it is for OPTIONS and TRACE");
}
