//! A recording's server side, played to a client under test.
//!
//! The client does what the recording's client did, with keys, values and holders of its own. Each of
//! its writes is compared with the recorded one by shape and exact types, and is answered with what was
//! recorded: the numbers and tokens as they stand, its own paths, refs and ids in the place of the
//! recorded ones. What is compared is in [`shape`]. Reads over HTTP see what the played events left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use super::recording::Recording;
use super::rows;
use super::store::Store;
use super::world::{World, frame};
use super::{paths, shape};
use crate::clock::WallMs;

/// What is still to be played, and what was wrong so far.
#[derive(Debug)]
pub struct Script {
    /// The events from before the first write.
    before: Vec<Answer>,
    acts: VecDeque<Act>,
    played: usize,
    /// Paths of the recording, each with the one that the client uses for it.
    paths: BTreeMap<String, String>,
    refs: BTreeSet<(u64, String)>,
    complaints: Vec<String>,
}

/// A recorded write, and the frames that came after it.
#[derive(Debug)]
struct Act {
    request: Map<String, Value>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
enum Answer {
    Reply(Value),
    /// An event, and for how many ms a lease in it lived on.
    Event(Value, f64),
    Crash,
    Close(u16),
}

/// A write of the client, as it is played.
pub(super) struct Played<'a> {
    pub line: u64,
    pub join: &'a Value,
    pub reference: &'a Value,
    pub topic: &'a str,
    pub store: usize,
    pub request: &'a Map<String, Value>,
    pub now: WallMs,
}

// === impl Script ===

impl Script {
    /// The writes of one connection of a recording, with what it was sent after each.
    pub fn of(recording: &Recording, conn: &str) -> Self {
        let (mut before, mut acts) = (Vec::new(), VecDeque::<Act>::new());
        let mut asked = BTreeSet::new();
        for line in recording.lines.iter().filter(|line| line["conn"] == conn) {
            if let ("write", Value::Object(request)) =
                (line["say"][3].as_str().unwrap_or_default(), &line["say"][4])
            {
                asked.insert(line["say"][1].to_string());
                acts.push_back(Act { request: request.clone(), answers: Vec::new() });
            }
            let at = recording.clock() as f64 + line["t"].as_f64().unwrap_or_default();
            let heard = &line["hear"];
            let answer = match heard[3].as_str() {
                Some("phx_reply") if asked.contains(&heard[1].to_string()) => Answer::Reply(heard[4].clone()),
                Some("event") if heard[0].is_null() => {
                    let lives = heard[4]["value"]["expires_at"].as_f64().map_or(0.0, |due| due - at);
                    Answer::Event(heard[4].clone(), lives)
                }
                Some("phx_error") => Answer::Crash,
                _ => match line["close"].as_u64().and_then(|code| u16::try_from(code).ok()) {
                    Some(code) if code != 1000 => Answer::Close(code),
                    _ => continue,
                },
            };
            match (acts.back_mut(), answer) {
                (Some(act), answer) => act.answers.push(answer),
                (None, answer @ Answer::Event(..)) => before.push(answer),
                (None, _) => {}
            }
        }
        Self {
            before,
            acts,
            played: 0,
            paths: BTreeMap::new(),
            refs: BTreeSet::new(),
            complaints: Vec::new(),
        }
    }

