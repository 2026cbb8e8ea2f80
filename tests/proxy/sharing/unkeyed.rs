//! Fields that are in no key, before an origin that says them back: nobody's word reaches
//! another client.

use super::{CLIENTS, Gets, ROW, Row, Times, play, play_with, told};
use crate::support::{Answer, Origin, Proxy};

/// Nobody's word reaches the origin: one exchange for all.
const DROPPED: Row = ROW.is_nobodys();

/// The request that names a method passes by itself.
const PASSED: Row = Row { again: Times::AtMost(CLIENTS + 1), ..ROW };

#[tokio::test]
async fn what_a_stranger_says_of_where_it_came_from_does_not_reach_the_origin() {
    play(&[
        DROPPED.sends("X-Forwarded-Host", ""),
        DROPPED.sends("X-Forwarded-Proto", ""),
        DROPPED.sends("X-Forwarded-For", "10.0.0.1, "),
        DROPPED.sends("X-Forwarded-Port", ""),
        DROPPED.sends("X-Forwarded-Scheme", ""),
        DROPPED.sends("X-Forwarded-Prefix", "/"),
        DROPPED.sends("X-Forwarded-Server", ""),
        DROPPED.sends("Forwarded", "for=10.0.0.1;host="),
        DROPPED.sends("X-Real-IP", ""),
        DROPPED.sends("X-Host", ""),
        DROPPED.sends("X-Original-Host", ""),
        DROPPED.sends("X-Original-URL", "/"),
        DROPPED.sends("X-Rewrite-URL", "/"),
        DROPPED.sends("Front-End-Https", ""),
        DROPPED.sends("X-Original-URI", ""),
        DROPPED.sends("X-Original-Method", ""),
        DROPPED.sends("X-HTTP-Host-Override", ""),
        DROPPED.sends("X-HTTP-Path-Override", ""),
        DROPPED.sends("X-Forwarded", ""),
        DROPPED.sends("X-Scheme", ""),
        DROPPED.sends("X-Url-Scheme", ""),
        DROPPED.sends("X-Client-IP", ""),
        DROPPED.sends("X-Cluster-Client-IP", ""),
        DROPPED.sends("True-Client-IP", ""),
        DROPPED.sends("CF-Connecting-IP", ""),
        DROPPED.sends("Fastly-Client-IP", ""),
        DROPPED.sends("Proxy", ""),
        Row {
            name: "the same in a pass",
            ask: |c| {
                let ask = c.named("X-Forwarded-Host", "");
                let ask = c.names(ask, "X-Original-URL", "/");
                c.names(ask, "Forwarded", "host=").field("If-Match", "*")
            },
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..DROPPED
        },
        Row {
            name: "the same with credentials, for a public answer",
            ask: |c| {
                let ask = c.named("X-Forwarded-Host", "");
                c.names(ask, "X-Original-URL", "/").field("Authorization", "Bearer x")
            },
            answer: |seen| told(seen).cache("public, max-age=60"),
            costs: Times::AtMost(CLIENTS),
            ..DROPPED
        },
    ])
    .await;
}

