//! Frames of the channel protocol: `[join_ref, ref, topic, event, payload]` as JSON.

use serde::Deserialize;
use serde_json::{Value, json};

/// The topic of heartbeats.
pub(super) const PHOENIX: &str = "phoenix";
/// The reference of the join. A socket joins once.
pub(super) const JOIN: &str = "1";
/// Above every number of an operation: a join from here gets no history.
const NO_HISTORY: u64 = (1 << 53) - 1;

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
    #[serde(default)]
    pub value: Value,
    #[serde(default)]
    pub client_op_id: Option<String>,
    /// How long its frame was.
    #[serde(skip)]
    pub bytes: usize,
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

// === impl Envelope ===

impl Envelope {
    /// The lease that a value is, if it is one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let is_lease = value.get("_type").and_then(Value::as_str) == Some("lease");
        is_lease.then(|| Self::deserialize(value).ok()).flatten()
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
    fn a_join_asks_for_no_history() {
        assert_eq!(
            join("store:a/b"),
            r#"["1","1","store:a/b","phx_join",{"last_store_seq":9007199254740991}]"#
        );
        assert_eq!(heartbeat(7), r#"[null,"7","phoenix","heartbeat",{}]"#);
    }
}
