//! The recordings of the real server, played to this client: it sends what the recorded client sent, and
//! takes the answers for what they are.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use dustgate::dust::{Dust, Error, FeedItem, Grant, Holder, Lease, Put, Renewal, Written};
use dustgate::testkit::dust_server::{DustServer, Recording, Script, Setup};
use serde_json::{Map, Value, json};

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
    let mut recording = Recording::parse(&fs::read_to_string(file.unwrap().path()).unwrap());
    if name == "10" {
        // Its writes count, and not what they write: this client writes texts.
        for line in &mut recording.lines {
            for side in ["say", "hear"] {
                let Some(of) = line.get_mut(side).and_then(|frame| frame.get_mut(4)) else { continue };
                if of["op"] == "set" && of["value"].is_number() {
                    of["value"] = of["value"].to_string().into();
                }
            }
        }
    }
    recording
}

/// Whether a connection had heard, before it asked for a lease, that another one lives. What it has heard before its
/// first write is played with that write.
fn has_heard_of(recording: &Recording, conn: &str, ask: &Value) -> bool {
    let of_it = recording.lines.iter().filter(|line| line["conn"] == conn);
    let before: Vec<_> = of_it.take_while(|line| line["say"] != *ask).collect();
    let is_first = !before.iter().any(|line| line["say"][3] == "write");
    let of_path = |line: &&&Value| line["hear"][3] == "event" && line["hear"][4]["path"] == ask[4]["path"];
    let last = before.iter().rfind(of_path).filter(|_| !is_first);
    last.is_some_and(|line| matches!(line["hear"][4]["op"].as_str(), Some("lease" | "renew")))
}

/// The token and the store of a connection.
fn of_connection(recording: &Recording, conn: &str) -> (String, String) {
    let mut of_it = recording.lines.iter().filter(|line| line["conn"] == conn);
    let opened = of_it.clone().find_map(|line| line["open"].as_str()).unwrap();
    let token = opened.split_once("token=").unwrap().1.split('&').next().unwrap();
    let joins =
        |line: &&Value| line["say"][3] == "phx_join" && line["say"][2].as_str().unwrap().contains('/');
    let joined = of_it.rfind(joins).unwrap();
    (token.to_owned(), joined["say"][2].as_str().unwrap().trim_start_matches("store:").to_owned())
}

/// Plays one connection of a recording. Returns how many writes were played of how many, and what was wrong.
async fn play(name: &str, conn: &str) -> ((usize, usize), Vec<String>) {
    let recording = recording(name);
    // What events have told of is held without a write.
    let writes = recording.lines.iter().filter(|line| line["conn"] == conn && line["say"][3] == "write");
    let all = writes.clone().count();
    let held = writes.filter(|line| {
        let request = line["say"][4].as_object().filter(|request| is_made(request));
        request.is_some_and(|request| request["op"] == "lease")
            && recorded(&recording, conn, &line["say"][1]) == Err("held".into())
            && has_heard_of(&recording, conn, &line["say"])
    });
    let held: Vec<_> = held.map(|line| line["say"][4]["client_op_id"].clone()).collect();
    let is_sent = move |write: &Map<String, Value>| {
        is_made(write) && !write.get("client_op_id").is_some_and(|name| held.contains(name))
    };
    // On the clock of this machine, as the dates of its answers are.
    let setup = recording.onto(Setup::real()).script(Script::of(&recording, conn).only(is_sent));
    let server = DustServer::start(setup).await;
    let (token, store) = of_connection(&recording, conn);
    let dust = try_open(target(&server, &store).with_token(&token)).await.unwrap();
    let (mut played, mut is_limited, mut wrong) = (0, false, Vec::new());
    for line in recording.lines.iter().filter(|line| line["conn"] == conn && line["say"][3] == "write") {
        let Some(request) = line["say"][4].as_object().filter(|request| is_made(request)) else { continue };
        let wanted = recorded(&recording, conn, &line["say"][1]);
        let found = done(&dust, request, played).await;
        let is_right = match request["op"].as_str().unwrap() {
            // Their answers have no number of their own.
            "renew" | "release" => found.is_ok() == wanted.is_ok(),
            // After the first refusal nothing is sent.
            _ if is_limited => found.is_err(),
            _ => found == wanted,
        };
        wrong.extend((!is_right).then(|| format!("{found:?} and not {wanted:?} of {request:?}")));
        is_limited |= found == Err("unavailable".to_owned());
        played += 1;
    }
    let complaints = server.complaints();
    wrong.extend(complaints.into_iter().filter(|line| !(is_limited && line.contains("were not sent"))));
    ((played, all), wrong)
}

