//! Which variant of a key is in which language: a stored Content-Language answers a request whose
//! single best language it is, however the request puts it (RFC 9110 §12.5.4).
//!
//! Known to this instance alone, of what it has filled or read. What it does not know costs a
//! fetch and nothing else.

use std::sync::Arc;

use http::HeaderMap;
use quick_cache::sync::Cache;

use super::Proxy;
use crate::key::{Key, KeyHash};
use crate::policy::{self, Ask, Reuse, Rules};
use crate::record::{Record, VaryNode};

use crate::tier::{Covered, Held, Stored};

/// How many variants are remembered at most.
const CAPACITY: usize = 16_384;

/// The text of a variant's key, by the name that it would have had it been asked for in its own
/// language alone.
#[derive(Debug)]
pub(crate) struct Languages(Cache<KeyHash, Arc<str>>);

// === impl Languages ===

impl Languages {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Remembers a variant that these request fields select.
    pub(crate) fn learn(&self, primary: &Key, record: &Record, headers: &HeaderMap) {
        let Some(language) = policy::language_of(record) else { return };
        let fields: Vec<_> = record.select.iter().map(|(field, _)| field.clone()).collect();
        if let Some(name) = policy::language_key(primary, &fields, headers, &language) {
            self.0.insert(name.hash(), Arc::from(record.key.as_str()));
        }
    }
}

impl Proxy {
    /// A fresh variant in the one language that a request wants most, where the request has no
    /// variant of its own; and what is left of its lifetime.
    pub(super) fn in_language(
        &self,
        primary: &str,
        node: &VaryNode,
        headers: &HeaderMap,
        ask: &Ask,
        rules: &Rules,
    ) -> Option<(Arc<Stored>, i64)> {
        let language = policy::best_language(headers)?;
        let name = policy::language_key(&Key::new(primary), &node.fields, headers, &language)?;
        let text = self.languages.0.get(&name.hash())?;
        let Some(Held::Stored(stored)) = self.tier.find(&text) else { return None };
        let now = self.now_ms();
        let usable = stored.covered(&self.stamps) == Covered::No
            && self.trust.holds(now)
            && policy::selects(&stored.record, headers)
            && policy::answers(headers, ask.head, &stored.record);
        match policy::reuse(ask, &stored.record, &stored.terms, rules, now) {
            Reuse::Fresh { ttl_ms, .. } if usable => Some((stored, ttl_ms)),
            _ => None,
        }
    }
}
