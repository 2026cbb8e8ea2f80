//! The channel protocol: what a frame does, and what is said to it.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::faults::Silence;
use super::ops::{Done, Origin};
use super::refusal::Refusal;
use super::script::Played;
use super::world::{Heard, Late, Line, Out, World, frame};
use crate::clock::WallMs;

const CAPVER: u64 = 3;
/// How many operations `status` lists.
const RECENT: usize = 5;
/// The code for a frame that cannot be decoded.
const UNREADABLE: u16 = 1011;

/// A frame as it came in.
struct Push {
    join: Value,
    reference: Value,
    topic: String,
    event: String,
    payload: Value,
}

fn ok(response: &Value) -> Value {
    json!({ "status": "ok", "response": response })
}

fn read(text: &str) -> Option<Push> {
    let Ok(Value::Array(parts)) = serde_json::from_str(text) else { return None };
    let [join, reference, Value::String(topic), Value::String(event), payload] =
        <[Value; 5]>::try_from(parts).ok()?
    else {
        return None;
    };
    Some(Push { join, reference, topic, event, payload })
}

// === impl World ===

impl World {
    /// Handles one text frame.
    pub(super) fn hear(&mut self, line: u64, text: &str, now: WallMs) {
        if self.faults.silence != Silence::None {
            return;
        }
        self.catch_up_late(now);
        let Some(push) = read(text) else {
            self.close(line, UNREADABLE);
            return;
        };
        let Some(from) = self.lines.get(&line) else { return };
        let op = push.payload.get("op").and_then(Value::as_str).filter(|_| push.event == "write");
        let count = op.unwrap_or(&push.event).to_owned();
        let heard = Heard {
            device: from.device.clone(),
            topic: push.topic.clone(),
            event: push.event.clone(),
            payload: push.payload.clone(),
            at: now,
        };
        let joined = from.topics.get(&push.topic).cloned();
        self.note(heard, &count);
        if let Some(script) = &mut self.script {
            let frame = [&push.join, &push.reference, &push.payload];
            script.look(line, frame, &push.event, joined.as_ref());
        }
        match (push.topic.as_str(), push.event.as_str(), joined) {
            ("phoenix", "heartbeat", _) => {
                self.reply(line, &push.join, &push.reference, "phoenix", &ok(&json!({})));
            }
            (topic, "phx_join", _) if topic.starts_with("store:") => self.join(line, &push),
            (_, "phx_leave", None) => {
                self.reply(line, &push.join, &push.reference, &push.topic, &ok(&json!({})));
            }
            (_, _, None) => {
                let unmatched = Refusal::of("unmatched topic").payload();
                self.reply(line, &Value::Null, &push.reference, &push.topic, &unmatched);
            }
            // What belongs to an older join is dropped without a reply.
            (_, _, Some(current)) if current != push.join => {}
            (_, "phx_leave", Some(_)) => self.leave(line, &push),
            (_, event, Some(_)) => self.act(line, &push, event, now),
        }
    }

    pub(super) fn close(&self, line: u64, code: u16) {
        if let Some(line) = self.lines.get(&line) {
            let _ = line.out.send(Out::Close(code));
        }
    }

