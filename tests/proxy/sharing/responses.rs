//! What a response says against sharing it, and Vary.

use super::{CLIENTS, Gets, ONCE, ROW, Row, Times, heard, play, told};
use crate::support::Answer;

/// Each says who it is in a field that means nothing to caches.
const NAMED: Row = Row { ask: |client| client.named("X-User", ""), ..ROW };

/// Two clients of each kind.
const PAIRS: Row = Row {
    ask: |client| match client.n {
        Some(n) => client.get("/a").field("X-User", &format!("who-{}-", n / 2)),
        None => client.get("/a"),
    },
    gets: Gets::Anybodys,
    also: |client, reply| {
        let own: Vec<_> = client.n.map(|n| n / 2).into_iter().collect();
        let found: Vec<_> = super::identities(&String::from_utf8_lossy(&reply.body)).into_iter().collect();
        assert_eq!(found, own, "{:?}", reply.fields);
    },
    ..ROW
};

#[tokio::test]
async fn words_against_sharing() {
    play(&[
        Row { name: "private", answer: |seen| told(seen).cache("private, max-age=60"), ..NAMED },
        Row { name: "no-store", answer: |seen| told(seen).cache("no-store, max-age=60"), ..NAMED },
        Row {
            name: "no-store, and nothing else",
            route: "default_ttl = \"1m\"",
            answer: |seen| told(seen).cache("no-store"),
            ..NAMED
        },
        Row {
            name: "private in the second line",
            answer: |seen| told(seen).cache("max-age=60").cache("private"),
            ..NAMED
        },
        Row {
            name: "private behind a quote that does not close",
            answer: |seen| told(seen).cache("max-age=60, x=\"a, private"),
            ..NAMED
        },
        Row { name: "private in capitals", answer: |seen| told(seen).cache("max-age=60, PRIVATE"), ..NAMED },
        Row {
            name: "private by a targeted field",
            answer: |seen| told(seen).cache("max-age=60").field("CDN-Cache-Control", "private, max-age=60"),
            ..NAMED
        },
        Row {
            name: "private with a list that can't be kept to",
            answer: |seen| told(seen).cache("max-age=60, private=\"content-type\""),
            ..NAMED
        },
        Row {
            name: "must-understand, with a status that nobody understands",
            answer: |seen| Answer::status(299).part(heard(seen)).cache("max-age=60, must-understand"),
            ..NAMED
        },
        Row { name: "Vary: *", answer: |seen| told(seen).cache("max-age=60").field("Vary", "*"), ..NAMED },
        Row {
            name: "Vary: * behind others",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "Accept").field("Vary", "x-a, *"),
            ..NAMED
        },
        Row {
            name: "Vary that is no list of fields",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "x user"),
            ..NAMED
        },
        Row {
            name: "an event stream",
            answer: |seen| told(seen).cache("max-age=60").field("Content-Type", "Text/Event-Stream; a=b"),
            ..NAMED
        },
        Row {
            name: "a failure that is private",
            answer: |seen| Answer::status(503).part(heard(seen)).cache("private"),
            ..NAMED.is_its_own_or_nobodys()
        },
    ])
    .await;
}

#[tokio::test]
async fn cookies_that_are_set() {
    play(&[
        Row {
            name: "passed",
            answer: |seen| told(seen).cache("max-age=60").field("Set-Cookie", seen.field("x-user")),
            ..NAMED
        },
        Row {
            name: "passed, though public",
            answer: |seen| told(seen).cache("public, s-maxage=60").field("Set-Cookie", seen.field("x-user")),
            ..NAMED
        },
        Row {
            name: "passed, though no-cache names the field",
            answer: |seen| {
                let answer = told(seen).cache("max-age=60, no-cache=\"Set-Cookie\"");
                answer.field("Set-Cookie", seen.field("x-user"))
            },
            ..NAMED
        },
        Row {
            name: "passed, with a failure",
            answer: |seen| Answer::status(500).part(heard(seen)).field("Set-Cookie", seen.field("x-user")),
            ..NAMED.is_its_own_or_nobodys()
        },
        Row {
            name: "stripped",
            route: "set_cookie = \"strip\"",
            answer: |seen| Answer::ok("hello").cache("max-age=60").field("Set-Cookie", seen.field("x-user")),
            ..NAMED.is_nobodys()
        },
        Row {
            name: "stripped, with a failure",
            route: "set_cookie = \"strip\"",
            answer: |seen| Answer::status(500).part("sorry").field("Set-Cookie", seen.field("x-user")),
            gets: Gets::Nobodys,
            costs: Times::AtMost(CLIENTS),
            again: Times::AtMost(CLIENTS + 1),
            ..NAMED
        },
        Row {
            name: "stripped, where nothing is stored",
            route: "set_cookie = \"strip\"",
            answer: |seen| Answer::ok("hello").cache("max-age=0").field("Set-Cookie", seen.field("x-user")),
            gets: Gets::Nobodys,
            costs: Times::AtMost(CLIENTS),
            again: ONCE,
            ..NAMED
        },
        Row {
            name: "stored",
            route: "set_cookie = \"store\"",
            answer: |seen| told(seen).cache("max-age=60").field("Set-Cookie", seen.field("x-user")),
            gets: Gets::Anybodys,
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            ..NAMED
        },
        Row {
            name: "stored, but private",
            route: "set_cookie = \"store\"",
            answer: |seen| told(seen).cache("private, max-age=60").field("Set-Cookie", seen.field("x-user")),
            ..NAMED
        },
    ])
    .await;
}

