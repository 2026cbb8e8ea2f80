//! What goes on the wire, and what comes off it.

use dustgate::upstream::{ErrorKind, HostRule};
use http::HeaderValue;

use super::*;
use crate::support::origin::Act::{Expect, Head, Read};
use crate::support::origin::{Wire, say};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_request_is_sent_as_it_stands() {
    let mut origin = Wire::saying(OK).await;
    let mut asked = request(Method::GET, "//a;b/%2F/~x%20y%7e%c3?q=%27&&a[]=1|2^3&=&50%off&%u00e9`{}");
    asked.headers.insert("accept", HeaderValue::from_static("text/plain"));
    asked.headers.append("x-two", HeaderValue::from_static("1"));
    asked.headers.append("x-two", HeaderValue::from_static("2"));
    asked.headers.insert("x-bytes", HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap());
    plain(&origin.url()).send(asked).await.unwrap();
    let expected = format!(
        "GET //a;b/%2F/~x%20y%7e%c3?q=%27&&a[]=1|2^3&=&50%off&%u00e9`{{}} HTTP/1.1\r\naccept: text/plain\r\nx-two: 1\r\nx-two: 2\r\n\
         x-bytes: café\r\nhost: {}\r\n\r\n",
        origin.address
    );
    assert_eq!(origin.request().await, expected);
}

#[tokio::test]
async fn only_accept_is_added() {
    let mut origin = Wire::saying(OK).await;
    get(&plain(&origin.url()), "/?").await.unwrap();
    let expected = format!("GET /? HTTP/1.1\r\naccept: */*\r\nhost: {}\r\n\r\n", origin.address);
    assert_eq!(origin.request().await, expected);
}

#[tokio::test]
async fn a_space_before_a_colon_is_taken_off() {
    let origin =
        Wire::saying("HTTP/1.1 200 OK\r\nX-A : 1\r\nX-B\t: 2\r\nContent-Length : 5\r\n\r\nhello").await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(
        (&response.headers["x-a"], &response.headers["x-b"]),
        (&"1".parse().unwrap(), &"2".parse().unwrap())
    );
    assert_eq!(read(response).await, ("hello".into(), None));
}

#[tokio::test]
async fn a_target_that_would_be_changed_is_not_sent() {
    let mut origin = Wire::saying(OK).await;
    let client = plain(&origin.url());
    for target in
        ["/a/../b", "/a/%2e%2e/b", "/a\\b", "/a\tb", "/a#b", "/?q='", "/\"", "a", "", "@evil/", "/é"]
    {
        assert_eq!(get(&client, target).await.expect_err(target).kind, ErrorKind::Protocol, "{target:?}");
    }
    assert!(origin.rest().is_empty());
}

#[tokio::test]
async fn a_base_path_stands_before() {
    for base in ["/base", "/base/"] {
        let mut origin = Wire::saying(OK).await;
        get(&plain(&format!("{}{base}", origin.url())), "/x?y").await.unwrap();
        assert!(origin.request().await.starts_with("GET /base/x?y HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stay_behind() {
    let mut origin = Wire::saying(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\n\
         proxy-connection: x\r\nupgrade: h2c\r\ntrailer: t\r\nx-end: 1\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let mut asked = request(Method::GET, "/");
    for (name, value) in [
        ("connection", "x-mine, te"),
        ("x-mine", "1"),
        ("te", "gzip"),
        ("keep-alive", "1"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "secret"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("content-length", "3"),
        ("accept", "*/*"),
    ] {
        asked.headers.insert(name, HeaderValue::from_static(value));
    }
    let response = plain(&origin.url()).send(asked).await.unwrap();
    let names: Vec<&str> = response.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["x-end", "content-length"]);
    let expected = format!("GET / HTTP/1.1\r\naccept: */*\r\nhost: {}\r\n\r\n", origin.address);
    assert_eq!(origin.request().await, expected);
}

#[tokio::test]
async fn host_is_as_the_setting_says() {
    for (rule, expected) in [
        (HostRule::Upstream, None),
        (HostRule::Client, Some("client.example:8080")),
        (HostRule::Name("name.example".into()), Some("name.example")),
    ] {
        let mut origin = Wire::saying(OK).await;
        let client = client(&origin.url(), |settings| settings.host = rule);
        let mut asked = request(Method::GET, "/");
        asked.headers.insert("host", HeaderValue::from_static("client.example:8080"));
        client.send(asked).await.unwrap();
        let address = origin.address.to_string();
        let line = format!("\r\nhost: {}\r\n", expected.unwrap_or(&address));
        let request = origin.request().await;
        assert!(request.contains(&line), "{request:?}");
        assert_eq!(request.matches("host:").count(), 1);
    }
}

#[tokio::test]
async fn redirects_and_codings_are_left_alone() {
    let origin = Wire::saying(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nzip",
    )
    .await;
    let response = get(&plain(&origin.url()), "/").await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(response.headers["content-encoding"], "gzip");
    assert_eq!(response.headers["content-length"], "3");
    assert_eq!(read(response).await, ("zip".into(), None));
}

#[tokio::test]
async fn a_declared_length_of_a_request_is_kept() {
    let mut origin = Wire::saying(OK).await;
    let mut asked = request(Method::POST, "/");
    asked.headers.insert("content-length", HeaderValue::from_static("10"));
    asked.body = Some(pieces(&["hello", "world"]));
    plain(&origin.url()).send(asked).await.unwrap();
    let seen = origin.request().await;
    assert!(seen.contains("content-length: 10\r\n") && !seen.contains("transfer-encoding"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nhelloworld"));
}

#[tokio::test]
async fn a_request_of_unknown_length_goes_in_chunks() {
    let chunks = "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    let mut origin = Wire::new(vec![vec![Head, Read(chunks.len()), say(OK)]]).await;
    let mut asked = request(Method::PUT, "/");
    asked.body = Some(pieces(&["hello", "world"]));
    plain(&origin.url()).send(asked).await.unwrap();
    assert!(origin.request().await.contains("transfer-encoding: chunked\r\n"));
    assert_eq!(origin.request().await, chunks);
}

#[tokio::test]
async fn a_bodiless_post_declares_that() {
    let mut origin = Wire::saying(OK).await;
    plain(&origin.url()).send(request(Method::POST, "/")).await.unwrap();
    assert!(origin.request().await.contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn a_client_that_breaks_off_is_not_the_origins_fault() {
    let origin = Wire::new(vec![vec![Expect, say(OK)]]).await;
    let mut asked = request(Method::POST, "/");
    let broken: Vec<Result<bytes::Bytes, Error>> = vec![
        Ok("half".into()),
        Err(Error { kind: ErrorKind::RequestBody, detail: "the client left".into() }),
    ];
    asked.body = Some(Box::pin(futures_util::stream::iter(broken)));
    let error = plain(&origin.url()).send(asked).await.unwrap_err();
    assert_eq!(error, Error { kind: ErrorKind::RequestBody, detail: "the client left".into() });
}

#[tokio::test]
async fn settings_that_cannot_be() {
    for url in ["ftp://h", "nonsense", "http://u:p@h", "http://h/?q", "http://h/#f", "unix:/x"] {
        assert!(Client::new(Settings::new(url)).is_err(), "{url}");
    }
    let mut settings = Settings::new("http://h");
    settings.host = HostRule::Name("a\nb".into());
    assert!(Client::new(settings).is_err());
}
