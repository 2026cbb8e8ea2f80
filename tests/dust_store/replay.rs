//! The recordings of the real server, played to this client: it sends what the recorded client sent, and
//! takes the answers for what they are.

use std::fs;
use std::time::Duration;

use dustgate::dust::{Dust, Error, Grant, Holder, Lease, Put, Renewal, Written};
use dustgate::testkit::dust_server::{DustServer, Recording, Script};
use serde_json::{Map, Value};

use crate::kit::{target, try_open};

const TOKEN: &str = "dust_tok_placeholder_all_rw";

/// Returns whether the client makes a write like this: it has whole times to live, values that are text, and
/// fences of a key and a number.
fn is_made(request: &Map<String, Value>) -> bool {
    let has = |name: &str| request.contains_key(name);
    let names = has("path_segments") && !has("if_match") && !has("if_absent") && has("client_op_id");
    let fence = request.get("fence").is_none_or(|fence| fence["key"].is_string() && fence["token"].is_u64());
    let own = match request.get("op").and_then(Value::as_str) {
        Some("lease") => {
            request.get("ttl_ms").and_then(Value::as_u64).is_some_and(|ttl| ttl > 0) && has("holder")
        }
        Some("renew") => {
            request.get("token").is_some_and(Value::is_u64)
                && request.get("ttl_ms").and_then(Value::as_u64).is_some_and(|ttl| ttl > 0)
        }
        Some("release") => request.get("token").is_some_and(Value::is_u64),
        Some("set") => request.get("value").is_some_and(Value::is_string),
        Some("delete") => true,
        _ => false,
    };
    names && fence && own
}

fn key(path: &Value) -> String {
    let path = path.as_str().map(str::to_owned);
    format!("replayed/{}", path.unwrap_or_default())
}

/// Does what was recorded, and returns what came of it in the recording's words.
async fn done(dust: &dyn Dust, request: &Map<String, Value>, n: usize) -> Result<Option<u64>, String> {
    let of = |name: &str| request.get(name).and_then(Value::as_u64).unwrap_or_default();
    let path = request.get("path").cloned().unwrap_or_else(|| {
        let segments = request["path_segments"].as_array().unwrap();
        segments.iter().map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("/").into()
    });
    let (key, ttl) = (key(&path), Duration::from_millis(of("ttl_ms")));
    let holder = Holder(format!("replayed/{n}").into());
    let lease = Lease { key: key.clone(), token: of("token"), holder: holder.clone() };
    let fence = request.get("fence");
    let fence = fence.map(|it| Lease {
        key: self::key(&it["key"]),
        token: it["token"].as_u64().unwrap(),
        holder: holder.clone(),
    });
    let said = |error: Error| match error {
        Error::Unavailable(_) | Error::NotDone(_) => "unavailable".to_owned(),
        other => format!("{other:?}"),
    };
    let written = |written: Result<Written, Error>| match written {
        Ok(Written::At(number)) => Ok(Some(number)),
        Ok(Written::Fenced) => Err("fenced".to_owned()),
        Err(error) => Err(said(error)),
    };
    match request["op"].as_str().unwrap() {
        "lease" => match dust.lease(&key, ttl, &holder, 0).await {
            Ok(Grant::Granted(lease)) => Ok(Some(lease.token)),
            Ok(Grant::Held { .. }) => Err("held".to_owned()),
            Ok(Grant::Occupied) => Err("occupied".to_owned()),
            Err(error) => Err(said(error)),
        },
        "renew" => match dust.renew(&lease, ttl).await {
            Ok(Renewal::Renewed) => Ok(None),
            Ok(Renewal::NotHeld) => Err("not_held".to_owned()),
            Err(error) => Err(said(error)),
        },
        "release" => dust.release(&lease).await.map(|()| None).map_err(said),
        "set" => {
            let how = Put { fence: fence.as_ref(), ..Put::default() };
            written(dust.put(&key, request["value"].as_str().unwrap(), how).await)
        }
        _ => written(dust.delete(&key, fence.as_ref()).await),
    }
}

/// What the recording says came of a write.
fn recorded(recording: &Recording, conn: &str, reference: &Value) -> Result<Option<u64>, String> {
    let reply = recording
        .lines
        .iter()
        .find(|line| line["conn"] == conn && line["hear"][3] == "phx_reply" && line["hear"][1] == *reference);
    let reply = &reply.unwrap()["hear"][4];
    if reply["status"] == "ok" {
        return Ok(reply["response"]["store_seq"].as_u64());
    }
    let reason = reply["response"]["reason"].as_str().unwrap();
    Err(if reason == "rate_limited" { "unavailable" } else { reason }.to_owned())
}