    /// Only those of the recorded writes that the client under test makes.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Map<String, Value>) -> bool) -> Self {
        self.acts.retain(|act| wanted(&act.request));
        self
    }

    /// How many writes are still to come.
    pub(super) fn left(&self) -> usize {
        self.acts.len()
    }

    /// What the client sent that the recorded one would not have.
    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.complaints.push(text.into());
    }

    /// Checks what every frame has: a ref that is a text and new, and the ref of the join that it is of.
    pub(super) fn look(&mut self, line: u64, frame: [&Value; 3], event: &str, joined: Option<&Value>) {
        let [join, reference, payload] = frame;
        match reference.as_str() {
            Some(text) if self.refs.insert((line, text.to_owned())) => {}
            Some(text) => self.complain(format!("{event}: ref {text} was used before")),
            None => self.complain(format!("{event}: ref {reference} is no text")),
        }
        let wrong = match event {
            "heartbeat" => !join.is_null() || *payload != json!({}),
            "phx_join" => {
                let last = &payload["last_store_seq"];
                join != reference
                    || !(last.is_null() && payload.get("last_store_seq").is_some() || last.is_u64())
            }
            _ => joined.is_some_and(|joined| joined != join),
        };
        if wrong {
            self.complain(format!("{event}: join_ref {join}, ref {reference}, payload {payload}"));
        }
    }

    fn next(&mut self, request: &Map<String, Value>) -> Option<Act> {
        self.played += 1;
        let number = self.played;
        let Some(mut act) = self.acts.pop_front() else {
            self.complain(format!("write {number} was not recorded: {}", Value::Object(request.clone())));
            return None;
        };
        for wrong in shape::differences(&act.request, request) {
            self.complain(format!("write {number}: {wrong}"));
        }
        self.pair(number, &act.request, request);
        // Only now it is known what stands for their paths.
        act.answers.splice(0..0, self.before.drain(..));
        Some(act)
    }

    /// Each path of the recording stands for one path of the client, always the same.
    fn pair(&mut self, number: usize, recorded: &Map<String, Value>, sent: &Map<String, Value>) {
        let named = |request: &Map<String, Value>| paths::named(request).ok().map(|(_, path)| path);
        let key =
            |request: &Map<String, Value>| request.get("fence")?.get("key")?.as_str().map(str::to_owned);
        let pairs = [(named(recorded), named(sent)), (key(recorded), key(sent))];
        for (recorded, sent) in pairs {
            let (Some(recorded), Some(sent)) = (recorded, sent) else { continue };
            let known = self.paths.entry(recorded.clone()).or_insert_with(|| sent.clone());
            if *known != sent {
                let text = format!("write {number}: {sent}, where {known} stands for {recorded}");
                self.complain(text);
            }
        }
    }

    fn event(&self, event: &Value, lives: f64, act: &Act, played: &Played<'_>, device: &str) -> Value {
        let mut told = event.clone();
        let path = event["path"].as_str().unwrap_or_default();
        if let Some(known) = self.paths.get(path) {
            told["path"] = known.as_str().into();
            told["path_segments"] = paths::parse(known).unwrap_or_default().into();
        }
        let is_own = event["client_op_id"] == act.request["client_op_id"];
        if is_own {
            told["client_op_id"] = played.request.get("client_op_id").cloned().unwrap_or(Value::Null);
            told["device_id"] = device.into();
        }
        match event["op"].as_str() {
            Some("lease" | "renew") if is_own => grant(&mut told["value"], act, played),
            Some("lease" | "renew") => told["value"]["expires_at"] = later(played.now, lives),
            Some("set") if is_own => {
                told["value"] = played.request.get("value").cloned().unwrap_or(Value::Null);
            }
            _ => {}
        }
        told
    }
}

/// Puts the client's holder and term into what it was granted.
fn grant(lease: &mut Value, act: &Act, played: &Played<'_>) {
    if lease.get("expires_at").is_none() {
        return;
    }
    let ttl = played.request.get("ttl_ms").and_then(Value::as_f64).unwrap_or(30_000.0);
    lease["expires_at"] = later(played.now, ttl);
    if act.request["op"] == "lease" {
        lease["holder"] = played.request.get("holder").cloned().unwrap_or(Value::Null);
    }
}

fn later(now: WallMs, by: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "terms of tests are short")]
    let by = by.round() as i64;
    now.saturating_add_signed(by).into()
}

// === impl World ===

impl World {
    /// Answers a write with what was recorded.
    pub(super) fn play(&mut self, played: &Played<'_>) {
        let Some(mut script) = self.script.take() else { return };
        let device = self.lines.get(&played.line).map(|line| line.device.clone()).unwrap_or_default();
        let act = script.next(played.request);
        for answer in act.iter().flat_map(|act| act.answers.iter().map(move |answer| (act, answer))) {
            match answer {
                (act, Answer::Reply(payload)) => {
                    let mut payload = payload.clone();
                    grant(&mut payload["response"], act, played);
                    let op = played.request.get("op").and_then(Value::as_str).unwrap_or_default();
                    if self.faults.lost_replies.takes(op) {
                        continue;
                    }
                    self.reply_to_write(played.line, played.join, played.reference, played.topic, &payload);
                }
                (act, Answer::Event(event, lives)) => {
                    let event = script.event(event, *lives, act, played, &device);
                    self.stores[played.store].learn(&event);
                    let text = frame(&Value::Null, &Value::Null, played.topic, "event", &event);
                    self.send(played.line, text);
                }
                (_, Answer::Crash) => self.crash(played.line, played.topic),
                (_, Answer::Close(code)) => self.close(played.line, *code),
            }
        }
        self.script = Some(script);
    }
}

// === impl Store ===

impl Store {
    /// Takes over what an event says, so that reads see it.
    fn learn(&mut self, event: &Value) {
        let path = event["path"].as_str().unwrap_or_default();
        let seq = event["store_seq"].as_u64().unwrap_or_default();
        self.seq = self.seq.max(seq);
        if event["op"] != "merge" {
            self.clear(path);
        }
        if event["op"] == "delete" || event["op"] == "release" {
            return;
        }
        let segments = paths::parse(path).unwrap_or_default();
        for (path, value, kind) in rows::leaves(&segments, &event["value"]).unwrap_or_default() {
            self.rows.insert(path, rows::Row { value, kind, seq, due: None });
        }
    }
}
