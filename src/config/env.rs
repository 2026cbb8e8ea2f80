//! Settings from the environment: `DUSTGATE_SERVER__LISTEN` is `server.listen`.
//!
//! Only a name with `__` in it is a setting. Other `DUSTGATE_*` variables are ignored: a Kubernetes
//! Service of that name puts some into every pod. A name that would be a setting with two underscores
//! gets a warning.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::Settings;
use crate::upstream;

/// A variable that is a setting.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) text: String,
}

/// The settings among the variables, sorted by name so that problems always come in one order.
pub(super) fn variables<'a>(
    env: impl IntoIterator<Item = (&'a String, &'a String)>,
    upstreams: &[String],
) -> Vec<Variable> {
    let mut found: Vec<_> = env
        .into_iter()
        .filter_map(|(name, text)| {
            let path = name.strip_prefix("DUSTGATE_").filter(|rest| rest.contains("__"))?;
            let mut path: Vec<_> = path.split("__").map(str::to_ascii_lowercase).collect();
            // A variable's name has neither small letters nor hyphens; an upstream's may.
            if path[0] == "upstreams" {
                let meant = |known: &&String| known.to_ascii_lowercase().replace('-', "_") == path[1];
                if let Some(known) = upstreams.iter().find(meant) {
                    path[1].clone_from(known);
                }
            }
            Some(Variable { name: name.clone(), path, text: text.clone() })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Variables whose names lack one underscore of a setting's, each with the right name.
pub(super) fn near_misses<'a>(
    env: &'a BTreeMap<String, String>,
    upstreams: &[String],
) -> Vec<(&'a String, String)> {
    let mut names = Vec::new();
    paths(&Settings::default().in_force(), &mut Vec::new(), &mut |path| names.push(path.join("__")));
    let mut keys = Vec::new();
    let upstream = serde_json::to_value(upstream::Settings::default()).unwrap_or_default();
    paths(&upstream, &mut Vec::new(), &mut |path| keys.push(path.join("__")));
    // The longest name first: queue_timeout is no timeout of an upstream that is called queue.
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    let known: Vec<String> =
        upstreams.iter().map(|name| name.to_ascii_uppercase().replace('-', "_")).collect();
    let right = |name: &str| {
        let rest = name.strip_prefix("DUSTGATE_").filter(|rest| !rest.contains("__"))?;
        let rest = rest.to_ascii_uppercase();
        if let Some(right) = names.iter().find(|name| name.replace("__", "_") == rest) {
            return Some(format!("DUSTGATE_{right}"));
        }
        let of_one = rest.strip_prefix("UPSTREAMS_")?;
        let (one, key) = keys.iter().find_map(|key| {
            let one = of_one.strip_suffix(&key.replace("__", "_"))?.strip_suffix('_')?;
            Some((one, key))
        })?;
        // A Service called dustgate-upstreams-… has a variable for its host.
        let injected = key == "HOST" && one.ends_with("_SERVICE") && !known.iter().any(|name| name == one);
        (!one.is_empty() && !injected).then(|| format!("DUSTGATE_UPSTREAMS__{one}__{key}"))
    };
    env.keys().filter_map(|name| Some((name, right(name)?))).collect()
}

/// Calls the function with the name of every setting below a value, in capitals.
fn paths(value: &serde_json::Value, at: &mut Vec<String>, tell: &mut impl FnMut(&[String])) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                at.push(key.to_ascii_uppercase());
                paths(value, at, tell);
                at.pop();
            }
        }
        // All settings but the lists of tables are in a section.
        _ if at.len() > 1 || !value.is_array() => tell(at),
        _ => {}
    }
}

// === impl Variable ===

impl Variable {
    /// The values that its text may mean, the likeliest first. A text stays a text where a text is
    /// expected, even if it looks like a number. A list may be written with commas.
    pub(super) fn readings(&self) -> Vec<Value> {
        let text = Value::from(self.text.clone());
        // It never fails: any text is a text.
        let parsed = self.text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        let list: Vec<_> = self.text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
        let list = Value::from(list);
        if self.text.trim_start().starts_with(['{', '[', '"']) {
            vec![parsed, text, list]
        } else {
            vec![text, parsed, list]
        }
    }
}

/// A table with only that setting.
pub(super) fn only(path: &[String], value: Value) -> Dict {
    let mut value = value;
    for (at, segment) in path.iter().enumerate().rev() {
        let dict = Dict::from([(segment.clone(), value)]);
        if at == 0 {
            return dict;
        }
        value = Value::from(dict);
    }
    Dict::new()
}
