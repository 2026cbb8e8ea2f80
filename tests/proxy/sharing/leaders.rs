//! Who comes first does not decide what the others get: HEAD, Range, conditions, content.

use super::{CLIENTS, Client, Gets, ROW, Row, Times, play, told};
use crate::support::client::RequestFacts;
use crate::support::origin::Seen;
use crate::support::{Answer, End, Reply};

const BODY: &str = "0123456789";

/// The first client asks like this, the others for the whole.
const FIRST: Row =
    Row { led: true, answer: stored, gets: Gets::Nobodys, also: the_whole, again: Times::AtMost(1), ..ROW };

fn stored(_: &Seen) -> Answer {
    Answer::ok(BODY).cache("max-age=60").field("ETag", "\"a\"")
}

/// An origin that answers a Range itself.
fn ranged(seen: &Seen) -> Answer {
    if !seen.fields.has("range") {
        return stored(seen);
    }
    let part = Answer::status(206).part("234").cache("max-age=60").field("ETag", "\"a\"");
    part.field("Content-Range", "bytes 2-4/10")
}

fn is_first(client: &Client) -> bool {
    client.n == Some(0)
}

/// Everybody but the first has the whole.
fn the_whole(client: &Client, reply: &Reply) {
    if !is_first(client) {
        reply.assert(200, BODY);
    }
    assert_eq!(reply.end, End::Clean);
}

/// What was not asked for is a failure of the origin's, for all who waited: never an answer.
fn a_failure_or_the_whole(_: &Client, reply: &Reply) {
    if reply.status == 502 { reply.assert_error(502) } else { reply.assert(200, BODY) }
}

fn first_with(client: &Client, field: &str, value: &str) -> RequestFacts {
    let ask = client.get("/a");
    if is_first(client) { ask.field(field, value) } else { ask }
}

#[tokio::test]
async fn who_comes_first_decides_nothing() {
    let head = |client: &Client| if is_first(client) { client.ask("HEAD", "/a") } else { client.get("/a") };
    play(&[
        // It passes by itself, and the others share one exchange.
        Row { name: "a HEAD", ask: head, costs: Times::Exactly(2), again: Times::Exactly(0), ..FIRST },
        Row {
            name: "a HEAD of what is not stored",
            ask: head,
            answer: |_| Answer::ok(BODY).cache("no-store"),
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..FIRST
        },
        Row {
            name: "a Range",
            ask: |client| first_with(client, "Range", "bytes=2-4"),
            answer: ranged,
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            also: |client, reply| {
                if is_first(client) {
                    reply.assert(206, "234");
                    assert_eq!(reply.field("content-range"), "bytes 2-4/10");
                }
                the_whole(client, reply);
            },
            ..FIRST
        },
        Row {
            name: "a Range, on a route that passes them",
            route: "range = \"pass\"",
            ask: |client| first_with(client, "Range", "bytes=2-4"),
            answer: ranged,
            costs: Times::Exactly(2),
            again: Times::Exactly(0),
            also: |client, reply| {
                if is_first(client) {
                    reply.assert(206, "234");
                }
                the_whole(client, reply);
            },
            ..FIRST
        },
        Row {
            name: "a Range that can't be satisfied",
            ask: |client| first_with(client, "Range", "bytes=100-"),
            answer: ranged,
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            ..FIRST
        },
        Row {
            name: "a condition that holds",
            ask: |client| first_with(client, "If-None-Match", "\"a\""),
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            also: |client, reply| {
                if is_first(client) {
                    reply.assert(304, "");
                }
                the_whole(client, reply);
            },
            ..FIRST
        },
        Row {
            name: "a condition that does not",
            ask: |client| first_with(client, "If-None-Match", "\"b\", W/\"c\""),
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            also: |_, reply| reply.assert(200, BODY),
            ..FIRST
        },
        Row {
            name: "a date",
            ask: |client| first_with(client, "If-Modified-Since", "Sun, 06 Nov 2044 08:49:37 GMT"),
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            ..FIRST
        },
        Row {
            name: "If-Match, which passes",
            ask: |client| first_with(client, "If-Match", "\"b\""),
            answer: |seen| {
                if seen.fields.has("if-match") {
                    Answer::status(412).cache("max-age=60")
                } else {
                    stored(seen)
                }
            },
            costs: Times::Exactly(2),
            again: Times::Exactly(1),
            ..FIRST
        },
        Row {
            name: "If-Unmodified-Since, which passes",
            ask: |client| first_with(client, "If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            answer: |seen| {
                let conditional = seen.fields.has("if-unmodified-since");
                if conditional { Answer::status(412).cache("max-age=60") } else { stored(seen) }
            },
            costs: Times::Exactly(2),
            again: Times::Exactly(1),
            ..FIRST
        },
        Row {
            name: "content, which passes",
            ask: |client| {
                if is_first(client) { client.get("/a").content("who-0-") } else { client.get("/a") }
            },
            answer: |seen| {
                if seen.content.is_empty() { stored(seen) } else { told(seen).cache("max-age=60") }
            },
            gets: Gets::OwnOrNobodys,
            costs: Times::Exactly(2),
            again: Times::Exactly(1),
            ..FIRST
        },
        Row {
            name: "another method, by a field",
            ask: |client| first_with(client, "X-HTTP-Method-Override", "DELETE"),
            answer: |seen| {
                let other = seen.fields.has("x-http-method-override");
                if other { Answer::ok("gone").cache("max-age=60") } else { stored(seen) }
            },
            costs: Times::Exactly(2),
            again: Times::Exactly(1),
            ..FIRST
        },
        Row {
            name: "a part that nobody asked for",
            ask: |client| client.get("/a"),
            answer: |seen| {
                let part = Answer::status(206).part("234").cache("max-age=60").field("ETag", "\"a\"");
                if seen.nth == 1 { part.field("Content-Range", "bytes 2-4/10") } else { stored(seen) }
            },
            costs: Times::Exactly(1),
            again: Times::AtMost(1),
            also: a_failure_or_the_whole,
            ..FIRST
        },
        Row {
            name: "not modified, which nobody asked",
            ask: |client| client.get("/a"),
            answer: |seen| if seen.nth == 1 { Answer::status(304).cache("max-age=60") } else { stored(seen) },
            costs: Times::Exactly(1),
            again: Times::AtMost(1),
            also: a_failure_or_the_whole,
            ..FIRST
        },
    ])
    .await;
}