/// CGI, WSGI and PHP read `_` in a name as `-`.
#[tokio::test]
async fn an_underscore_hides_no_name() {
    play(&[
        DROPPED.sends("X_Forwarded_For", ""),
        DROPPED.sends("X_Forwarded_Host", ""),
        DROPPED.sends("X-Forwarded_Proto", ""),
        DROPPED.sends("X_Real_IP", ""),
        DROPPED.sends("X_Original_URL", ""),
        DROPPED.sends("X_Rewrite_URL", ""),
        DROPPED.sends("X_HTTP_Host_Override", ""),
        DROPPED.sends("Front_End_Https", ""),
        DROPPED.sends("True_Client_IP", ""),
        Row {
            name: "Transfer_Encoding",
            ask: |c| c.named("Transfer_Encoding", ""),
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..DROPPED
        },
        DROPPED.sends("Keep_Alive", ""),
        DROPPED.sends("Accept_Language", ""),
        DROPPED.sends("X_Tenant", ""),
        DROPPED.sends("X_Requested_With", ""),
        Row {
            name: "a keyed field with an underscore for each dash",
            route: "vary_on = [\"x-tenant\"]",
            ask: |c| c.named("X_Tenant", ""),
            ..DROPPED
        },
        Row {
            name: "a field that selects, with an underscore",
            ask: |c| c.named("Accept_Language", "de;x="),
            answer: |seen| told(seen).cache("max-age=60").field("Vary", "Accept-Language"),
            ..DROPPED
        },
        Row {
            name: "a field with an underscore that the route keys",
            route: "vary_on = [\"x_tenant\"]",
            ask: |c| c.named("X_Tenant", ""),
            again: Times::Exactly(1),
            ..ROW
        },
        Row {
            name: "the same in a pass",
            ask: |c| {
                let ask = c.named("X_Forwarded_For", "");
                let ask = c.names(ask, "X_Original_URL", "/");
                c.names(ask, "X_Real-IP", "").field("If-Match", "*")
            },
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..DROPPED
        },
    ])
    .await;
}

#[tokio::test]
async fn only_a_trusted_proxy_may_say_it() {
    // Each names another host to it: a key of its own.
    let host = Row { ask: |c| c.named("X-Forwarded-Host", "h"), again: Times::Exactly(1), ..ROW };
    play_with(
        &[
            Row { name: "X-Forwarded-Host", ..host },
            Row { name: "X-Forwarded-For", ask: |c| c.named("X-Forwarded-For", ""), ..ROW.is_nobodys() },
        ],
        "trusted_proxies = [\"127.0.0.0/8\"]",
    )
    .await;
}

/// A port that no host of a route names is in no key.
fn with_port(client: &super::Client) -> crate::support::client::RequestFacts {
    let ask = client.get("/a");
    client.n.map_or(ask.clone(), |n| ask.host(&format!("api.test:{}", 20_000 + n)))
}

/// No other client's port came back.
fn own_port(client: &super::Client, reply: &crate::support::Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    let others = text.split("api.test:").skip(1).map(|rest| &rest[..5]);
    let own = client.n.map(|n| (20_000 + n).to_string());
    assert!(others.into_iter().all(|port| Some(port) == own.as_deref()), "{own:?}: {text}");
}

/// No client's port came back.
fn no_port(_: &super::Client, reply: &crate::support::Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains("api.test:2"), "{text}");
}

