//! Plays a recording to a server and notes where the answers differ.
//!
//! The server's clock follows the recording, so that times in answers are equal, too. Replies, catch-up
//! and echoes of a connection are compared in their order; live events of others in theirs. Of
//! connections that the setup calls loose, the recording shows a race: of these the events are compared
//! as a set, live or not.

use std::collections::{BTreeMap, VecDeque};

use dustgate::testkit::dust_server::{DustServer, Recording};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::likeness::{comparable, shown, whole};
use super::wire::{Opened, Wire};

/// What a replay has found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames and requests that were sent.
    pub sent: usize,
    /// Answers that were compared.
    pub compared: usize,
    pub differences: Vec<String>,
}

struct Replay<'a> {
    recording: &'a Recording,
    server: DustServer,
    /// What the clock shows at `t` 0.
    base: f64,
    wires: BTreeMap<String, Wire>,
    refused: BTreeMap<String, (u16, Value)>,
    /// Of loose connections: the recorded events by their number.
    expected: BTreeMap<String, BTreeMap<u64, Value>>,
    answer: Option<(u16, Value, Value)>,
    outcome: Outcome,
}

/// Plays one recording.
pub async fn play(recording: &Recording) -> Outcome {
    let server = DustServer::start(recording.setup()).await;
    recording.prepare(&server);
    let base = recording.clock() as f64;
    let (wires, refused, expected) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let outcome = Outcome::default();
    let mut replay = Replay { recording, server, base, wires, refused, expected, answer: None, outcome };
    for (at, line) in recording.lines.iter().enumerate() {
        replay.line(at, line).await;
    }
    replay.end().await;
    replay.outcome
}

// === impl Replay ===

