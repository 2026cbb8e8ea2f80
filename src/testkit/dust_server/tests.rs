//! The server over connections in memory, on paused time.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{DustServer, Faults, Next, Setup, Silence, TOKEN, Token};

mod http;
mod order;

const STORE: &str = "acme/cache";
const TOPIC: &str = "store:acme/cache";
const NOW: u64 = 1_790_000_000_000;

struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn open(server: &DustServer, token: &str, device: &str) -> Result<Self, Error> {
        let query = format!("token={token}&device_id={device}&capver=3&vsn=2.0.0");
        let url = format!("ws://localhost/ws/sync/websocket?{query}");
        let (socket, _) = client_async(url, server.dial()).await?;
        Ok(Self(socket))
    }

    async fn join(server: &DustServer, device: &str, last: u64) -> Self {
        let mut client = Self::open(server, TOKEN, device).await.expect("the upgrade is accepted");
        client.push("1", "phx_join", json!({ "last_store_seq": last })).await;
        client
    }

    async fn push(&mut self, reference: &str, event: &str, payload: Value) {
        let frame = json!(["1", reference, TOPIC, event, payload]);
        self.0.send(Message::text(frame.to_string())).await.expect("the server reads");
    }

    async fn write(&mut self, reference: &str, mut request: Value) {
        request["client_op_id"] = reference.into();
        self.push(reference, "write", request).await;
    }

    /// The next frame; nothing if none came in a while, or the connection has ended.
    async fn next(&mut self) -> Option<Value> {
        match tokio::time::timeout(Duration::from_secs(1), self.0.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => Some(serde_json::from_str(&text).expect("a frame is JSON")),
            _ => None,
        }
    }

    /// What the next frames are, each by its event and its ref or number.
    async fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(frame) = self.next().await {
            let number = &frame[4]["store_seq"];
            let name = frame[3].as_str().expect("an event has a name");
            told.push(if number.is_null() {
                format!("{name} {}", frame[1])
            } else {
                format!("{name} {number}")
            });
        }
        told
    }
}

