//! When an answer is the recorded one: equal, but for what differs from run to run.

use serde_json::Value;

/// Fields whose values are of one run: sizes of files, dates of operations, ids that a server makes up.
const OF_ONE_RUN: &[&str] = &["db_size_bytes", "inserted_at", "latest_snapshot_at"];

/// A value without what is of one run only.
pub fn comparable(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(comparable).collect(),
        Value::Object(fields) => {
            let device = fields.get("device_id").and_then(Value::as_str);
            let is_http = device.is_some_and(|device| device.starts_with("http:"));
            let differs = |name: &str| {
                OF_ONE_RUN.contains(&name) || is_http && matches!(name, "device_id" | "client_op_id")
            };
            let kept = fields.iter().filter(|(name, _)| !differs(name));
            kept.map(|(name, value)| (name.clone(), comparable(value))).collect()
        }
        other => other.clone(),
    }
}

/// The whole of a text that was recorded shortened: its first characters, and how many there were.
pub fn whole(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(lengthened(text).unwrap_or_else(|| text.clone())),
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), whole(value))).collect(),
        other => other.clone(),
    }
}

fn lengthened(text: &str) -> Option<String> {
    let (shown, rest) = text.split_once("...<")?;
    let length = rest.strip_suffix(" chars>")?.parse().ok()?;
    Some(shown.get(..1)?.repeat(length))
}

/// A value, shortened to be read.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(400).collect()
}