#[tokio::test]
async fn fields_that_are_withheld() {
    play(&[
        Row {
            name: "private with a field",
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=60, private=\"x-for\"");
                answer.field("X-For", seen.field("x-user"))
            },
            gets: Gets::OwnOrNobodys,
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            ..NAMED
        },
        Row {
            name: "no-cache with a field",
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=60, no-cache=\"x-for, x-other\"");
                answer.field("X-For", seen.field("x-user")).field("X-Other", seen.field("x-user"))
            },
            gets: Gets::OwnOrNobodys,
            costs: Times::Exactly(1),
            again: Times::Exactly(0),
            ..NAMED
        },
        Row {
            name: "private with a field, and nothing stored",
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=0, private=\"x-for\"");
                answer.field("X-For", seen.field("x-user"))
            },
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS),
            again: ONCE,
            ..NAMED
        },
        Row {
            name: "private with a field, and a failure",
            answer: |seen| {
                let answer = Answer::status(503).part("sorry").cache("private=\"x-for\"");
                answer.field("X-For", seen.field("x-user"))
            },
            ..NAMED.is_its_own_or_nobodys()
        },
    ])
    .await;
}

#[tokio::test]
async fn variants() {
    play(&[
        Row {
            name: "each its own",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User"),
            again: Times::Exactly(1),
            ..NAMED
        },
        Row {
            name: "each its own, public though it is",
            answer: |seen| told(seen).cache("public, max-age=60").field("Vary", "x-other, X-USER"),
            again: Times::Exactly(1),
            ..NAMED
        },
        Row {
            name: "each its own, and nothing stored",
            answer: |seen| told(seen).cache("max-age=0").field("Vary", "X-User"),
            again: ONCE,
            ..NAMED
        },
        Row {
            name: "more than may be kept",
            route: "max_variants = 4",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User"),
            again: Times::AtMost(CLIENTS + 1),
            ..NAMED
        },
        Row {
            name: "on a field that fills do not carry",
            route: "forward = \"keyed\"",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User"),
            gets: Gets::OwnOrNobodys,
            ..NAMED
        },
        Row {
            name: "a failure that varies",
            answer: |seen| Answer::status(503).part(heard(seen)).field("Vary", "X-User"),
            ..NAMED.is_its_own_or_nobodys()
        },
        Row {
            name: "an answer that is not there, and varies",
            answer: |seen| Answer::status(404).part(heard(seen)).cache("max-age=60").field("Vary", "X-User"),
            again: Times::Exactly(1),
            ..NAMED
        },
        Row {
            name: "an origin that is allowed",
            ask: |client| client.named("Origin", "https://"),
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=60");
                answer.field("Access-Control-Allow-Origin", seen.field("origin"))
            },
            gets: Gets::OwnOrNobodys,
            again: Times::Exactly(1),
            ..ROW
        },
        Row {
            name: "two of each kind",
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "X-User"),
            costs: Times::Exactly(CLIENTS / 2),
            again: Times::Exactly(1),
            ..PAIRS
        },
        Row {
            name: "two of each kind, by the key",
            route: "vary_on = [\"x-user\"]",
            costs: Times::Exactly(CLIENTS / 2),
            again: Times::Exactly(1),
            ..PAIRS
        },
    ])
    .await;
}
