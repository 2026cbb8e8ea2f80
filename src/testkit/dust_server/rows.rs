//! Rows: one for each leaf, as the server stores values.

use serde_json::{Map, Value, json};

use super::paths;
use crate::clock::WallMs;

/// One stored leaf.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub value: Value,
    pub kind: &'static str,
    /// The number of the last operation that wrote the row.
    pub seq: u64,
    /// When a lease falls due, in ms. The writer forgets it when it starts again, and reads the value.
    pub due: Option<f64>,
}

/// The kind of a value that is set as one row. A plain object has none: it is flattened.
pub(super) fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => Some("null"),
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_f64() => Some("float"),
        Value::Number(_) => Some("integer"),
        // Lists are kept under the name of strings.
        Value::String(_) | Value::Array(_) => Some("string"),
        Value::Object(fields) => match fields.get("_type").and_then(Value::as_str) {
            Some("lease") => Some("lease"),
            Some("file" | "decimal" | "datetime") => Some("map"),
            _ => None,
        },
    }
}

/// The leaves of a value below a path. `None`: a key of an object is empty, which the server cannot take.
pub(super) fn leaves(segments: &[String], value: &Value) -> Option<Vec<(String, Value, &'static str)>> {
    fn walk(at: &mut Vec<String>, value: &Value, found: &mut Vec<(String, Value, &'static str)>) -> bool {
        if let Some(kind) = kind(value) {
            found.push((paths::render(at), value.clone(), kind));
            return true;
        }
        let Value::Object(fields) = value else { return true };
        fields.iter().all(|(name, value)| {
            at.push(name.clone());
            let fine = !name.is_empty() && walk(at, value, found);
            at.pop();
            fine
        })
    }
    let mut found = Vec::new();
    walk(&mut segments.to_vec(), value, &mut found).then_some(found)
}

/// A value as it stands in a snapshot and in the log of the HTTP surface.
pub(super) fn wrapped(value: &Value) -> Value {
    if value.is_object() { value.clone() } else { json!({ "_scalar": value }) }
}

// === impl Row ===

impl Row {
    /// Returns whether this is a lease that has not run out.
    pub(super) fn is_live(&self, now: WallMs) -> bool {
        let now = now as f64;
        self.kind == "lease"
            && match (self.due, self.value.get("expires_at")) {
                (Some(due), _) => now < due,
                // A restarted writer compares whole numbers; of a fraction it thinks that it is never due.
                (None, Some(Value::Number(at))) if at.is_f64() => true,
                (None, Some(Value::Number(at))) => at.as_f64().is_some_and(|at| now < at),
                (None, _) => false,
            }
    }

    /// Returns whether this is a lease under this token, lapsed or not.
    pub(super) fn is_lease_of(&self, token: &Value) -> bool {
        self.kind == "lease" && self.value.get("token") == Some(token)
    }
}

/// Puts leaves below a path together again.
pub(super) fn assembled<'a>(
    above: &str,
    rows: impl Iterator<Item = (&'a String, &'a Row)>,
) -> Option<(Value, u64)> {
    let mut whole = Map::new();
    let mut revision = None;
    for (path, row) in rows.filter(|(path, _)| paths::is_below(path, above)) {
        revision = revision.max(Some(row.seq));
        let Ok(segments) = paths::parse(&path[above.len() + 1..]) else { continue };
        let Some((last, way)) = segments.split_last() else { continue };
        let mut here = &mut whole;
        for name in way {
            let next = here.entry(name.clone()).or_insert(Value::Null);
            // Above a leaf there is no room for others; what is deeper wins.
            if !next.is_object() {
                *next = json!({});
            }
            here = next.as_object_mut().expect("it was made one");
        }
        here.insert(last.clone(), row.value.clone());
    }
    revision.map(|revision| (Value::Object(whole), revision))
}