fn server() -> DustServer {
    DustServer::in_memory(Setup::cranked(NOW).store(STORE))
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_falls_due_is_free_for_another_client() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    assert_eq!(client.told().await, ["phx_reply \"1\"", "catch_up_complete null"]);
    let lease = json!({ "op": "lease", "path": "lk", "ttl_ms": 1000 });
    client.write("2", lease.clone()).await;
    assert_eq!(client.told().await, ["event 1", "phx_reply \"2\""], "the echo comes first");
    assert_eq!(server.write(STORE, &lease), Err("held".to_owned()));
    server.advance(Duration::from_secs(1));
    assert_eq!(server.write(STORE, &lease).expect("it is free")["token"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_the_clock_is_cranked() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    server.advance(Duration::from_mins(1));
    match client.0.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1002),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn faults_hit_what_they_are_told_to_and_end_when_they_are_healed() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    let set = json!({ "op": "set", "path": "k", "value": "v" });
    server.faults(|faults| faults.lost_replies = Next::of("set", 1));
    client.write("2", set.clone()).await;
    assert_eq!(client.told().await, ["event 1"]);
    server.faults(|faults| faults.swallowed_events = Next::writes(1));
    client.write("3", set.clone()).await;
    assert_eq!(client.told().await, ["phx_reply \"3\""]);
    server.faults(|faults| faults.unavailable_committed = Next::writes(1));
    client.write("4", set.clone()).await;
    assert!(client.next().await.expect("a reply")[4]["response"]["reason"].as_str().is_some());
    assert_eq!(server.seq(STORE), 3, "all of them are committed");
    server.faults(|faults| faults.event_delay = Duration::from_millis(50));
    client.write("5", set.clone()).await;
    assert_eq!(client.told().await, ["phx_reply \"5\"", "event 4"], "the echo comes late");
    server.faults(|faults| *faults = Faults { repeats: 1, ..Faults::default() });
    client.write("6", set.clone()).await;
    assert_eq!(client.told().await, ["event 5", "event 5", "phx_reply \"6\""]);
    server.faults(|faults| *faults = Faults { silence: Silence::Frames, ..Faults::default() });
    client.write("7", set.clone()).await;
    assert!(client.told().await.is_empty());
    server.faults(|faults| *faults = Faults { holds_events: true, ..Faults::default() });
    for reference in ["8", "9", "10", "11"] {
        client.write(reference, set.clone()).await;
    }
    client.told().await;
    server.let_go();
    let mut late = client.told().await;
    assert_ne!(late, ["event 6", "event 7", "event 8", "event 9"], "they come in another order");
    late.sort();
    assert_eq!(late, ["event 6", "event 7", "event 8", "event 9"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_joins_after_a_compaction_gets_the_snapshot_and_what_came_later() {
    let server = server();
    for path in ["a", "b"] {
        server.write(STORE, &json!({ "op": "set", "path": path, "value": path })).expect("it is set");
    }
    server.compact(STORE);
    server.write_silently(STORE, &json!({ "op": "delete", "path": "a" })).expect("it is deleted");
    let mut client = Client::join(&server, "a", 0).await;
    let told = client.told().await;
    assert_eq!(told, ["phx_reply \"1\"", "snapshot null", "event 3", "catch_up_complete null"]);
    server.crash_all();
    assert_eq!(client.told().await, ["phx_error \"1\""]);
}

#[tokio::test(start_paused = true)]
async fn others_hear_later_than_the_writer_and_in_another_order() {
    let server = server();
    let (mut writer, mut reader) = (Client::join(&server, "a", 0).await, Client::join(&server, "b", 0).await);
    writer.told().await;
    reader.told().await;
    server.faults(|faults| faults.fan_out_delay = Duration::from_millis(300));
    writer.write("2", json!({ "op": "set", "path": "k", "value": 1 })).await;
    assert_eq!(writer.next().await.expect("an echo")[3], "event");
    assert_eq!(writer.next().await.expect("a reply")[3], "phx_reply");
    let asked = tokio::time::Instant::now();
    assert_eq!(reader.told().await, ["event 1"]);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    server.faults(|faults| *faults = Faults { scatter: Duration::from_millis(500), ..Faults::default() });
    for reference in 3..13_u64 {
        writer.write(&reference.to_string(), json!({ "op": "set", "path": "k", "value": reference })).await;
    }
    let told = reader.told().await;
    let in_order: Vec<_> = (2..12).map(|number| format!("event {number}")).collect();
    assert_ne!(told, in_order);
    assert_eq!(told.len(), 10, "none is lost");
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_may_come_after_live_events_and_repeat_them() {
    let server = server();
    let set = json!({ "op": "set", "path": "k", "value": 1 });
    server.write(STORE, &set).expect("it is set");
    server.faults(|faults| (faults.catch_up_delay, faults.overlap) = (Duration::from_millis(100), 1));
    let mut client = Client::join(&server, "a", 0).await;
    assert_eq!(client.next().await.expect("a reply")[3], "phx_reply");
    server.write(STORE, &set).expect("it is set");
    assert_eq!(client.told().await, ["event 2", "event 1", "event 1", "catch_up_complete null"]);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_answers_when_it_is_healed() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    server.faults(|faults| faults.silence = Silence::Everything);
    client.write("2", json!({ "op": "set", "path": "k", "value": 1 })).await;
    assert!(client.told().await.is_empty());
    let opening = Client::open(&server, TOKEN, "b");
    assert!(tokio::time::timeout(Duration::from_secs(5), opening).await.is_err(), "an upgrade hangs");
    server.faults(|faults| *faults = Faults::default());
    assert_eq!(client.told().await, ["event 1", "phx_reply \"2\""]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_down_still_has_its_leases() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    let lease = json!({ "op": "lease", "path": "lk", "ttl_ms": 1000 });
    client.write("2", lease.clone()).await;
    client.told().await;
    server.go_down().await;
    match client.0.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1012),
        other => panic!("{other:?}"),
    }
    assert!(Client::open(&server, TOKEN, "a").await.is_err());
    server.come_up().await;
    let mut client = Client::join(&server, "a", 9_999).await;
    client.told().await;
    assert_eq!(server.write(STORE, &lease), Err("held".to_owned()));
    client.write("3", json!({ "op": "renew", "path": "lk", "token": 1, "ttl_ms": 1000 })).await;
    assert_eq!(client.told().await, ["event 2", "phx_reply \"3\""]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_taken_back_opens_nothing_and_closes_nothing() {
    let server = server();
    let mut client = Client::join(&server, "a", 0).await;
    client.told().await;
    server.revoke(TOKEN);
    assert!(
        matches!(Client::open(&server, TOKEN, "b").await, Err(Error::Http(said)) if said.status() == 403)
    );
    client.write("2", json!({ "op": "set", "path": "k", "value": 1 })).await;
    assert_eq!(client.told().await, ["event 1", "phx_reply \"2\""]);
    server.expire(STORE);
    assert_eq!(client.next().await.expect("a frame")[3], "phx_close");
    client.write("3", json!({ "op": "set", "path": "k", "value": 1 })).await;
    assert_eq!(client.next().await.expect("a reply")[4]["response"]["reason"], "store_archived");
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_token_is_fresh_in_the_next_minute() {
    let server = DustServer::in_memory(
        Setup::cranked(NOW).store(STORE).token(Token::new("dust_tok_poor", "acme").limited(2, 2)),
    );
    let mut client = Client::open(&server, "dust_tok_poor", "a").await.expect("it is accepted");
    client.push("1", "phx_join", json!({ "last_store_seq": 0 })).await;
    client.told().await;
    for (reference, status) in [("2", "ok"), ("3", "ok"), ("4", "error")] {
        client.write(reference, json!({ "op": "release", "path": "lk", "token": 1 })).await;
        assert_eq!(client.next().await.expect("a reply")[4]["status"], status);
    }
    // The window is the clock's minute, not one from the first write on.
    server.advance(Duration::from_millis(60_000 - NOW % 60_000));
    client.write("5", json!({ "op": "release", "path": "lk", "token": 1 })).await;
    assert_eq!(client.next().await.expect("a reply")[4]["status"], "ok");
}
