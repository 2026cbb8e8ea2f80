//! All that the server knows: stores, tokens, connections. One lock guards it, so a frame is handled as
//! a whole, and each connection is sent its frames in the order in which things happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::faults::{Faults, Silence};
use super::ops::{self, Done, Origin};
use super::script::Script;
use super::store::Store;
use super::token::Token;
use crate::clock::{Dice, WallMs};

/// The most frames and requests that are remembered.
const MOST_HEARD: usize = 10_000;

#[derive(Debug)]
pub(super) struct World {
    pub stores: Vec<Store>,
    pub tokens: Vec<Token>,
    pub lines: BTreeMap<u64, Line>,
    pub faults: Faults,
    pub dice: Dice,
    pub heard: VecDeque<Heard>,
    pub counts: BTreeMap<String, u64>,
    pub next_line: u64,
    /// The host that an `Origin` header may name.
    pub host: String,
    /// It answers no request and accepts no connection.
    pub is_down: bool,
    /// Writes that are committed later, without an event.
    pub late: Vec<Late>,
    /// A recording whose answers writes get, in the place of the writer's.
    pub script: Option<Script>,
}

/// A write that is committed later than it was answered.
#[derive(Debug)]
pub(super) struct Late {
    pub due: Instant,
    pub store: usize,
    pub request: Map<String, Value>,
    pub device: String,
}

/// A request that the server has read.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The device that a connection names; `http` for requests over HTTP.
    pub device: String,
    /// The topic, or the target.
    pub topic: String,
    /// The event, or the method.
    pub event: String,
    /// The payload, or the body.
    pub payload: Value,
    /// When, on the server's clock.
    pub at: WallMs,
}

/// One WebSocket.
#[derive(Debug)]
pub(super) struct Line {
    pub token: usize,
    pub device: String,
    /// The topics that are joined, each with the ref of its join.
    pub topics: BTreeMap<String, Value>,
    pub out: UnboundedSender<Out>,
    pub held: Vec<String>,
}

/// What the task of a WebSocket is to do.
#[derive(Debug)]
pub(super) enum Out {
    Frame {
        text: String,
        after: Duration,
    },
    Close(u16),
    /// The connection ends without a word.
    Drop,
}

/// A frame, as text.
pub(super) fn frame(join: &Value, reference: &Value, topic: &str, event: &str, payload: &Value) -> String {
    json!([join, reference, topic, event, payload]).to_string()
}

// === impl World ===

impl World {
    pub(super) fn store(&self, name: &str) -> Option<usize> {
        self.stores.iter().position(|store| store.name == name)
    }

    /// The store of a name or an id.
    pub(super) fn store_of(&self, reference: &str) -> Option<usize> {
        self.stores.iter().position(|store| store.name == reference || store.id == reference)
    }

    pub(super) fn token(&self, secret: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token.opens(secret))
    }

    pub(super) fn note(&mut self, heard: Heard, count: &str) {
        *self.counts.entry(count.to_owned()).or_default() += 1;
        if self.heard.len() == MOST_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(heard);
    }

    /// Sends a frame that is neither a live event nor the reply to a write.
    pub(super) fn send(&self, line: u64, text: String) {
        self.send_after(line, text, Duration::ZERO);
    }

    pub(super) fn send_after(&self, line: u64, text: String, after: Duration) {
        if self.faults.silence != Silence::None {
            return;
        }
        if let Some(line) = self.lines.get(&line) {
            // A task that has ended reads nothing any more.
            let _ = line.out.send(Out::Frame { text, after });
        }
    }

    pub(super) fn reply(&self, line: u64, join: &Value, reference: &Value, topic: &str, payload: &Value) {
        self.send(line, frame(join, reference, topic, "phx_reply", payload));
    }

    pub(super) fn reply_to_write(
        &self,
        line: u64,
        join: &Value,
        reference: &Value,
        topic: &str,
        payload: &Value,
    ) {
        let text = frame(join, reference, topic, "phx_reply", payload);
        self.send_after(line, text, self.faults.reply_delay);
    }

    /// Sends a live event to all that have joined this very topic.
    pub(super) fn broadcast(&mut self, topic: &str, event: &Value, writer: Option<u64>) {
        let text = frame(&Value::Null, &Value::Null, topic, "event", event);
        let joined = self.lines.iter().filter(|(_, line)| line.topics.contains_key(topic));
        let joined: Vec<u64> = joined.map(|(&id, _)| id).collect();
        for id in joined {
            for _ in 0..=self.faults.repeats {
                self.send_event(id, text.clone(), writer == Some(id));
            }
        }
    }

    fn send_event(&mut self, id: u64, text: String, is_own: bool) {
        if self.faults.holds_events {
            if let Some(line) = self.lines.get_mut(&id) {
                line.held.push(text);
            }
            return;
        }
        let far = if is_own { Duration::ZERO } else { self.faults.fan_out_delay };
        let after = self.faults.event_delay + far + self.dice.up_to(self.faults.scatter);
        self.send_after(id, text, after);
    }

    /// Applies an operation in a store. With a topic, its event goes to each connection that has joined it.
    pub(super) fn apply(
        &mut self,
        store: usize,
        request: &serde_json::Map<String, Value>,
        origin: Origin<'_>,
        topic: Option<(&str, Option<u64>)>,
    ) -> Done {
        let done = ops::apply(&mut self.stores[store], request, origin);
        if let (Done::Committed { event, .. }, Some((topic, writer))) = (&done, topic) {
            self.broadcast(topic, event, writer);
        }
        done
    }

    /// Commits what was to be committed by now.
    pub(super) fn catch_up_late(&mut self, now: WallMs) {
        let due: Vec<_> = self.late.extract_if(.., |late| late.due <= Instant::now()).collect();
        for Late { store, request, device, .. } in due {
            self.apply(store, &request, Origin { device: &device, now }, None);
        }
    }

    /// Tells every connection to end.
    pub(super) fn end(&self, how: impl Fn() -> Out) {
        for line in self.lines.values() {
            let _ = line.out.send(how());
        }
    }
}