/// Plays the events of a connection to a client that follows the store: it is told of each once, and in order.
async fn follow(name: &str, conn: &str) -> (usize, Vec<String>) {
    let recording = recording(name);
    let server = DustServer::start(recording.setup()).await;
    recording.prepare(&server);
    let store = recording.store().unwrap();
    let dust = try_open(target(&server, store).with_token(TOKEN)).await.unwrap();
    let mut feed = dust.feed().await.unwrap();
    let mut recorded = BTreeMap::new();
    let heard = recording.lines.iter().filter(|line| line["conn"] == conn && line["hear"][3] == "event");
    for line in heard {
        let mut event = line["hear"][4].clone();
        recorded.insert(event["store_seq"].as_u64().unwrap(), event.clone());
        // At a path that is a key of this client.
        event["path_segments"] = json!(["_dustgate", format!("={}", key(&event["path"]))]);
        server.tell(store, &event, !line["hear"][0].is_null());
    }
    // Those of a lease have its number.
    let mut token = 0;
    let numbers: Vec<u64> = recorded
        .iter()
        .map(|(seq, event)| {
            token = if event["op"] == "lease" { *seq } else { token };
            if event["op"] == "renew" || event["op"] == "release" { token } else { *seq }
        })
        .collect();
    let (mut told, mut wrong) = (Vec::new(), Vec::new());
    while told.len() < numbers.len() && wrong.is_empty() {
        match tokio::time::timeout(Duration::from_secs(5), feed.next()).await {
            Ok(FeedItem::Change(change)) => told.push(change.number),
            other => wrong.push(format!("{name} {conn}: {other:?} after {told:?}")),
        }
    }
    if told != numbers || feed.now().is_some() {
        wrong.push(format!("{name} {conn}: told {told:?} of {numbers:?}"));
    }
    (told.len(), wrong)
}

/// How a recording is played to the client.
enum Way {
    /// The writes of this connection: so many of them, which this client makes, too, of so many.
    Writes(&'static str, (usize, usize)),
    /// What these connections were told: so many changes each.
    Events(&'static [(&'static str, usize)]),
    /// In a test of its own.
    Alone(&'static str),
}

