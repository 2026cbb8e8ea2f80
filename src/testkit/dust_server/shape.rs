//! Whether a write has the shape of a recorded one: the same fields, of exactly the same types.
//!
//! The server takes a wrong type for no wish: a fence whose token is a text does not fence, and
//! `if_absent: "true"` overwrites. So nothing but the exact form is accepted.

use serde_json::{Map, Value};

/// Fields that a client may add or leave out: the server takes a path in either form.
const FREE: &[&str] = &["path", "path_segments", "holder", "ttl_ms"];
/// Fields whose values are the server's word, or name what is done. They are sent as recorded.
const EXACT: &[&str] = &["op", "token", "if_match", "if_absent"];

/// What is wrong with a write.
pub(super) fn differences(recorded: &Map<String, Value>, sent: &Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, value) in recorded {
        match sent.get(name) {
            None if FREE.contains(&name.as_str()) => {}
            None => wrong.push(format!("{name} is missing")),
            Some(given) if EXACT.contains(&name.as_str()) && given != value => {
                wrong.push(format!("{name} is {given}, not {value}"));
            }
            Some(given) if name == "fence" => wrong.extend(fence(value, given)),
            // Without a holder's name there is null.
            Some(given) if name != "holder" && kind(given) != kind(value) => {
                wrong.push(format!("{name} is {given}, not a {}", kind(value)));
            }
            Some(_) => {}
        }
    }
    let added = sent.keys().filter(|name| !recorded.contains_key(*name) && !FREE.contains(&name.as_str()));
    wrong.extend(added.map(|name| format!("{name} was not recorded")));
    let term = sent.get("ttl_ms").filter(|term| !term.is_u64());
    wrong.extend(term.map(|term| format!("ttl_ms is {term}, not a whole number")));
    if sent.get("client_op_id").and_then(Value::as_str).is_none_or(str::is_empty) {
        wrong.push("client_op_id is no text".to_owned());
    }
    wrong.extend(one_path(sent));
    wrong
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "whole number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn fence(recorded: &Value, given: &Value) -> Option<String> {
    let is_exact = given.as_object().is_some_and(|fields| fields.len() == 2)
        && given["key"].is_string()
        && given["token"].is_u64()
        && given["token"] == recorded["token"];
    (!is_exact).then(|| format!("fence is {given}, not {recorded}"))
}

/// A path that is given twice is the same in both forms, and it is given.
fn one_path(sent: &Map<String, Value>) -> Option<String> {
    let Ok((_, path)) = super::paths::named(sent) else { return Some("the path is no path".to_owned()) };
    let text = sent.get("path").filter(|text| **text != path);
    text.map(|text| format!("path is {text}, and path_segments are {path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(recorded: &Value, sent: &Value) -> usize {
        differences(recorded.as_object().unwrap(), sent.as_object().unwrap()).len()
    }

    #[test]
    fn what_the_server_would_take_for_no_wish_is_no_likeness() {
        let recorded = json!({
            "op": "set", "path": "k", "client_op_id": "1", "value": "v", "if_absent": true,
            "fence": { "key": "lk", "token": 7 },
        });
        let with = |field: &str, value: Value| {
            let mut sent = recorded.clone();
            sent[field] = value;
            sent
        };
        assert_eq!(wrong(&recorded, &recorded), 0);
        assert_eq!(wrong(&recorded, &with("path_segments", json!(["k"]))), 0);
        assert_eq!(wrong(&recorded, &with("value", json!("of its own"))), 0);
        assert_eq!(wrong(&recorded, &with("value", json!({}))), 1);
        assert_eq!(wrong(&recorded, &with("if_absent", json!("true"))), 1);
        assert_eq!(wrong(&recorded, &with("fence", json!({ "key": "lk", "token": "7" }))), 1);
        assert_eq!(wrong(&recorded, &with("fence", json!({ "token": 7 }))), 1);
        assert_eq!(wrong(&recorded, &with("fence", json!({ "key": "lk", "token": 8 }))), 1);
        assert_eq!(wrong(&recorded, &with("client_op_id", json!(5))), 2);
        assert_eq!(wrong(&recorded, &with("path_segments", json!(["other"]))), 1);
        assert_eq!(wrong(&recorded, &with("if_match", json!(1))), 1);
    }

    #[test]
    fn a_term_is_a_whole_number() {
        let recorded = json!({ "op": "lease", "path": "lk", "client_op_id": "1", "ttl_ms": 1000 });
        for (term, count) in [(json!(2000), 0), (json!(2000.5), 2), (json!("2000"), 2)] {
            let mut sent = recorded.clone();
            sent["ttl_ms"] = term;
            assert_eq!(wrong(&recorded, &sent), count);
        }
    }
}
