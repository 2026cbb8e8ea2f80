//! The recordings' server side, played to a client: here to what the recordings' own clients sent, under
//! other names, and to clients that get something wrong.

use dustgate::testkit::dust_server::{DustServer, Recording, Script};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::likeness::whole;
use super::wire::{Opened, Wire};

/// A client's frames, with another op id, and paths and holders of its own.
fn renamed(frame: &Value) -> Value {
    let mut frame = frame.clone();
    let fields = frame[4].as_object_mut().unwrap();
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), value) {
            ("path", Value::String(path)) => path.insert_str(0, "mine/"),
            ("path_segments", Value::Array(segments)) => segments.insert(0, "mine".into()),
            ("fence", fence) => fence["key"] = format!("mine/{}", fence["key"].as_str().unwrap()).into(),
            ("client_op_id" | "holder", Value::String(id)) => id.push_str("-mine"),
            _ => {}
        }
    }
    frame
}

async fn join(server: &DustServer, recording: &Recording, last: Value) -> Wire {
    let target = "/ws/sync/websocket?token=dust_tok_placeholder_all_rw&device_id=mine&capver=3&vsn=2.0.0";
    let Opened::Wire(mut wire) = Wire::open(server.addr(), target).await else { panic!("it is accepted") };
    let topic = format!("store:{}", recording.store().unwrap());
    let frame = json!(["j", "j", topic, "phx_join", { "last_store_seq": last }]);
    wire.say(Message::text(frame.to_string())).await;
    wire.own.clear();
    *wire
}

/// What a client says that does what the recorded one did, each write changed by `change`.
async fn complaints(recording: &Recording, conn: &str, change: impl Fn(&mut Value)) -> Vec<String> {
    let setup = recording.setup().script(Script::of(recording, conn));
    let server = DustServer::start(setup).await;
    let mut wire = join(&server, recording, json!(9_007_199_254_740_991_u64)).await;
    let said = recording.lines.iter().filter(|line| line["conn"] == conn && line["say"][3] == "write");
    for line in said {
        let mut frame = renamed(&whole(&line["say"]));
        (frame[0], frame[1]) = ("j".into(), format!("{}-mine", frame[1].as_str().unwrap()).into());
        change(&mut frame);
        wire.say(Message::text(frame.to_string())).await;
        let replies: Vec<_> = wire.own.drain(..).filter(|heard| heard[3] == "phx_reply").collect();
        let reply = recording.lines.iter().find(|other| {
            other["conn"] == conn && other["hear"][3] == "phx_reply" && other["hear"][1] == line["say"][1]
        });
        assert_eq!(replies.len(), 1, "{frame}");
        assert_eq!(replies[0][1], frame[1]);
        let (got, recorded) = (&replies[0][4], &reply.unwrap()["hear"][4]);
        assert_eq!(got["status"], recorded["status"]);
        for field in ["store_seq", "token", "reason", "released"] {
            assert_eq!(got["response"][field], recorded["response"][field], "{frame}");
        }
    }
    server.complaints()
}

#[tokio::test]
async fn a_client_that_does_what_was_recorded_gets_what_was_recorded() {
    let played = [
        ("02-lease-renew-fenced-set-release", "A"),
        ("03-contention-held", "A"),
        ("04-expiry-steal", "A"),
        ("05-if-absent-if-match", "A"),
        ("06-delete-watched", "A"),
        ("07-reconnect-catchup", "A"),
        ("07b-snapshot", "A"),
        ("09-string-json-value", "A"),
        ("10-rate-limit", "A"),
        ("12-rest-and-topics", "A"),
        ("13-server-restart", "B"),
    ];
    let recordings = super::recordings();
    for (name, conn) in played {
        let (_, recording) = recordings.iter().find(|(file, _)| file == name).unwrap();
        assert_eq!(complaints(recording, conn, |_| ()).await, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_gets_a_type_wrong_is_told_on() {
    let recordings = super::recordings();
    let (_, recording) = recordings.iter().find(|(file, _)| file.starts_with("02-")).unwrap();
    let fenced = |frame: &Value| frame[4].get("fence").is_some();
    let wrong = complaints(recording, "A", |frame| {
        if fenced(frame) {
            frame[4]["fence"]["token"] = "1".into();
        }
    });
    assert_eq!(wrong.await.len(), 2, "both fences are of a text");
    let wrong = complaints(recording, "A", |frame| {
        frame[4].as_object_mut().unwrap().remove("client_op_id");
    });
    assert_eq!(wrong.await.len(), 12, "an operation without a name, six times, each missing and no text");
    let wrong = complaints(recording, "A", |frame| {
        if frame[4]["op"] == "release" {
            (frame[4]["path"], frame[4]["path_segments"]) = ("other".into(), json!(["other"]));
        }
    });
    assert_eq!(wrong.await.len(), 2, "a release of another lock, twice");
}

#[tokio::test]
async fn what_a_client_leaves_out_is_told_too() {
    let recordings = super::recordings();
    let (_, recording) = recordings.iter().find(|(file, _)| file.starts_with("02-")).unwrap();
    let server = DustServer::start(recording.setup().script(Script::of(recording, "A"))).await;
    join(&server, recording, Value::Null).await;
    assert_eq!(server.complaints(), ["6 recorded writes were not sent"]);
    let only_leases = Script::of(recording, "A").only(|request| request["op"] == "lease");
    let server = DustServer::start(recording.setup().script(only_leases)).await;
    join(&server, recording, json!("text")).await;
    assert_eq!(server.complaints().len(), 2, "a join whose number is a text, and the lease");
}
