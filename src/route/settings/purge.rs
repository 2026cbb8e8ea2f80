//! `purge`: purges that come to the data port, as requests with a method of their own.

use http::Method;
use serde::{Deserialize, Serialize};

use super::made::each;
use crate::policy::settings::Wrong;
use crate::route::PortPurges;
use crate::units::{List, Net, Rate};

/// Which requests to the data port are purges, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Their methods.
    pub methods: List<String>,
    /// The networks of the clients that may purge. Required.
    pub from: List<Net>,
    /// Whether tags are purged on all hosts, and not only on the request's.
    pub all_hosts: bool,
    /// How many purges this instance takes.
    pub rate: Option<Rate>,
}

/// The methods that mean something else. A request with one of them is never a purge.
const OTHERS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

impl Default for Purge {
    fn default() -> Self {
        Self { methods: List(vec!["PURGE".to_owned()]), from: List::default(), all_hosts: false, rate: None }
    }
}

impl Purge {
    /// What the route goes by. Invalid settings are left out and reported to `wrong`; doubtful ones are
    /// reported to `warn`.
    pub(super) fn ready(&self, wrong: &mut Wrong<'_>, warn: &mut Wrong<'_>) -> PortPurges {
        if self.methods.0.is_empty() {
            wrong("purge.methods", "must have a method in it, such as \"PURGE\"".to_owned());
        }
        if self.from.0.is_empty() {
            let reason = "is required: the networks of the clients that may purge, such as \"10.0.0.0/8\"";
            wrong("purge.from", reason.to_owned());
        }
        if self.from.0.iter().any(|net| net.0.prefix_len() == 0) {
            warn("purge.from", "every client may purge this route".to_owned());
        }
        PortPurges {
            methods: each("purge.methods", &self.methods.0, method, wrong),
            from: self.from.0.clone(),
            all_hosts: self.all_hosts,
            rate: self.rate,
        }
    }
}

fn method(text: &str) -> Result<Method, String> {
    if OTHERS.contains(&text.to_ascii_uppercase().as_str()) {
        return Err(format!("{text} means something else; \"PURGE\" is meant, or another method of its own"));
    }
    text.parse().map_err(|_| "not a method".to_owned())
}