fn recording(name: &str) -> Recording {
    let file = fs::read_dir("tests/dust/transcripts")
        .unwrap()
        .flatten()
        .find(|file| file.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    Recording::parse(&fs::read_to_string(file.unwrap().path()).unwrap())
}

/// Plays one connection of a recording. Returns how many writes were played, and what was wrong.
async fn play(name: &str, conn: &str) -> (usize, Vec<String>) {
    let recording = recording(name);
    // What events have told of is held without a write.
    let asked = recording.lines.iter().filter(|line| line["conn"] == conn && line["say"][3] == "write");
    let held = asked.filter(|line| {
        let request = line["say"][4].as_object().filter(|request| is_made(request));
        request.is_some_and(|request| request["op"] == "lease")
            && recorded(&recording, conn, &line["say"][1]) == Err("held".into())
    });
    let held: Vec<_> = held.map(|line| line["say"][4]["client_op_id"].clone()).collect();
    let is_sent = move |write: &Map<String, Value>| {
        is_made(write) && !write.get("client_op_id").is_some_and(|name| held.contains(name))
    };
    let server =
        DustServer::start(recording.setup().script(Script::of(&recording, conn).only(is_sent))).await;
    let target = target(&server, recording.store().unwrap()).with_token(TOKEN);
    let dust = try_open(target).await.unwrap();
    let (mut played, mut is_limited) = (0, false);
    for line in recording.lines.iter().filter(|line| line["conn"] == conn && line["say"][3] == "write") {
        let Some(request) = line["say"][4].as_object().filter(|request| is_made(request)) else { continue };
        let wanted = recorded(&recording, conn, &line["say"][1]);
        let found = done(&dust, request, played).await;
        match request["op"].as_str().unwrap() {
            // Their answers have no number of their own.
            "renew" | "release" => assert_eq!(found.is_ok(), wanted.is_ok(), "{name} {request:?} {found:?}"),
            // After the first refusal nothing is sent.
            _ if is_limited => assert!(found.is_err(), "{name} {found:?}"),
            _ => assert_eq!(found, wanted, "{name} {request:?}"),
        }
        is_limited |= found == Err("unavailable".to_owned());
        played += 1;
    }
    let complaints = server.complaints();
    let wrong = complaints.into_iter().filter(|line| !(is_limited && line.contains("were not sent")));
    (played, wrong.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_done_and_understood() {
    let mut least = 0;
    for (name, conn) in [
        ("02", "A"),
        ("03", "A"),
        ("04", "A"),
        ("06", "A"),
        ("07", "A"),
        ("07b", "A"),
        ("08", "A"),
        ("09", "A"),
        ("10", "A"),
        ("12", "A"),
        ("13", "A"),
    ] {
        let (played, wrong) = play(name, conn).await;
        println!("{name} {conn}: {played} writes");
        assert_eq!(wrong, Vec::<String>::new(), "{name} {conn}");
        least += played;
    }
    assert!(least > 50, "{least}");
}

/// Recording 05: an instance that proposes the store's life writes only where nothing is. The other conditional
/// writes there follow what this client does in another order, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_proposed_as_recorded_and_the_first_one_stands() {
    let recording = recording("05");
    let proposes = |request: &Map<String, Value>| {
        request.get("if_absent") == Some(&Value::Bool(true))
            && !request.contains_key("if_match")
            && !request.contains_key("fence")
            && request["op"] == "set"
            && request["value"].is_string()
    };
    let server =
        DustServer::start(recording.setup().script(Script::of(&recording, "A").only(proposes))).await;
    let target = target(&server, recording.store().unwrap()).with_token(TOKEN);
    let dust = try_open(target).await.unwrap();
    let first = dust.life(Some("proposed first")).await.unwrap();
    assert!(first.is_some());
    assert_eq!(dust.life(Some("proposed second")).await, Ok(first));
    assert_eq!(server.complaints(), Vec::<String>::new());
}

/// Recording 01 has no writes: the frames beside them are compared.
#[tokio::test(flavor = "multi_thread")]
async fn the_upgrade_the_join_and_heartbeats_have_the_recorded_form() {
    let recording = recording("01");
    let server = DustServer::start(recording.setup()).await;
    let target = target(&server, recording.store().unwrap()).with_token(TOKEN);
    let _dust = try_open(target).await.unwrap();
    let heartbeat = async {
        while server.count("heartbeat") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), heartbeat).await.expect("it looks after its line");
    let said = |event: &str| {
        let line = recording.lines.iter().find(|line| line["say"][3] == event).unwrap();
        (line["say"][2].as_str().unwrap().to_owned(), line["say"][4].clone())
    };
    for event in ["phx_join", "heartbeat"] {
        let heard = server.heard().into_iter().find(|heard| heard.event == event).unwrap();
        let (topic, payload) = said(event);
        let form = |payload: &Value| {
            let fields = payload.as_object().unwrap();
            fields.iter().map(|(name, value)| (name.clone(), value.is_u64())).collect::<Vec<_>>()
        };
        assert_eq!(form(&heard.payload), form(&payload), "{event}");
        assert_eq!(heard.topic.split(':').next(), topic.split(':').next(), "{event}");
    }
    let opened = recording.lines.iter().find_map(|line| line["open"].as_str()).unwrap();
    for parameter in ["token=", "device_id=", "capver=3", "vsn=2.0.0"] {
        // The server has refused all others with a bare 403.
        assert!(opened.contains(parameter), "{opened}");
    }
}