impl Replay<'_> {
    fn differs(&mut self, at: usize, what: &str, recorded: &Value, got: &Value) {
        let text =
            format!("line {}: {what}\n  recorded {}\n  got      {}", at + 2, shown(recorded), shown(got));
        self.outcome.differences.push(text);
    }

    fn compare(&mut self, at: usize, what: &str, recorded: &Value, got: &Value) {
        self.outcome.compared += 1;
        if comparable(recorded) != comparable(got) {
            self.differs(at, what, recorded, got);
        }
    }

    fn is_loose(&self, conn: &str) -> bool {
        self.recording.head["loose"].as_array().is_some_and(|loose| loose.iter().any(|name| name == conn))
    }

    fn set_clock(&self, wall_ms: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time of this century"
        )]
        self.server.set_clock(wall_ms.round() as u64);
    }

    async fn line(&mut self, at: usize, line: &Value) {
        let t = line["t"].as_f64().unwrap_or_default();
        self.set_clock(self.base + t);
        let conn = line["conn"].as_str().unwrap_or_default();
        if let Some(target) = line["open"].as_str() {
            self.open(at, conn, target, line["fails"] == true).await;
        } else if let Some(status) = line["status"].as_u64() {
            let (got, body) = self.refused.remove(conn).unwrap_or((101, Value::Null));
            self.compare(at, "the status of an upgrade", &status.into(), &got.into());
            self.compare(at, "the body of an upgrade", &line["body"], &body);
        } else if let Some(frame) = line.get("say") {
            self.leases_on_time(at, conn, frame, t);
            self.say(conn, Message::text(whole(frame).to_string())).await;
        } else if let Some(text) = line["say_text"].as_str() {
            self.say(conn, Message::text(text)).await;
        } else if let Some(bytes) = line.get("say_bytes") {
            let bytes: Vec<u8> = serde_json::from_value(bytes.clone()).unwrap();
            self.say(conn, Message::binary(bytes)).await;
        } else if let Some(frame) = line.get("hear") {
            self.hear(at, conn, &whole(frame)).await;
        } else if let Some(code) = line["close"].as_u64() {
            self.close(at, conn, code).await;
        } else if let Some(request) = line.get("request") {
            self.request(request).await;
        } else if let Some(answer) = line.get("answer") {
            self.answered(at, answer);
        } else if let Some(event) = line.get("commit") {
            self.commit(event, line["store"].as_str().unwrap());
        } else {
            match line["act"].as_str() {
                Some("compact") => self.server.compact(line["store"].as_str().unwrap()),
                Some("go_down") => self.server.go_down().await,
                Some("come_up") => self.server.come_up().await,
                other => panic!("line {}: {other:?}", at + 2),
            }
        }
    }

    async fn open(&mut self, at: usize, conn: &str, target: &str, fails: bool) {
        self.outcome.sent += 1;
        match Wire::open(self.server.addr(), target).await {
            Opened::Wire(wire) => {
                self.wires.insert(conn.to_owned(), *wire);
            }
            Opened::Refused { status, body } => {
                self.refused.insert(conn.to_owned(), (status, body));
            }
            Opened::NobodyThere if fails => self.outcome.compared += 1,
            Opened::NobodyThere => self.differs(at, "nobody listens", &json!(target), &Value::Null),
        }
    }

    /// Sets the clock to when the real server granted the lease that this frame asks for.
    fn leases_on_time(&mut self, at: usize, conn: &str, frame: &Value, t: f64) {
        if !matches!(frame[4]["op"].as_str(), Some("lease" | "renew")) {
            return;
        }
        let reply = self.recording.lines[at..].iter().find(|line| {
            line["conn"] == conn && line["hear"][3] == "phx_reply" && line["hear"][1] == frame[1]
        });
        let due = reply.and_then(|line| line["hear"][4]["response"]["expires_at"].as_f64());
        if let Some(due) = due {
            let now = due - frame[4]["ttl_ms"].as_f64().unwrap_or(30_000.0);
            self.base = now - t;
            self.set_clock(now);
        }
    }

    async fn say(&mut self, conn: &str, message: Message) {
        self.outcome.sent += 1;
        self.wires.get_mut(conn).expect("it was opened").say(message).await;
    }

    async fn hear(&mut self, at: usize, conn: &str, recorded: &Value) {
        if self.is_loose(conn) {
            self.hear_loosely(at, conn, recorded).await;
            return;
        }
        let wire = self.wires.get_mut(conn).expect("it was opened");
        let is_foreign = wire.is_foreign(recorded);
        let queue = |wire: &mut Wire| -> Option<Value> {
            let queue: &mut VecDeque<Value> = if is_foreign { &mut wire.foreign } else { &mut wire.own };
            queue.pop_front()
        };
        let mut got = queue(wire);
        if got.is_none() {
            wire.settle().await;
            got = queue(wire);
        }
        self.compare(at, conn, recorded, &got.unwrap_or(Value::Null));
    }

    async fn hear_loosely(&mut self, at: usize, conn: &str, recorded: &Value) {
        let Some(seq) = recorded[4]["store_seq"].as_u64() else {
            let wire = self.wires.get_mut(conn).expect("it was opened");
            wire.settle().await;
            let same = |frame: &Value| frame[0] == recorded[0] && frame[3] == recorded[3];
            let found = wire.own.iter().position(same).and_then(|at| wire.own.remove(at));
            // Numbers of the moment belong to the race.
            let found = found.map(|frame| frame[3].clone());
            self.compare(at, conn, &recorded[3], &found.unwrap_or(Value::Null));
            return;
        };
        self.expected.entry(conn.to_owned()).or_default().insert(seq, recorded[4].clone());
    }

    /// Compares the events of a loose connection: none that was recorded may be missing.
    fn settle_loosely(&mut self, conn: &str) {
        let expected = self.expected.remove(conn).unwrap_or_default();
        let Some(wire) = self.wires.get_mut(conn) else { return };
        let got: BTreeMap<u64, Value> = wire
            .own
            .drain(..)
            .chain(wire.foreign.drain(..))
            .filter_map(|frame| Some((frame[4]["store_seq"].as_u64()?, frame[4].clone())))
            .collect();
        for (seq, event) in expected {
            self.compare(0, conn, &event, got.get(&seq).unwrap_or(&Value::Null));
        }
    }

    async fn close(&mut self, at: usize, conn: &str, code: u64) {
        let wire = self.wires.get_mut(conn).expect("it was opened");
        if code == 1000 {
            wire.close().await;
        } else {
            wire.settle().await;
        }
        let got = json!(wire.closed);
        self.compare(at, "the code of a close", &code.into(), &got);
        self.left_over(conn);
    }

    /// What came and was not recorded.
    fn left_over(&mut self, conn: &str) {
        if self.is_loose(conn) {
            self.settle_loosely(conn);
        }
        let Some(mut wire) = self.wires.remove(conn) else { return };
        for frame in wire.own.drain(..).chain(wire.foreign.drain(..)) {
            self.differs(0, conn, &Value::Null, &frame);
        }
    }

    async fn request(&mut self, request: &Value) {
        self.outcome.sent += 1;
        let url = format!("http://{}{}", self.server.addr(), request["target"].as_str().unwrap());
        let method = request["method"].as_str().unwrap().parse().unwrap();
        let mut sent = reqwest::Client::builder().no_proxy().build().unwrap().request(method, url);
        for (name, value) in request["headers"].as_object().unwrap() {
            sent = sent.header(name, value.as_str().unwrap());
        }
        if let Some(body) = request["body"].as_str() {
            let large = body.strip_prefix('<').and_then(|rest| rest.strip_suffix(" bytes>"));
            let body = match large.map(|count| count.parse::<usize>().unwrap()) {
                Some(count) => format!("\"{}\"", "x".repeat(count - 2)),
                None => body.to_owned(),
            };
            sent = sent.header("content-type", "application/json").body(body);
        }
        let response = sent.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers: Value =
            headers.map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap()))).collect();
        let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
        self.answer = Some((status, headers, body));
    }

    fn answered(&mut self, at: usize, recorded: &Value) {
        let (status, headers, body) = self.answer.take().expect("a request was sent");
        self.compare(at, "the status of an answer", &recorded["status"], &status.into());
        for (name, value) in recorded["headers"].as_object().unwrap() {
            self.compare(at, name, value, &headers[name]);
        }
        // A list of all stores of that server was shortened beyond reading.
        if !recorded["body"].is_null() {
            self.compare(at, "the body of an answer", &recorded["body"], &body);
        }
    }

    fn commit(&mut self, event: &Value, store: &str) {
        let mut request = event.clone();
        let value = request["value"].take();
        match event["op"].as_str() {
            Some("lease" | "renew") => {
                let due = value["expires_at"].as_f64().unwrap();
                self.set_clock(due - 3000.0);
                (request["ttl_ms"], request["holder"]) = (json!(3000), value["holder"].clone());
                request["token"] = value["token"].clone();
            }
            Some("release") => {
                request["token"] = self.server.row(store, path(event)).unwrap().0["token"].clone();
            }
            _ => request["value"] = value,
        }
        let device = event["device_id"].as_str().unwrap();
        self.server.write_as(device, store, &request).expect("it was committed once");
    }

    async fn end(&mut self) {
        for (conn, mut wire) in std::mem::take(&mut self.wires) {
            wire.settle().await;
            self.wires.insert(conn.clone(), wire);
            self.left_over(&conn);
        }
    }
}

fn path(event: &Value) -> &str {
    event["path"].as_str().unwrap()
}