    fn join(&mut self, line: u64, push: &Push) {
        let admitted = self.admitted(line, push);
        let older = self.lines.get_mut(&line).and_then(|line| line.topics.remove(&push.topic));
        let (store, last) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.reply(line, &push.join, &push.reference, &push.topic, &refusal.payload());
                self.say_close(line, &push.topic, older.as_ref());
                return;
            }
        };
        let mut response =
            json!({ "store_seq": self.stores[store].seq, "capver": CAPVER, "capver_min": CAPVER });
        self.describe(line, &mut response);
        self.reply(line, &push.join, &push.reference, &push.topic, &ok(&response));
        self.say_close(line, &push.topic, older.as_ref());
        if let Some(Line { topics, .. }) = self.lines.get_mut(&line) {
            topics.insert(push.topic.clone(), push.join.clone());
        }
        self.catch_up(line, push, store, &last);
    }

    fn catch_up(&self, line: u64, push: &Push, store: usize, last: &Value) {
        let store = &self.stores[store];
        let say = |join: &Value, event: &str, payload: &Value| {
            let text = frame(join, &Value::Null, &push.topic, event, payload);
            self.send_after(line, text, self.faults.catch_up_delay);
        };
        for op in store.log.iter().rev().take(self.faults.overlap) {
            say(&Value::Null, "event", &op.event);
        }
        let missed = store.catch_up(last);
        if let Some(snapshot) = &missed.snapshot {
            say(&push.join, "snapshot", snapshot);
        }
        for event in &missed.events {
            say(&push.join, "event", event);
        }
        say(&push.join, "catch_up_complete", &json!({ "through_seq": missed.through }));
    }

    /// The store that may be joined, and what the client has seen of it.
    fn admitted(&self, line: u64, push: &Push) -> Result<(usize, Value), Refusal> {
        let crashed = || Refusal::of("join crashed");
        let last = push.payload.get("last_store_seq").ok_or_else(crashed)?;
        let name = push.topic.strip_prefix("store:").unwrap_or_default();
        if !name.contains('/') && !is_uuid(name) {
            return Err(crashed());
        }
        let store = self.store_of(name).filter(|&store| !self.stores[store].is_archived || is_uuid(name));
        let store = store.ok_or_else(|| Refusal::of("unauthorized"))?;
        let token = &self.tokens[self.lines.get(&line).ok_or_else(crashed)?.token];
        token.may("entries:read", &self.stores[store].name)?;
        Ok((store, last.clone()))
    }

    fn describe(&self, line: u64, response: &mut Value) {
        let Some(line) = self.lines.get(&line) else { return };
        let identity = |name: &str| self.store(name).map(|store| self.stores[store].id.clone());
        if let (Value::Object(said), Value::Object(of_token)) =
            (response, self.tokens[line.token].described(identity))
        {
            said.extend(of_token);
        }
    }

    fn say_close(&self, line: u64, topic: &str, join: Option<&Value>) {
        if let Some(join) = join {
            self.send(line, frame(join, join, topic, "phx_close", &json!({})));
        }
    }

    fn leave(&mut self, line: u64, push: &Push) {
        self.reply(line, &push.join, &push.reference, &push.topic, &ok(&json!({})));
        self.say_close(line, &push.topic, Some(&push.join));
        if let Some(line) = self.lines.get_mut(&line) {
            line.topics.remove(&push.topic);
        }
    }

    /// The process of a channel dies: no reply, and the topic is to be joined again.
    pub(super) fn crash(&mut self, line: u64, topic: &str) {
        let Some(joined) = self.lines.get_mut(&line).and_then(|line| line.topics.remove(topic)) else {
            return;
        };
        self.send(line, frame(&joined, &joined, topic, "phx_error", &json!({})));
    }

    fn act(&mut self, line: u64, push: &Push, event: &str, now: WallMs) {
        let Some(store) = push.topic.strip_prefix("store:").and_then(|name| self.store_of(name)) else {
            return;
        };
        match (event, &push.payload) {
            ("write", Value::Object(request)) => self.write(line, push, store, request, now),
            ("ack_seq", Value::Object(request)) if request.contains_key("seq") => {
                self.reply(line, &push.join, &push.reference, &push.topic, &ok(&json!({})));
            }
            ("status", _) => {
                let mut response = self.stores[store].status();
                self.describe(line, &mut response);
                self.reply(line, &push.join, &push.reference, &push.topic, &ok(&response));
            }
            _ => self.crash(line, &push.topic),
        }
    }

    fn write(&mut self, line: u64, push: &Push, store: usize, request: &Map<String, Value>, now: WallMs) {
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        let Some(from) = self.lines.get(&line) else { return };
        let (token, device) = (from.token, from.device.clone());
        if self.faults.lost_requests.takes(op) {
            return;
        }
        if self.script.is_some() {
            let (join, reference, topic) = (&push.join, &push.reference, push.topic.as_str());
            return self.play(&Played { line, join, reference, topic, store, request, now });
        }
        let payload = match self.tokens[token].may("entries:write", &self.stores[store].name) {
            Err(refusal) => refusal.payload(),
            Ok(()) if !self.tokens[token].write(now).is_allowed || self.faults.rate_limited.takes(op) => {
                Refusal::rate_limited().payload()
            }
            Ok(()) if self.faults.unavailable.takes(op) => Refusal::writer_unavailable().payload(),
            Ok(()) if self.faults.refused.takes(op) => Refusal::of(self.faults.reason).payload(),
            Ok(()) if self.faults.crashed.takes(op) => return self.crash(line, &push.topic),
            Ok(()) => {
                let is_late = self.faults.unavailable_committed.takes(op);
                if is_late && !self.faults.commit_delay.is_zero() {
                    let due = Instant::now() + self.faults.commit_delay;
                    self.late.push(Late { due, store, request: request.clone(), device });
                    let payload = Refusal::writer_unavailable().payload();
                    return self.reply_to_write(line, &push.join, &push.reference, &push.topic, &payload);
                }
                let is_silent = is_late || self.faults.swallowed_events.takes(op);
                let topic = (!is_silent).then_some((push.topic.as_str(), Some(line)));
                match self.apply(store, request, Origin { device: &device, now }, topic) {
                    Done::Crashed => return self.crash(line, &push.topic),
                    _ if is_late => Refusal::writer_unavailable().payload(),
                    Done::Refused(refusal) => refusal.payload(),
                    Done::Committed { response, .. } | Done::Nothing { response } => ok(&response),
                }
            }
        };
        if !self.faults.lost_replies.takes(op) {
            self.reply_to_write(line, &push.join, &push.reference, &push.topic, &payload);
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

// === impl Store ===

impl super::store::Store {
    /// What `status` says of a store.
    fn status(&self) -> Value {
        let date = |at: WallMs| Value::String(super::dates::iso(at));
        let recent = self.log.iter().rev().take(RECENT).map(
            |op| json!({ "store_seq": op.seq, "op": op.name, "path": op.path, "inserted_at": date(op.at) }),
        );
        json!({
            "current_seq": self.seq,
            "entry_count": self.rows.len(),
            "op_count": self.seq,
            "db_size_bytes": 4096 * self.seq.min(1),
            "file_storage_bytes": 0,
            "expires_at": null,
            "latest_snapshot_seq": self.snapshot.as_ref().map(|snapshot| snapshot.seq),
            "latest_snapshot_at": self.snapshot.as_ref().map(|snapshot| date(snapshot.at)),
            "recent_ops": recent.collect::<Vec<_>>(),
        })
    }
}
