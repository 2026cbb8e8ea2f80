//! Authorization and cookies: each client's own, unless the origin or the route says otherwise.

use super::{CLIENTS, Gets, ONCE, ROW, Row, Times, play, told};
use crate::support::Answer;

const AUTHORIZED: Row = Row { ask: |client| client.named("Authorization", "Bearer "), ..ROW };
const COOKIED: Row = Row { ask: |client| client.named("Cookie", "session="), ..ROW };

#[tokio::test]
async fn authorization() {
    play(&[
        Row { name: "max-age alone", again: Times::Exactly(CLIENTS + 1), ..AUTHORIZED },
        Row {
            name: "no words at all, and a lifetime of the route's",
            route: "default_ttl = \"1m\"",
            answer: told,
            ..AUTHORIZED
        },
        Row {
            name: "a lifetime by Last-Modified",
            answer: |seen| told(seen).field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ..AUTHORIZED
        },
        Row {
            name: "by Expires",
            answer: |seen| told(seen).field("Expires", "Sun, 06 Nov 2044 08:49:37 GMT"),
            ..AUTHORIZED
        },
        Row {
            name: "a status with a lifetime of the route's",
            route: "status_ttl = { 404 = \"1m\" }",
            answer: |seen| Answer::status(404).part(super::heard(seen)),
            ..AUTHORIZED
        },
        Row {
            name: "private, which the route overlooks",
            route: "ignore = [\"private\"]",
            answer: |seen| told(seen).cache("private, max-age=60"),
            again: Times::AtMost(CLIENTS + 1),
            ..AUTHORIZED
        },
        Row {
            name: "proxy-revalidate is no word of it",
            answer: |seen| told(seen).cache("max-age=60, proxy-revalidate"),
            ..AUTHORIZED
        },
        Row {
            name: "public but private",
            answer: |seen| told(seen).cache("public, private, max-age=60"),
            ..AUTHORIZED
        },
        Row {
            name: "public but no-store",
            answer: |seen| told(seen).cache("public, no-store, max-age=60"),
            ..AUTHORIZED
        },
        Row {
            name: "public, and it varies on Authorization",
            answer: |seen| told(seen).cache("public, max-age=60").field("Vary", "Authorization"),
            // Each has its own by then, or as many as may be kept of one key.
            again: Times::AtMost(CLIENTS + 1),
            ..AUTHORIZED
        },
        Row {
            name: "public",
            answer: |seen| told(seen).cache("public, max-age=60"),
            ..AUTHORIZED.is_anybodys()
        },
        Row { name: "s-maxage", answer: |seen| told(seen).cache("s-maxage=60"), ..AUTHORIZED.is_anybodys() },
        Row {
            name: "must-revalidate",
            answer: |seen| told(seen).cache("max-age=60, must-revalidate"),
            ..AUTHORIZED.is_anybodys()
        },
        Row {
            name: "in the key",
            route: "vary_on = [\"authorization\"]",
            // Client 7 is there by itself, and so is the stranger, who comes later.
            again: Times::Exactly(1),
            ..AUTHORIZED
        },
        Row { name: "a failure", answer: |seen| Answer::status(503).part(super::heard(seen)), ..AUTHORIZED },
    ])
    .await;
}

#[tokio::test]
async fn cookies() {
    play(&[
        Row { name: "guarded", ..COOKIED },
        Row {
            name: "guarded, and a lifetime of the route's",
            route: "default_ttl = \"1m\"",
            answer: told,
            ..COOKIED
        },
        Row { name: "passed", route: "cookies = \"pass\"", ..COOKIED },
        Row {
            name: "passed, though public",
            route: "cookies = \"pass\"",
            answer: |seen| told(seen).cache("public, max-age=60"),
            ..COOKIED
        },
        Row {
            name: "stripped: the origin never sees one",
            route: "cookies = \"strip\"",
            ..COOKIED.is_nobodys()
        },
        Row {
            name: "stripped, where the origin says that it varies on them",
            route: "cookies = \"strip\"",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "Cookie"),
            ..COOKIED.is_nobodys()
        },
        Row {
            name: "Vary: Cookie",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "Cookie"),
            again: Times::AtMost(CLIENTS + 1),
            ..COOKIED
        },
        Row {
            name: "public",
            answer: |seen| told(seen).cache("public, max-age=60"),
            ..COOKIED.is_anybodys()
        },
        Row {
            name: "one of them in the key",
            route: "vary_on = [\"cookie:session\"]",
            again: Times::Exactly(1),
            ..COOKIED
        },
        Row {
            name: "another one in the key",
            route: "vary_on = [\"cookie:lang\"]",
            ask: |client| client.named("Cookie", "lang=de; session="),
            ..COOKIED.is_its_own_or_nobodys()
        },
        Row {
            name: "both, and the answer is for one of them only",
            ask: |client| {
                let ask = client.named("Cookie", "session=");
                client.names(ask, "Authorization", "Bearer ")
            },
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "Cookie"),
            ..COOKIED
        },
    ])
    .await;
}

#[tokio::test]
async fn a_mixed_crowd_gets_what_is_each_ones_own() {
    // Every other client has no credentials: those share one exchange, and the others go alone.
    let mixed = |client: &super::Client| match client.n {
        Some(n) if n % 2 == 1 => client.named("Authorization", "Bearer "),
        _ => client.get("/a"),
    };
    play(&[
        Row {
            name: "max-age alone",
            ask: mixed,
            gets: Gets::OwnOrNobodys,
            costs: Times::Exactly(CLIENTS / 2 + 1),
            again: Times::Exactly(CLIENTS / 2),
            ..ROW
        },
        Row {
            name: "not stored, though shared with who was there",
            ask: mixed,
            answer: |seen| told(seen).cache("max-age=0"),
            gets: Gets::OwnOrNobodys,
            costs: Times::Exactly(CLIENTS / 2 + 1),
            again: ONCE,
            ..ROW
        },
    ])
    .await;
}
