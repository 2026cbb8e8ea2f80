//! What no retry mends is told at the start.

use std::time::Duration;

use dustgate::dust::{Dust, Error, Put};
use dustgate::testkit::dust_server::{DustServer, Setup, Token};
use tempfile::TempDir;

use crate::kit::{self, STORE, target, try_open};
use crate::support::{Answer, Origin, until};

async fn refused(server: &DustServer, store: &str, token: &str) -> String {
    match try_open(target(server, store).with_token(token)).await {
        Err(Error::Refused(why)) => {
            assert!(!why.contains("dust_tok"), "{why}");
            why
        }
        other => panic!("{token} {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_will_not_do_is_refused_at_the_start() {
    let setup = Setup::real()
        .store(STORE)
        .store("acme/other")
        .token(Token::new("dust_tok_reads", "acme").read_only())
        .token(Token::new("dust_tok_writes", "acme").write_only())
        .token(Token::new("dust_tok_old", "acme").expired())
        .token(Token::new("dust_tok_elsewhere", "acme").for_stores(&["acme/other"]));
    let server = DustServer::start(setup).await;
    for (token, word) in [
        ("dust_tok_reads", "entries:write"),
        ("dust_tok_writes", "entries:read"),
        ("dust_tok_old", "403"),
        ("dust_tok_unknown", "403"),
        ("nonsense", "403"),
        ("dust_tok_elsewhere", "not for this store"),
    ] {
        let why = refused(&server, STORE, token).await;
        assert!(why.contains(word), "{token}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_read_the_log_will_do_and_that_is_said() {
    let entries = ["entries:read", "entries:write"];
    let setup = Setup::real()
        .store(STORE)
        .token(Token::new("dust_tok_two", "acme").with_scopes(&entries))
        .token(Token::new("dust_tok_three", "acme").with_scopes(&[entries[0], entries[1], "audit:read"]));
    let server = DustServer::start(setup).await;
    let open = async |token| try_open(target(&server, STORE).with_token(token)).await.unwrap();
    let said = open("dust_tok_two").await.lacks().expect("it is said");
    assert!(said.contains("audit:read"), "{said}");
    assert_eq!(open("dust_tok_three").await.lacks(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_refused_by_its_name() {
    let server = kit::server().await;
    let why = refused(&server, "acme/nothing", dustgate::testkit::dust_server::TOKEN).await;
    assert!(why.contains("acme/nothing") && why.contains("no such store"), "{why}");
    server.archive(STORE);
    refused(&server, STORE, dustgate::testkit::dust_server::TOKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_archived_store_is_unavailable_while_it_runs() {
    let server = kit::server().await;
    let dust = kit::open(&server).await;
    dust.put("a", "x", Put::default()).await.unwrap();
    server.limit_keys(STORE, 1);
    assert!(matches!(dust.put("b", "x", Put::default()).await, Err(Error::Unavailable(_))));
    dust.put("a", "y", Put::default()).await.expect("what is there may change");
    server.archive(STORE);
    assert!(matches!(dust.put("a", "z", Put::default()).await, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = kit::server().await;
    let target = target(&server, STORE);
    server.go_down().await;
    let began = tokio::time::Instant::now();
    assert!(matches!(try_open(target).await, Err(Error::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_started_while_the_store_is_full_serves_and_joins_when_there_is_room() {
    let server = kit::server().await;
    server.limit_keys(STORE, 0);
    let origin = Origin::answering(Answer::cacheable("body")).await;
    let bodies = TempDir::with_prefix("dustgate-bodies-").unwrap();
    let setup = kit::settings(&origin, &server.url(STORE));
    let proxy = setup.bodies(&format!("url = \"file:{}\"", bodies.path().display())).start().await;
    proxy.get("/a").await.assert(200, "body");
    let is_up = async || {
        let status = proxy.admin_get("/v1/status").await.json();
        status["dust"]["up"] == true
    };
    assert!(!is_up().await);
    server.limit_keys(STORE, u64::MAX);
    until("it to join", async || is_up().await.then_some(())).await;
}