#[tokio::test]
async fn each_has_the_part_it_asked_for() {
    let own = |client: &Client| match client.n {
        Some(n) => client.get("/a").field("Range", &format!("bytes={}-{}", n % 10, n % 10)),
        None => client.get("/a"),
    };
    let part: fn(&Client, &Reply) = |client, reply| match client.n {
        Some(n) => reply.assert(206, &(n % 10).to_string()),
        None => reply.assert(200, BODY),
    };
    play(&[Row { name: "one exchange for all", ask: own, answer: stored, also: part, ..ROW.is_nobodys() }])
        .await;
}

#[tokio::test]
async fn content_is_its_senders_own() {
    let content: fn(&Client) -> RequestFacts = |client| client.get("/a").content(client.who());
    play(&[
        Row { name: "of a GET", ask: content, again: Times::AtMost(CLIENTS + 1), ..ROW },
        Row { name: "of a POST", ask: |client| client.ask("POST", "/a").content(client.who()), ..ROW },
        Row {
            name: "of a POST that fills the GET, with credentials",
            ask: |client| {
                let ask = client.ask("POST", "/a").content(client.who());
                client.names(ask, "Authorization", "Bearer ")
            },
            answer: |seen| told(seen).cache("max-age=60").field("Content-Location", &seen.target),
            ..ROW
        },
    ])
    .await;
}

#[tokio::test]
async fn only_if_cached_asks_nobody() {
    let ask: fn(&Client) -> RequestFacts =
        |client| client.named("X-User", "").field("Cache-Control", "only-if-cached");
    let refused: fn(&Client, &Reply) = |_, reply| reply.assert_error(504);
    let row = Row {
        ask,
        gets: Gets::Nobodys,
        costs: Times::Exactly(0),
        again: Times::Exactly(0),
        also: refused,
        ..ROW
    };
    play(&[
        Row { name: "of a stranger", ..row },
        Row {
            name: "with a Range",
            ask: |c| {
                c.get("/a").field("Range", "bytes=0-1").field("Cache-Control", "max-age=1, ONLY-IF-CACHED")
            },
            ..row
        },
        Row {
            name: "with credentials",
            ask: |c| c.named("Authorization", "").field("Cache-Control", "only-if-cached"),
            ..row
        },
        Row {
            name: "a HEAD",
            ask: |c| c.ask("HEAD", "/a").field("Cache-Control", "only-if-cached"),
            also: |_, reply| assert_eq!(reply.status, 504),
            ..row
        },
    ])
    .await;
}
