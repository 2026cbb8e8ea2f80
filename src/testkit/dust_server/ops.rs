//! The writer: one operation, checked in the order in which the server checks it.

use serde_json::{Map, Value, json};

use super::paths;
use super::refusal::Refusal;
use super::rows::{self, Row};
use super::store::{Op, Store};
use crate::clock::WallMs;

/// Names of operations that a write may carry.
const KNOWN: &[&str] =
    &["set", "delete", "merge", "increment", "add", "remove", "put_file", "lease", "renew", "release"];
/// The term of a lease that names none.
const TERM_MS: i64 = 30_000;

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Done {
    /// It stands in the log: the event of it, and the reply.
    Committed {
        event: Value,
        response: Value,
    },
    /// Nothing was to be done.
    Nothing {
        response: Value,
    },
    Refused(Refusal),
    /// The channel's process died of it.
    Crashed,
}

/// Where a write came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub device: &'a str,
    pub now: WallMs,
}

struct Write<'a> {
    op: &'a str,
    segments: Vec<String>,
    path: String,
    request: &'a Map<String, Value>,
    value: Value,
    origin: Origin<'a>,
}

enum Stop {
    Refused(Refusal),
    Nothing(Value),
    Crashed,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Applies one operation.
pub(super) fn apply(store: &mut Store, request: &Map<String, Value>, origin: Origin<'_>) -> Done {
    match write(store, request, origin) {
        Ok((event, response)) => Done::Committed { event, response },
        Err(Stop::Nothing(response)) => Done::Nothing { response },
        Err(Stop::Refused(refusal)) => Done::Refused(refusal),
        Err(Stop::Crashed) => Done::Crashed,
    }
}

fn write(
    store: &mut Store,
    request: &Map<String, Value>,
    origin: Origin<'_>,
) -> Result<(Value, Value), Stop> {
    let op = request.get("op").and_then(Value::as_str).filter(|op| KNOWN.contains(op));
    let op = op.ok_or_else(|| Refusal::of("invalid op"))?;
    if store.is_archived {
        return Err(Refusal::of("store_archived").into());
    }
    let (segments, path) = paths::named(request)?;
    let value = request.get("value").cloned().unwrap_or(Value::Null);
    let write = Write { op, segments, path, request, value, origin };
    write.value_fits()?;
    let leaves = rows::leaves(&write.segments, &write.value).ok_or(Stop::Crashed)?;
    write.plan_allows(store, &leaves)?;
    write.preconditions_fit()?;
    write.preconditions_hold(store)?;
    match op {
        "lease" => write.lease(store),
        "renew" => write.renew(store),
        "release" => write.release(store),
        // Files come with an event of their own.
        "put_file" => Err(Stop::Crashed),
        "set" => {
            write.is_named()?;
            store.clear(&write.path);
            put(store, leaves);
            Ok(write.commit(store, write.value.clone(), json!({})))
        }
        "merge" => {
            write.is_named()?;
            put(store, leaves);
            Ok(write.commit(store, write.value.clone(), json!({})))
        }
        "delete" => {
            write.is_named()?;
            store.clear(&write.path);
            Ok(write.commit(store, Value::Null, json!({})))
        }
        _ => write.fold(store),
    }
}

fn put(store: &mut Store, leaves: Vec<(String, Value, &'static str)>) {
    let seq = store.seq + 1;
    for (path, value, kind) in leaves {
        store.rows.insert(path, Row { value, kind, seq, due: None });
    }
}

// === impl Write ===

impl Write<'_> {
    fn given(&self, field: &str) -> Option<&Value> {
        self.request.get(field).filter(|value| !value.is_null())
    }

    fn is_lease_op(&self) -> bool {
        matches!(self.op, "lease" | "renew" | "release")
    }

    fn value_fits(&self) -> Result<(), Refusal> {
        match self.op {
            "merge" if !self.value.is_object() => Err(Refusal::of("merge_requires_map_value")),
            "increment" if !self.value.is_number() => Err(Refusal::of("increment_requires_number_value")),
            "add" if self.value.is_null() => Err(Refusal::of("add_requires_value")),
            "remove" if self.value.is_null() => Err(Refusal::of("remove_requires_value")),
            _ => Ok(()),
        }
    }

    /// The plan counts rows, and only what `set` and `merge` would add to them.
    fn plan_allows(&self, store: &Store, leaves: &[(String, Value, &str)]) -> Result<(), Refusal> {
        let Some(limit) = store.most_keys.filter(|_| matches!(self.op, "set" | "merge")) else {
            return Ok(());
        };
        let fresh = leaves.iter().filter(|(path, ..)| !store.rows.contains_key(path)).count() as u64;
        let current = store.rows.len() as u64;
        if fresh == 0 || current + fresh <= limit {
            return Ok(());
        }
        let refusal = Refusal::of("limit_exceeded").with("dimension", "keys");
        Err(refusal.with("current", current).with("limit", limit))
    }

    /// Anything but a literal `true` is no wish.
    fn wants_absent(&self) -> bool {
        self.request.get("if_absent") == Some(&Value::Bool(true))
    }

    fn preconditions_fit(&self) -> Result<(), Refusal> {
        let is_object = rows::kind(&self.value).is_none();
        let matching = self.given("if_match").is_some();
        if matching && !matches!(self.op, "set" | "delete") {
            return Err(Refusal::of("if_match_unsupported_op").with("op", self.op));
        }
        if matching && is_object {
            return Err(Refusal::of("if_match_multi_leaf"));
        }
        if matching && self.wants_absent() {
            return Err(Refusal::of("invalid_precondition"));
        }
        if self.wants_absent() && self.op != "set" {
            return Err(Refusal::of("if_absent_unsupported_op").with("op", self.op));
        }
        if self.wants_absent() && is_object {
            return Err(Refusal::of("if_absent_multi_leaf"));
        }
        Ok(())
    }

    fn preconditions_hold(&self, store: &Store) -> Result<(), Refusal> {
        let row = store.rows.get(&self.path);
        if let Some(wanted) = self.given("if_match") {
            let wanted = wanted.as_i64().ok_or_else(|| {
                let shown = wanted.to_string();
                Refusal::of(format!("%CaseClauseError{{term: {shown}}}"))
            })?;
            if row.is_none_or(|row| i64::try_from(row.seq) != Ok(wanted)) {
                return Err(Refusal::of("conflict"));
            }
        }
        if self.wants_absent() && row.is_some() {
            return Err(Refusal::of("exists"));
        }
        let Some((key, token)) = self.fence().filter(|_| !self.is_lease_op()) else { return Ok(()) };
        let lock = store.rows.get(key);
        if lock.is_some_and(|row| row.is_live(self.origin.now) && row.is_lease_of(token)) {
            return Ok(());
        }
        Err(Refusal::of("fenced"))
    }

    /// A fence that is not exactly of this shape does not fence, and nobody says so.
    fn fence(&self) -> Option<(&str, &Value)> {
        let fence = self.request.get("fence")?;
        let token = fence.get("token").filter(|token| token.is_i64() || token.is_u64())?;
        Some((fence.get("key")?.as_str()?, token))
    }

    /// Each row of the log has the name that its client gave the operation.
    fn is_named(&self) -> Result<(), Refusal> {
        if self.given("client_op_id").is_some() {
            return Ok(());
        }
        let text = "NOT NULL constraint failed: store_ops.client_op_id";
        Err(Refusal::of(format!("%MatchError{{term: {{:error, \"{text}\"}}}}")))
    }

    /// When a lease of the wanted term falls due: whole if the term is.
    fn due(&self) -> Result<Value, Refusal> {
        let now = i64::try_from(self.origin.now).unwrap_or(i64::MAX);
        match self.given("ttl_ms") {
            None => Ok((now + TERM_MS).into()),
            Some(Value::Number(ttl)) => Ok(match ttl.as_i64() {
                Some(ttl) => now.saturating_add(ttl).into(),
                None => (now as f64 + ttl.as_f64().unwrap_or(0.0)).into(),
            }),
            Some(_) => Err(Refusal::arithmetic()),
        }
    }

    fn lease(&self, store: &mut Store) -> Result<(Value, Value), Stop> {
        match store.rows.get(&self.path) {
            Some(row) if row.kind != "lease" => return Err(Refusal::of("occupied").into()),
            Some(row) if row.is_live(self.origin.now) => return Err(Refusal::of("held").into()),
            _ => {}
        }
        let due = self.due()?;
        self.is_named()?;
        let holder = self.request.get("holder").cloned().unwrap_or(Value::Null);
        Ok(self.grant(store, &holder, &Value::from(store.seq + 1), &due))
    }

    fn renew(&self, store: &mut Store) -> Result<(Value, Value), Stop> {
        let token = self.given("token").ok_or_else(|| Refusal::of(":invalid_lease_op"))?;
        let lock =
            store.rows.get(&self.path).filter(|row| row.is_live(self.origin.now) && row.is_lease_of(token));
        let lock = lock.ok_or_else(|| Refusal::of("not_held"))?;
        let holder = lock.value.get("holder").cloned().unwrap_or(Value::Null);
        let due = self.due()?;
        self.is_named()?;
        Ok(self.grant(store, &holder, token, &due))
    }

    fn release(&self, store: &mut Store) -> Result<(Value, Value), Stop> {
        let token = self.given("token").ok_or_else(|| Refusal::of(":invalid_lease_op"))?;
        if !store.rows.get(&self.path).is_some_and(|row| row.is_lease_of(token)) {
            return Err(Stop::Nothing(json!({ "released": false })));
        }
        self.is_named()?;
        store.rows.remove(&self.path);
        Ok(self.commit(store, Value::Null, json!({})))
    }

    fn grant(&self, store: &mut Store, holder: &Value, token: &Value, due: &Value) -> (Value, Value) {
        let value = json!({ "_type": "lease", "holder": holder, "token": token, "expires_at": due });
        let row = Row { value: value.clone(), kind: "lease", seq: store.seq + 1, due: due.as_f64() };
        store.rows.insert(self.path.clone(), row);
        self.commit(store, value, json!({ "token": token, "expires_at": due, "holder": holder }))
    }

    /// Counters and sets: the event carries what has become of them.
    fn fold(&self, store: &mut Store) -> Result<(Value, Value), Stop> {
        let before = store.rows.get(&self.path).map(|row| row.value.clone());
        let (value, kind) = match (self.op, before) {
            ("increment", None) => (self.value.clone(), "counter"),
            ("increment", Some(Value::Number(before))) => (sum(&before, &self.value), "counter"),
            ("increment", Some(_)) => return Err(Refusal::arithmetic().into()),
            (op, before) => {
                let mut members = match before {
                    Some(Value::Array(members)) => members,
                    _ => Vec::new(),
                };
                members.retain(|member| *member != self.value);
                if op == "add" {
                    members.push(self.value.clone());
                }
                (Value::Array(members), "set")
            }
        };
        self.is_named()?;
        let row = Row { value: value.clone(), kind, seq: store.seq + 1, due: None };
        store.rows.insert(self.path.clone(), row);
        Ok(self.commit(store, value, json!({})))
    }

    /// Gives the operation its number. The reply is the number and what the operation adds to it.
    fn commit(&self, store: &mut Store, value: Value, mut response: Value) -> (Value, Value) {
        store.seq += 1;
        let seq = store.seq;
        response["store_seq"] = seq.into();
        let event = json!({
            "store_seq": seq,
            "op": self.op,
            "path": self.path,
            "path_segments": self.segments,
            "value": value,
            "device_id": self.origin.device,
            "client_op_id": self.request.get("client_op_id"),
        });
        store.log.push(Op {
            seq,
            at: self.origin.now,
            name: self.op.to_owned(),
            path: self.path.clone(),
            value,
            device: self.origin.device.to_owned(),
            event: event.clone(),
        });
        (event, response)
    }
}

fn sum(before: &serde_json::Number, by: &Value) -> Value {
    match (before.as_i64(), by.as_i64()) {
        (Some(before), Some(by)) => before.saturating_add(by).into(),
        _ => (before.as_f64().unwrap_or(0.0) + by.as_f64().unwrap_or(0.0)).into(),
    }
}