/// How each recording is played; `None` for one of which nothing is known here.
fn ways(name: &str) -> Option<Vec<Way>> {
    Some(match name {
        "01" => vec![Way::Alone("the_upgrade_the_join_and_heartbeats_have_the_recorded_form")],
        "01b" => vec![Way::Alone("a_connection_is_kept_from_the_recorded_end_and_made_again_after_it")],
        "02" => vec![Way::Writes("A", (6, 6))],
        // B asks for a lease before it hears that it is free: this client does not.
        "03" => vec![Way::Writes("A", (4, 4))],
        "04" => vec![Way::Writes("A", (9, 9)), Way::Writes("B", (1, 3))],
        "05" => vec![Way::Alone("a_life_is_proposed_as_recorded_and_the_first_one_stands")],
        // The others are of objects, counters and sets.
        "06" => vec![Way::Writes("A", (7, 15)), Way::Writes("B", (1, 1))],
        "07" => vec![Way::Writes("A", (7, 9))],
        "07b" => vec![Way::Writes("A", (8, 14))],
        "07c" => vec![Way::Writes("A", (50, 50)), Way::Events(&[("B0", 38), ("B1", 43), ("B2", 49)])],
        "07d" => vec![Way::Events(&[("OBS", 76)])],
        // The others are what this client never sends. A token that may not write (R) is refused at the start, and
        // frames that are too long (L) have no answer.
        "08" => vec![Way::Writes("A", (7, 55)), Way::Writes("L2", (1, 3))],
        // The values of the others are no texts.
        "09" => vec![Way::Writes("A", (4, 12))],
        // Its lease has no name.
        "10" => vec![Way::Writes("A", (103, 104)), Way::Writes("B", (1, 1)), Way::Writes("C", (1, 1))],
        // As JSON: the client asks for that form of the frames.
        "11" => vec![Way::Writes("A", (4, 4)), Way::Events(&[("B", 4)])],
        // U has joined by the store's id.
        "12" => vec![Way::Writes("A", (1, 2))],
        "13" => vec![Way::Writes("A", (2, 2)), Way::Writes("B", (2, 3))],
        _ => return None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recording_is_played_to_the_client_and_understood() {
    let mut files: Vec<_> = fs::read_dir("tests/dust/transcripts")
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut wrong = Vec::new();
    println!("| recording | what it proves | what the client does with it | |\n|---|---|---|---|");
    for file in files {
        let (name, _) = file.split_once('-').unwrap();
        let Some(ways) = ways(name) else {
            wrong.push(format!("{file} is not played"));
            continue;
        };
        let (before, mut does) = (wrong.len(), Vec::new());
        for way in ways {
            match way {
                Way::Writes(conn, counts) => {
                    let (played, amiss) = play(name, conn).await;
                    does.push(format!("makes {} of {} writes of {conn}", played.0, played.1));
                    wrong.extend(amiss.into_iter().map(|what| format!("{file} {conn}: {what}")));
                    let text = || format!("{file} {conn}: {played:?} writes and not {counts:?}");
                    wrong.extend((played != counts).then(text));
                }
                Way::Events(conns) => {
                    for (conn, count) in conns {
                        let (told, amiss) = follow(name, conn).await;
                        does.push(format!("tells {told} changes of {conn}"));
                        wrong.extend(amiss);
                        let text = || format!("{file} {conn}: {told} changes and not {count}");
                        wrong.extend((told != *count).then(text));
                    }
                }
                Way::Alone(test) => {
                    assert!(include_str!("replay.rs").contains(&format!("async fn {test}()")), "{test}");
                    does.push(test.replace('_', " "));
                }
            }
        }
        let verdict = if wrong.len() == before { "pass" } else { "FAIL" };
        let proves = recording(name).head["proves"].as_str().unwrap().to_owned();
        println!("| {} | {proves} | {} | {verdict} |", file.trim_end_matches(".jsonl"), does.join(", "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Recording 01b: without a sign of life a connection is closed after a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_from_the_recorded_end_and_made_again_after_it() {
    let recording = recording("01b");
    let server = DustServer::start(recording.setup()).await;
    let dust = try_open(target(&server, recording.store().unwrap()).with_token(TOKEN)).await.unwrap();
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let look = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), look).await.expect(what);
    };
    for _ in 0..3 {
        let before = server.count("heartbeat");
        until("it shows life", &|| server.count("heartbeat") > before).await;
        server.advance(Duration::from_secs(55));
    }
    assert_eq!(server.count("phx_join"), 1, "the connection is the first one");
    let end = recording.lines.iter().find_map(|line| line["close"].as_u64()).unwrap();
    server.close_all(u16::try_from(end).unwrap());
    until("it joins again", &|| server.count("phx_join") == 2).await;
    until("it is joined", &|| server.joined(recording.store().unwrap()) == 1).await;
    let again = async { while dust.put("k", "x", Put::default()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("it works");
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
