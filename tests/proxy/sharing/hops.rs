//! Connection: what it names is taken out before anybody looks, and nothing else is lost by it.

use super::{CLIENTS, Client, Gets, ROW, Row, Times, play, told};
use crate::support::{Answer, Origin, Proxy, all};

#[tokio::test]
async fn what_connection_names_was_never_said() {
    let nobodys = ROW.is_nobodys();
    play(&[
        Row {
            name: "authorization",
            ask: |c| c.named("Authorization", "Bearer ").field("Connection", "authorization"),
            ..nobodys
        },
        Row {
            name: "cookie",
            ask: |c| c.named("Cookie", "session=").field("Connection", "keep-alive, Cookie"),
            ..nobodys
        },
        Row {
            name: "cookie, in a second line",
            ask: |c| {
                let ask = c.named("Cookie", "session=").field("Connection", "keep-alive");
                ask.field("Connection", "cookie")
            },
            ..nobodys
        },
        Row {
            name: "a keyed field",
            route: "vary_on = [\"x-user\"]",
            ask: |c| c.named("X-User", "").field("Connection", "x-user"),
            ..nobodys
        },
        Row {
            name: "a field that selects",
            ask: |c| c.named("X-User", "").field("Connection", "x-user"),
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User"),
            ..nobodys
        },
        Row {
            name: "a field for this hop alone",
            ask: |c| {
                let ask = c.named("Proxy-Authorization", "Basic ");
                c.names(ask, "Keep-Alive", "x=")
            },
            ..nobodys
        },
        Row {
            name: "the client's cache-control",
            route: "client_cache_control = \"honour\"",
            ask: |c| {
                c.named("Authorization", "Bearer ")
                    .field("Cache-Control", "no-cache")
                    .field("Connection", "cache-control")
            },
            gets: Gets::Own,
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..nobodys
        },
        Row {
            name: "the length of content",
            ask: |c| c.get("/a").content(c.who()).field("Connection", "content-length"),
            gets: Gets::Own,
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..nobodys
        },
    ])
    .await;
}

#[tokio::test]
async fn an_origins_connection_hides_nothing_that_it_said_about_sharing() {
    let named = Row { ask: |c: &Client| c.named("X-User", ""), ..ROW };
    play(&[
        Row {
            name: "private",
            answer: |seen| told(seen).cache("private, max-age=60").field("Connection", "cache-control"),
            ..named
        },
        Row {
            name: "Set-Cookie",
            answer: |seen| {
                let answer = told(seen).cache("max-age=60").field("Connection", "set-cookie");
                answer.field("Set-Cookie", seen.field("x-user"))
            },
            ..named
        },
        Row {
            name: "Vary",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User").field("Connection", "vary"),
            again: Times::Exactly(1),
            ..named
        },
        Row {
            name: "a field of somebody's own",
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=60").field("Connection", "x-for");
                answer.field("X-For", seen.field("x-user"))
            },
            ..named.is_nobodys()
        },
    ])
    .await;
}

/// Content whose length Connection names is content all the same: what stands in it is never taken
/// for the next request.
#[tokio::test]
async fn content_stays_content_whatever_connection_names() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| told(seen).cache("max-age=60"));
    let proxy = Proxy::before(&origin).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let lengths = [
        format!("Content-Length: {}\r\nConnection: content-length\r\n\r\n{hidden}", hidden.len()),
        format!(
            "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ),
    ];
    for method in ["GET", "POST"] {
        for rest in &lengths {
            let asks = (0..CLIENTS).map(async |n| {
                let mut conn = proxy.connect().await;
                conn.send(format!("{method} /who-{n}- HTTP/1.1\r\nHost: api.test\r\n{rest}")).await;
                conn.send(format!("GET /then-who-{n}- HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
                let (first, conn) = conn.reply().await.expect("an answer");
                (first, conn.last_reply().await)
            });
            for (n, (first, then)) in all(asks).await.into_iter().enumerate() {
                assert_eq!(super::identities(first.text()), [n].into());
                if let Some(then) = then {
                    assert!(then.text().contains(&format!("GET /then-who-{n}-")), "{}", then.text());
                }
            }
        }
    }
    assert_eq!(origin.count("/hidden"), 0);
    // It reached the origin as content, each time.
    for seen in origin.requests("/who-3-") {
        assert_eq!(String::from_utf8_lossy(&seen.content), hidden, "{seen:?}");
    }
}