#[tokio::test]
async fn what_the_key_leaves_out_does_not_reach_what_is_shared() {
    let tagged = |client: &super::Client| {
        let who = client.who();
        client.get(&format!("/a?page=1&utm_source={who}"))
    };
    let shared = Row { also: no_port, ..DROPPED };
    play(&[
        Row { name: "a parameter", route: "query = { exclude = [\"utm_*\"] }", ask: tagged, ..DROPPED },
        Row { name: "the port of Host", ask: with_port, ..shared },
        Row {
            name: "the port of Host, where nobody waits for another",
            route: "coalesce = false",
            ask: with_port,
            costs: Times::AtMost(CLIENTS),
            ..shared
        },
        Row {
            name: "the port of Host, with credentials, for a public answer",
            ask: |c| with_port(c).field("Authorization", "Bearer x"),
            answer: |seen| told(seen).cache("public, max-age=60"),
            gets: Gets::Anybodys,
            costs: Times::AtMost(CLIENTS + 1),
            again: Times::AtMost(1),
            also: own_port,
            ..ROW
        },
        Row {
            name: "the port of Host, told by a HEAD",
            ask: |c| match c.n {
                Some(n) if n % 2 == 0 => c.ask("HEAD", "/a").host(&format!("api.test:{}", 20_000 + n)),
                _ => c.get("/a"),
            },
            answer: |seen| {
                let answer = Answer::ok("hello").cache("max-age=0").field("ETag", "\"a\"");
                answer.field("Link", &format!("<http://{}/>", seen.field("x-forwarded-host")))
            },
            gets: Gets::Nobodys,
            costs: Times::AtMost(CLIENTS),
            again: Times::AtMost(CLIENTS + 1),
            also: |c, reply| {
                let odd = c.n.is_none_or(|n| n % 2 == 1);
                assert!(!odd || reply.field("link") == "<http://api.test/>", "{:?}", reply.fields);
            },
            ..ROW
        },
        Row {
            name: "a parameter, where nobody waits for another",
            route: "query = { exclude = [\"utm_*\"] }\ncoalesce = false",
            ask: tagged,
            ..ROW.is_its_own_or_nobodys()
        },
        Row {
            name: "a parameter, with credentials, for a public answer",
            route: "query = { exclude = [\"utm_*\"] }",
            ask: |c| {
                let who = c.who();
                c.get(&format!("/a?page=1&utm_source={who}")).field("Authorization", "Bearer x")
            },
            answer: |seen| told(seen).cache("public, max-age=60"),
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS + 1),
            again: Times::AtMost(CLIENTS + 1),
            ..ROW
        },
        Row {
            name: "a field, with credentials, for a public answer, where fills carry only the key",
            route: "forward = \"keyed\"",
            ask: |c| c.named("X-Device", "").field("Authorization", "Bearer x"),
            answer: |seen| told(seen).cache("public, max-age=60"),
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS + 1),
            again: Times::AtMost(CLIENTS + 1),
            ..ROW
        },
        Row {
            name: "a field that describes content that is not there, where fills carry only the key",
            route: "forward = \"keyed\"",
            ask: |c| c.named("Content-Type", "text/").field("Authorization", "Bearer x"),
            answer: |seen| told(seen).cache("public, max-age=60"),
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS + 1),
            again: Times::AtMost(CLIENTS + 1),
            ..ROW
        },
        Row {
            name: "a field, where nobody waits for another and fills carry only the key",
            route: "forward = \"keyed\"\ncoalesce = false",
            ask: |c| c.named("X-Device", ""),
            ..ROW.is_its_own_or_nobodys()
        },
    ])
    .await;
}

#[tokio::test]
async fn a_field_that_asks_for_another_method_makes_a_pass() {
    play(&[
        PASSED.sends("X-HTTP-Method-Override", ""),
        PASSED.sends("X-Method-Override", ""),
        PASSED.sends("X-HTTP-Method", ""),
        PASSED.sends("X_HTTP_Method_Override", ""),
        PASSED.sends("X_Method-Override", ""),
        PASSED.sends("X_HTTP_Method", ""),
        Row {
            name: "with a public answer",
            ask: |c| c.named("X-HTTP-Method", ""),
            answer: |seen| told(seen).cache("public, s-maxage=60"),
            ..PASSED
        },
    ])
    .await;
}

/// A coding that fills do not ask for, on its way to clients that never named it.
#[tokio::test]
async fn a_coding_that_one_client_named_is_given_to_no_other() {
    for (route, named, of) in [
        ("", "deflate", "identity"),
        ("", "deflate", "gzip"),
        ("", "gzip, deflate", "gzip"),
        ("forward = [\"x-a\"]", "gzip", "identity"),
    ] {
        let origin = Origin::start().await;
        origin.on_each("/a", |seen| {
            let answer = Answer::ok("plain").cache("public, max-age=60");
            match seen.field("accept-encoding") {
                named if named.contains("deflate") => answer.field("Content-Encoding", "deflate"),
                "gzip" => answer.field("Content-Encoding", "gzip"),
                _ => answer,
            }
        });
        let proxy = Proxy::before(&origin).route(route).await;
        let own = proxy.get("/a").field("Authorization", "Bearer x").field("Accept-Encoding", named);
        let own = proxy.filled_by(own).await;
        assert!(named.ends_with(own.field("content-encoding")), "{own:?}");
        let other = proxy.get("/a").field("Accept-Encoding", of).await;
        let coding = other.field("content-encoding");
        assert!(coding.is_empty() || coding == of, "{route} {named} {of}: {other:?}");
    }
}
