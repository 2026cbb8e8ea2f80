//! Fields that are in no key, before an origin that says them back: nobody's word reaches
//! another client.

use super::{CLIENTS, Gets, ROW, Row, Times, play, play_with, told};
use crate::support::{Answer, Origin, Proxy};

/// Nobody's word reaches the origin: one exchange for all.
const DROPPED: Row = Row { gets: Gets::Nobodys, costs: Times::Exactly(1), again: Times::Exactly(0), ..ROW };

/// The request that names a method passes by itself.
const PASSED: Row = Row { again: Times::AtMost(CLIENTS + 1), ..ROW };

#[tokio::test]
async fn what_a_stranger_says_of_where_it_came_from_does_not_reach_the_origin() {
    play(&[
        Row { name: "X-Forwarded-Host", ask: |c| c.named("X-Forwarded-Host", ""), ..DROPPED },
        Row { name: "X-Forwarded-Proto", ask: |c| c.named("X-Forwarded-Proto", ""), ..DROPPED },
        Row { name: "X-Forwarded-For", ask: |c| c.named("X-Forwarded-For", "10.0.0.1, "), ..DROPPED },
        Row { name: "X-Forwarded-Port", ask: |c| c.named("X-Forwarded-Port", ""), ..DROPPED },
        Row { name: "X-Forwarded-Scheme", ask: |c| c.named("X-Forwarded-Scheme", ""), ..DROPPED },
        Row { name: "X-Forwarded-Prefix", ask: |c| c.named("X-Forwarded-Prefix", "/"), ..DROPPED },
        Row { name: "X-Forwarded-Server", ask: |c| c.named("X-Forwarded-Server", ""), ..DROPPED },
        Row { name: "Forwarded", ask: |c| c.named("Forwarded", "for=10.0.0.1;host="), ..DROPPED },
        Row { name: "X-Real-IP", ask: |c| c.named("X-Real-IP", ""), ..DROPPED },
        Row { name: "X-Host", ask: |c| c.named("X-Host", ""), ..DROPPED },
        Row { name: "X-Original-Host", ask: |c| c.named("X-Original-Host", ""), ..DROPPED },
        Row { name: "X-Original-URL", ask: |c| c.named("X-Original-URL", "/"), ..DROPPED },
        Row { name: "X-Rewrite-URL", ask: |c| c.named("X-Rewrite-URL", "/"), ..DROPPED },
        Row { name: "Front-End-Https", ask: |c| c.named("Front-End-Https", ""), ..DROPPED },
        Row { name: "X-Original-URI", ask: |c| c.named("X-Original-URI", ""), ..DROPPED },
        Row { name: "X-Original-Method", ask: |c| c.named("X-Original-Method", ""), ..DROPPED },
        Row { name: "X-HTTP-Host-Override", ask: |c| c.named("X-HTTP-Host-Override", ""), ..DROPPED },
        Row { name: "X-HTTP-Path-Override", ask: |c| c.named("X-HTTP-Path-Override", ""), ..DROPPED },
        Row { name: "X-Forwarded", ask: |c| c.named("X-Forwarded", ""), ..DROPPED },
        Row { name: "X-Scheme", ask: |c| c.named("X-Scheme", ""), ..DROPPED },
        Row { name: "X-Url-Scheme", ask: |c| c.named("X-Url-Scheme", ""), ..DROPPED },
        Row { name: "X-Client-IP", ask: |c| c.named("X-Client-IP", ""), ..DROPPED },
        Row { name: "X-Cluster-Client-IP", ask: |c| c.named("X-Cluster-Client-IP", ""), ..DROPPED },
        Row { name: "True-Client-IP", ask: |c| c.named("True-Client-IP", ""), ..DROPPED },
        Row { name: "CF-Connecting-IP", ask: |c| c.named("CF-Connecting-IP", ""), ..DROPPED },
        Row { name: "Fastly-Client-IP", ask: |c| c.named("Fastly-Client-IP", ""), ..DROPPED },
        Row { name: "Proxy", ask: |c| c.named("Proxy", ""), ..DROPPED },
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
        Row { name: "X_Forwarded_For", ask: |c| c.named("X_Forwarded_For", ""), ..DROPPED },
        Row { name: "X_Forwarded_Host", ask: |c| c.named("X_Forwarded_Host", ""), ..DROPPED },
        Row { name: "X-Forwarded_Proto", ask: |c| c.named("X-Forwarded_Proto", ""), ..DROPPED },
        Row { name: "X_Real_IP", ask: |c| c.named("X_Real_IP", ""), ..DROPPED },
        Row { name: "X_Original_URL", ask: |c| c.named("X_Original_URL", ""), ..DROPPED },
        Row { name: "X_Rewrite_URL", ask: |c| c.named("X_Rewrite_URL", ""), ..DROPPED },
        Row { name: "X_HTTP_Host_Override", ask: |c| c.named("X_HTTP_Host_Override", ""), ..DROPPED },
        Row { name: "Front_End_Https", ask: |c| c.named("Front_End_Https", ""), ..DROPPED },
        Row { name: "True_Client_IP", ask: |c| c.named("True_Client_IP", ""), ..DROPPED },
        Row {
            name: "Transfer_Encoding",
            ask: |c| c.named("Transfer_Encoding", ""),
            costs: Times::Exactly(CLIENTS),
            again: Times::Exactly(CLIENTS + 1),
            ..DROPPED
        },
        Row { name: "Keep_Alive", ask: |c| c.named("Keep_Alive", ""), ..DROPPED },
        Row { name: "Accept_Language", ask: |c| c.named("Accept_Language", ""), ..DROPPED },
        Row { name: "X_Tenant", ask: |c| c.named("X_Tenant", ""), ..DROPPED },
        Row { name: "X_Requested_With", ask: |c| c.named("X_Requested_With", ""), ..DROPPED },
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
            Row {
                name: "X-Forwarded-For",
                ask: |c| c.named("X-Forwarded-For", ""),
                gets: Gets::Nobodys,
                costs: Times::Exactly(1),
                again: Times::Exactly(0),
                ..ROW
            },
        ],
        "trusted_proxies = [\"127.0.0.0/8\"]",
    )
    .await;
}

/// A port that no host of a route names is in no key.
fn with_port(client: &super::Client) -> crate::support::client::Ask {
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
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS),
            again: Times::AtMost(CLIENTS + 1),
            ..ROW
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
            gets: Gets::OwnOrNobodys,
            costs: Times::AtMost(CLIENTS),
            again: Times::AtMost(CLIENTS + 1),
            ..ROW
        },
    ])
    .await;
}

#[tokio::test]
async fn a_field_that_asks_for_another_method_makes_a_pass() {
    play(&[
        Row { name: "X-HTTP-Method-Override", ask: |c| c.named("X-HTTP-Method-Override", ""), ..PASSED },
        Row { name: "X-Method-Override", ask: |c| c.named("X-Method-Override", ""), ..PASSED },
        Row { name: "X-HTTP-Method", ask: |c| c.named("X-HTTP-Method", ""), ..PASSED },
        Row { name: "X_HTTP_Method_Override", ask: |c| c.named("X_HTTP_Method_Override", ""), ..PASSED },
        Row { name: "X_Method-Override", ask: |c| c.named("X_Method-Override", ""), ..PASSED },
        Row { name: "X_HTTP_Method", ask: |c| c.named("X_HTTP_Method", ""), ..PASSED },
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
