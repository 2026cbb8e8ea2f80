//! What is said to be stored is stored: a head that no record can hold is known before it goes out.

use crate::support::{Answer, Origin, Proxy};

/// Asks twice: either the second is a hit, or neither was said to be stored. Returns whether it is.
async fn is_stored_as_said(proxy: &Proxy, path: &str) -> bool {
    let first = proxy.get(path).await;
    let said = first.cache_status().contains("stored");
    proxy.until_metric("dustgate_fills_total", &[], |fills| fills >= 1.0).await;
    let second = proxy.get(path).await;
    assert_eq!(second.is_hit(), said, "{path}: {} {}", first.cache_status(), second.cache_status());
    assert_eq!(first.status, second.status, "{path}");
    assert_eq!(first.body, second.body, "{path}");
    said
}

#[tokio::test]
async fn what_is_said_to_be_stored_is_stored() {
    let origin = Origin::start().await;
    let raw = |head: &str, body: &str| {
        Answer::raw(format!("HTTP/1.1 {head}\r\nCache-Control: max-age=60\r\n\r\n{body}"))
    };
    let long = |len: usize| Answer::cacheable("hello").field("X-Long", &"x".repeat(len));
    for (path, answer, stored) in [
        ("/204", raw("204 No Content\r\nContent-Length: 5", ""), true),
        ("/twice", raw("200 OK\r\nContent-Length: 5, 5", "hello"), true),
        ("/lines", raw("200 OK\r\nContent-Length: 5\r\nContent-Length: 5", "hello"), true),
        ("/long", long(60_000), true),
        ("/too-long", long(70_000), false),
        (
            "/chunked-long",
            Answer::status(200).cache("max-age=60").field("X-Long", &"x".repeat(40_000)).chunked().part("a"),
            false,
        ),
    ] {
        origin.on(path, answer);
        let proxy = Proxy::before(&origin).await;
        assert_eq!(is_stored_as_said(&proxy, path).await, stored, "{path}");
        let too_large = [("outcome", "too_large")];
        assert_eq!(proxy.metrics().await.sum("dustgate_fills_total", &too_large), 0.0, "{path}");
    }
}

#[tokio::test]
async fn a_length_goes_on_as_one_number_and_only_with_content() {
    let origin = Origin::start().await;
    origin.on_each("/204", |_| Answer::raw("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"));
    origin.on_each("/twice", |_| Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"));
    origin.on_each("/unclear", |_| Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello"));
    let proxy = Proxy::before(&origin).await;
    for method in ["GET", "POST"] {
        let empty = proxy.ask(method, "/204").await;
        assert_eq!((empty.status, empty.fields.get("content-length")), (204, None), "{method}");
        let twice = proxy.ask(method, "/twice").await;
        assert_eq!((twice.text(), twice.field("content-length")), ("hello", "5"), "{method}");
        proxy.ask(method, "/unclear").await.assert_error(502);
    }
}

#[tokio::test]
async fn a_status_that_is_none_of_http_is_a_failure_and_is_not_stored() {
    let origin = Origin::answering(Answer::raw(
        "HTTP/1.1 600 Beyond\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello",
    ))
    .await;
    let proxy = Proxy::before(&origin).await;
    let reply = proxy.get("/a").await;
    assert!(!reply.cache_status().contains("stored"), "{}", reply.cache_status());
    proxy.until_metric("dustgate_fills_total", &[("outcome", "failed")], |failed| failed >= 1.0).await;
}

#[tokio::test]
async fn a_value_of_any_bytes_selects_a_variant_that_is_stored() {
    let origin = Origin::answering(Answer::cacheable("hello").field("Vary", "X-Name")).await;
    let proxy = Proxy::before(&origin).await;
    for name in ["\u{c0}", "\u{4e2d}", "\"a\tb\""] {
        proxy.filled_by(proxy.get("/a").field("X-Name", name)).await;
        let again = proxy.get("/a").field("X-Name", name).await;
        assert!(again.is_hit(), "{name:?}: {}", again.cache_status());
    }
}
