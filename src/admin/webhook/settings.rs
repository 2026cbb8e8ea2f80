//! `[purge]`: the webhooks that purge.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::Where;
use crate::secret::Secret;
use crate::units::{self, List, Rate};

/// How others may have things purged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purges {
    /// Webhooks by name.
    pub webhooks: BTreeMap<String, Webhook>,
}

/// A webhook: requests of one system, and what in them is purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// The path on the operator's port. Required.
    pub path: String,
    /// The key of the signature. Required.
    pub secret: Secret,
    /// The field that holds the signature.
    pub signature: String,
    /// How it is written: `hex`, `base64`, or one of them behind a key, as in `sha256=hex`.
    pub form: String,
    /// The field that holds the time of sending, for the protection against replays. If it is the field of the
    /// signature, the time is its item `t`.
    pub timestamp: Option<String>,
    /// How far that time may be from now.
    #[serde(with = "units::duration")]
    pub within: Duration,
    /// What is signed, with `{body}` and `{timestamp}` in it. Default: the body, or both with a dot between
    /// them.
    pub signed: Option<String>,
    /// The tags to purge.
    pub tags: List<String>,
    /// The host that tags are purged on; none: all hosts.
    pub host: Option<String>,
    /// The URLs to purge.
    pub urls: List<String>,
    /// The prefixes to purge.
    pub prefixes: List<String>,
    /// Whether what is purged becomes stale instead of being removed.
    pub soft: bool,
    /// Where it may purge; nothing given: everywhere.
    #[serde(rename = "where")]
    pub limits: Where,
    /// How many purges it may send.
    pub rate: Option<Rate>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            path: String::new(),
            secret: Secret::default(),
            signature: "x-hub-signature-256".to_owned(),
            form: "sha256=hex".to_owned(),
            timestamp: None,
            within: Duration::from_mins(5),
            signed: None,
            tags: List::default(),
            host: None,
            urls: List::default(),
            prefixes: List::default(),
            soft: false,
            limits: Where::default(),
            rate: None,
        }
    }
}
