//! Frames of the channel protocol: `[join_ref, ref, topic, event, payload]` as JSON.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// The topic of heartbeats.
pub(super) const PHOENIX: &str = "phoenix";
/// The reference of the join. A socket joins once.
pub(super) const JOIN: &str = "1";
/// Above every number of an operation: a join from here gets no history.
const NO_HISTORY: u64 = (1 << 53) - 1;

/// What a part of an event takes beside its text, about.
const PART: usize = 32;

/// A frame that was received.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Frame(pub Option<String>, pub Option<String>, pub String, pub String, pub Value);

/// The answer to a frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Reply {
    pub status: String,
    #[serde(default)]
    pub response: Value,
}

/// An operation that the server has committed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Event {
    pub store_seq: u64,
    pub op: String,
    pub path_segments: Vec<String>,
    #[serde(default, deserialize_with = "lean")]
    pub value: Value,
    #[serde(default)]
    pub client_op_id: Option<String>,
}

/// A lease as it lies in the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Envelope {
    #[serde(default)]
    pub holder: Option<String>,
    pub token: u64,
    pub expires_at: u64,
}

// === impl Frame ===

impl Frame {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

// === impl Event ===

impl Event {
    /// How many bytes it takes, about.
    pub(super) fn weight(&self) -> usize {
        let path: usize = self.path_segments.iter().map(|segment| segment.len() + PART).sum();
        let name = self.client_op_id.as_ref().map_or(0, String::len);
        // A value is a text, or a short object.
        PART * 8 + path + self.op.len() + name + self.value.as_str().map_or(PART * 4, str::len)
    }
}

// === impl Envelope ===

impl Envelope {
    /// The lease that a value is, if it is one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let is_lease = value.get("_type").and_then(Value::as_str) == Some("lease");
        is_lease.then(|| Self::deserialize(value).ok()).flatten()
    }
}

/// Reads a value, and keeps of it what has a meaning here: a text or a lease. Anything else is null, for it may take
/// many times as many bytes as its text.
pub(super) fn lean<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Value::deserialize(from).map(leaned)
}

/// The same for a value that may be wrapped, as it is in a log.
pub(super) fn lean_in_log<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    let mut value = Value::deserialize(from)?;
    let wrapped = value.get_mut("_scalar").map(Value::take);
    Ok(leaned(wrapped.unwrap_or(value)))
}

fn leaned(value: Value) -> Value {
    match Envelope::of(&value) {
        Some(Envelope { holder, token, expires_at }) => {
            json!({ "_type": "lease", "holder": holder, "token": token, "expires_at": expires_at })
        }
        None if value.is_string() => value,
        None => Value::Null,
    }
}

/// Joins a store without its history.
pub(super) fn join(topic: &str) -> String {
    json!([JOIN, JOIN, topic, "phx_join", { "last_store_seq": NO_HISTORY }]).to_string()
}

pub(super) fn heartbeat(number: u64) -> String {
    json!([null, number.to_string(), PHOENIX, "heartbeat", {}]).to_string()
}

pub(super) fn write(topic: &str, number: u64, body: &Value) -> String {
    json!([JOIN, number.to_string(), topic, "write", body]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read() {
        let text = r#"[null,null,"store:a/b","event",{"store_seq":7,"op":"lease","path":"l","path_segments":["l"],
            "value":{"_type":"lease","holder":null,"token":7,"expires_at":9},"device_id":"d","client_op_id":"x"}]"#;
        let Frame(join, number, topic, event, payload) = Frame::parse(text).unwrap();
        assert_eq!((join, number, &*topic, &*event), (None, None, "store:a/b", "event"));
        let event = Event::deserialize(payload).unwrap();
        assert_eq!((event.store_seq, &*event.op, event.client_op_id.as_deref()), (7, "lease", Some("x")));
        assert_eq!(Envelope::of(&event.value), Some(Envelope { holder: None, token: 7, expires_at: 9 }));
        for text in ["", "{}", "[]", "[1,2,3,4]", "[null,null,\"t\",\"e\"]", "[null,1,\"t\",\"e\",{}]"] {
            assert_eq!(Frame::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_neither_text_nor_a_lease_is_not_kept() {
        let event = |value: &str| -> Event {
            let text = format!(r#"{{"store_seq":7,"op":"set","path_segments":["a"],"value":{value}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(event("\"x\"").value, json!("x"));
        for value in ["[1,1,1]", "{\"a\":[{}]}", "7", "null", "{\"_type\":\"lease\",\"token\":\"7\"}"] {
            assert_eq!(event(value).value, Value::Null, "{value}");
        }
        let lease = json!({ "_type": "lease", "holder": "h", "token": 7, "expires_at": 9 });
        let more = r#"{"_type":"lease","holder":"h","token":7,"expires_at":9,"more":[[],[]]}"#;
        assert_eq!(event(more).value, lease);
    }

    #[test]
    fn an_event_weighs_what_it_takes() {
        let path_segments: Vec<_> = (0..1000).map(|_| "a".to_owned()).collect();
        let taken = path_segments.len() * (size_of::<String>() + 1);
        let (op, value) = ("set".to_owned(), json!("v"));
        let event = Event { store_seq: 7, op, path_segments, value, client_op_id: None };
        assert!((taken..taken * 2).contains(&event.weight()), "{} for {taken}", event.weight());
    }

    #[test]
    fn a_join_asks_for_no_history() {
        assert_eq!(
            join("store:a/b"),
            r#"["1","1","store:a/b","phx_join",{"last_store_seq":9007199254740991}]"#
        );
        assert_eq!(heartbeat(7), r#"[null,"7","phoenix","heartbeat",{}]"#);
    }
}
