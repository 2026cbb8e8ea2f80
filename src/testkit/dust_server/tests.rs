//! The server over connections in memory, on paused time.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{DustServer, Faults, Next, Setup, Silence, TOKEN};

const STORE: &str = "acme/cache";
const TOPIC: &str = "store:acme/cache";
const NOW: u64 = 1_790_000_000_000;

struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn join(server: &DustServer, device: &str, last: u64) -> Self {
        let url =
            format!("ws://localhost/ws/sync/websocket?token={TOKEN}&device_id={device}&capver=3&vsn=2.0.0");
        let (socket, _) = client_async(url, server.dial()).await.expect("the upgrade is accepted");
        let mut client = Self(socket);
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
async fn who_joins_after_a_compaction_gets_the_snapshot_and_what_came_later() {
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
