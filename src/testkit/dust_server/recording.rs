//! A recording of the real server's wire: one JSON object a line.
//!
//! The first line is the setup: what the recording proves, the clock, stores with their ids, tokens.
//! Each other line has its time `t` in ms, mostly the connection `conn`, and one of these:
//!
//! | field | holds |
//! |---|---|
//! | `open` | the target of an upgrade; with `fails` nobody listens there |
//! | `status`, `body` | what the upgrade was answered with |
//! | `say`, `say_text`, `say_bytes` | what the client sent: a frame, any text, any bytes |
//! | `hear` | a frame of the server |
//! | `close` | the code with which the connection ended; 1000 is the client's wish |
//! | `request`, `answer` | an exchange over HTTP |
//! | `commit` | an operation of a client that was not recorded, as the payload of its event |
//! | `act` | what was done to the server |

use serde_json::{Value, json};

use super::{DustServer, Setup, Token};
use crate::clock::WallMs;

/// A recording that was read.
#[derive(Debug)]
pub struct Recording {
    /// The setup.
    pub head: Value,
    /// What happened, in order.
    pub lines: Vec<Value>,
}

// === impl Recording ===

impl Recording {
    /// Reads a recording.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        let head = lines.next().expect("a recording has a first line");
        Self { head, lines: lines.collect() }
    }

    /// The wall clock at `t` 0.
    pub fn clock(&self) -> WallMs {
        self.head["clock"].as_u64().unwrap_or_default()
    }

    /// The name of the one store that a connection speaks of.
    pub fn store(&self) -> Option<&str> {
        self.head["stores"].as_object()?.keys().next().map(String::as_str)
    }

    /// A setup with the stores and tokens of the recording, on a clock to be cranked.
    pub fn setup(&self) -> Setup {
        self.onto(Setup::cranked(self.clock()))
    }

    /// This setup, with the stores and tokens of the recording.
    pub fn onto(&self, mut setup: Setup) -> Setup {
        let none = serde_json::Map::new();
        let stores = self.head["stores"].as_object().unwrap_or(&none);
        for (name, id) in stores {
            setup = match id.as_str() {
                Some(id) if !id.is_empty() => setup.store_of_id(name, id),
                _ => setup.store(name),
            };
        }
        for (secret, told) in self.head["tokens"].as_object().unwrap_or(&none) {
            setup = setup.token(token(secret, told, stores));
        }
        setup
    }

    /// Brings a fresh server of this setup to where the recording begins.
    ///
    /// # Panics
    /// If the server is of another setup.
    pub fn prepare(&self, server: &DustServer) {
        let set = json!({ "op": "set", "path": "before", "value": 0 });
        for (store, ops) in self.head["before"].as_object().into_iter().flatten() {
            for _ in 0..ops.as_u64().unwrap_or_default() {
                server.write(store, &set).expect("a set is accepted");
            }
        }
        for (store, most) in self.head["limit_keys"].as_object().into_iter().flatten() {
            server.limit_keys(store, most.as_u64().unwrap_or_default());
        }
    }
}

fn token(secret: &str, told: &Value, stores: &serde_json::Map<String, Value>) -> Token {
    let texts = |field: &str| told[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let org = if secret.contains("free") { "freeorg" } else { "acme" };
    let mut token = Token::new(secret, org).with_scopes(&texts("scopes").collect::<Vec<_>>());
    let of_id = |id: &str| stores.iter().find(|(_, known)| *known == id).map(|(name, _)| name.as_str());
    let selected: Vec<_> = texts("stores").filter_map(of_id).collect();
    if !selected.is_empty() {
        token = token.for_stores(&selected);
    }
    if let (Some(writes), Some(reads)) = (told["limits"][0].as_u64(), told["limits"][1].as_u64()) {
        token = token.limited(writes, reads);
    }
    if told["expired"] == true { token.expired() } else { token }
}
