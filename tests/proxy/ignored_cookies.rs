//! Cookies that a route ignores are not there: for the key, for what is shared, and for the origin.

use crate::support::{Answer, Origin, Proxy};

const IGNORED: &str = "ignore_cookies = [\"analytics\", \"ab_*\"]";

/// An origin that answers with the cookies that it got.
async fn echo(answer: Answer) -> Origin {
    let origin = Origin::start().await;
    origin
        .on_each("/a", move |seen| answer.clone().part(format!("<{}>", seen.fields.all("cookie").join("|"))));
    origin
}

#[tokio::test]
async fn a_request_with_ignored_cookies_alone_is_one_without_cookies() {
    let origin = echo(Answer::status(200).cache("max-age=60")).await;
    let proxy = Proxy::before(&origin).route(IGNORED).await;
    let reply = proxy.filled_by(proxy.get("/a").field("Cookie", "_ga=GA1.1.7; _ga_X=GS1; ab_2=b")).await;
    reply.assert(200, "<>");
    assert_eq!(reply.cache_status(), "dustgate; fwd=uri-miss; stored");
    assert!(!origin.last("/a").fields.has("cookie"), "the field is gone");
    for cookies in ["_fbp=fb.1", "_ga=2;_gid=3; ", " ab_ = 1"] {
        let reply = proxy.get("/a").field("Cookie", cookies).await;
        assert!(reply.is_hit(), "{cookies:?}: {reply:?}");
    }
    assert!(proxy.get("/a").await.is_hit());
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn other_cookies_are_what_they_are_without_the_ignored_ones() {
    let origin = echo(Answer::status(200).cache("max-age=60")).await;
    let proxy = Proxy::before(&origin).route(IGNORED).await;
    let ask = proxy.get("/a").field("Cookie", "_ga=1; session=2; _GA=3");
    let reply = ask.field("Cookie", "_gid=4").field("Cookie", "b=\"5\"").await;
    assert_eq!(reply.cache_status(), "dustgate; fwd=bypass; detail=cookie");
    reply.assert(200, "<session=2; _GA=3|b=\"5\">");
}

#[tokio::test]
async fn variants_by_cookie_are_told_apart_by_what_is_left() {
    let origin = echo(Answer::status(200).cache("max-age=60").field("Vary", "Cookie")).await;
    let proxy = Proxy::before(&origin).route(IGNORED).await;
    proxy.filled_by(proxy.get("/a").field("Cookie", "theme=dark; _ga=1")).await.assert(200, "<theme=dark>");
    for cookies in ["_ga=2; theme=dark", "theme=dark"] {
        let reply = proxy.get("/a").field("Cookie", cookies).await;
        assert!(reply.is_hit(), "{cookies:?}: {reply:?}");
    }
    proxy.filled_by(proxy.get("/a").field("Cookie", "_ga=3")).await.assert(200, "<>");
    assert!(proxy.get("/a").await.is_hit());
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn what_passes_loses_them_too() {
    let origin = echo(Answer::ok("")).await;
    let proxy = Proxy::before(&origin).route(IGNORED).await;
    let ask = proxy.ask("POST", "/a").content("x");
    ask.field("Cookie", "_ga=1; session=2").await.assert(200, "<session=2>");
    // Without the setting they pass as they are.
    let plain = Proxy::before(&origin).await;
    let ask = plain.ask("POST", "/a").content("x");
    ask.field("Cookie", "_ga=1;session=2").await.assert(200, "<_ga=1;session=2>");
}

#[tokio::test]
async fn explain_says_which_were_ignored() {
    let origin = echo(Answer::status(200).cache("max-age=60")).await;
    let proxy = Proxy::before(&origin).route(IGNORED).await;
    let explained = async |cookies: &str| {
        let field = format!("Cookie: {cookies}");
        proxy.command(&["explain", "http://api.test/a", "-H", &field]).await
    };
    let alone = explained("_gid=1; ab_1=2; _ga=3; _ga=4").await;
    assert!(alone.out.contains("\ncookies    ignored: _ga, _gid, ab_1 (ignore_cookies)\n"), "{alone:?}");
    assert_eq!(alone.code, 3, "it is a miss like any other: {alone:?}");
    let with_another = explained("_ga=1; session=2").await;
    assert!(with_another.out.contains("\ncookies    ignored: _ga (ignore_cookies)\n"), "{with_another:?}");
    assert_eq!(with_another.code, 4, "{with_another:?}");
    assert!(!explained("session=2").await.out.contains("\ncookies"));
}
