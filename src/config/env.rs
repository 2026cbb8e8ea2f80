//! Settings from the environment: `DUSTGATE_SERVER__LISTEN` is `server.listen`.
//!
//! Only a name with `__` in it is a setting. Other `DUSTGATE_*` are left alone: a Kubernetes
//! Service of that name puts some into every pod.

use figment::value::{Dict, Value};

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

// === impl Variable ===

impl Variable {
    /// What its text may mean, the likeliest first. Text stays text where text is wanted, even
    /// if it looks like a number; a list may be written with commas.
    pub(super) fn readings(&self) -> Vec<Value> {
        let text = Value::from(self.text.clone());
        // Never fails: what is nothing else is text.
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

/// A table with that one setting in it.
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
