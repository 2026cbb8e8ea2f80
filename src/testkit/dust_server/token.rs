//! Tokens: what they may do, where, and how often a minute.

use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::clock::WallMs;

/// All scopes, sorted as the server lists them.
pub const ALL_SCOPES: &[&str] = &[
    "audit:read",
    "entries:read",
    "entries:write",
    "files:read",
    "files:write",
    "stores:clone",
    "stores:create",
    "stores:read",
    "tokens:read",
    "tokens:write",
    "webhooks:read",
    "webhooks:write",
];
const WINDOW_MS: u64 = 60_000;

/// A bearer token.
#[derive(Debug, Clone)]
pub struct Token {
    pub(super) secret: String,
    scopes: Vec<String>,
    reach: Reach,
    is_expired: bool,
    writes: Window,
    reads: Window,
}

#[derive(Debug, Clone)]
enum Reach {
    /// Every store of this organisation.
    Org(String),
    Stores(Vec<String>),
}

/// A fixed window, aligned to the minute of the wall clock.
#[derive(Debug, Clone, Default)]
struct Window {
    limit: Option<u64>,
    minute: u64,
    used: u64,
}

/// What a budget said to one more request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub is_allowed: bool,
    pub limit: u64,
    pub remaining: u64,
    /// Seconds to the next window.
    pub reset: u64,
}

// === impl Token ===

impl Token {
    /// A token with all scopes for all stores of an organisation, without limits. Its text must begin
    /// with `dust_tok_`, else no upgrade accepts it.
    pub fn new(secret: &str, org: &str) -> Self {
        Self {
            secret: secret.to_owned(),
            scopes: ALL_SCOPES.iter().map(|&scope| scope.to_owned()).collect(),
            reach: Reach::Org(org.to_owned()),
            is_expired: false,
            writes: Window::default(),
            reads: Window::default(),
        }
    }

    /// Only these scopes.
    #[must_use]
    pub fn with_scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        self.scopes.sort();
        self
    }

    /// Reads, and no writes.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.with_scopes(&["audit:read", "entries:read", "files:read", "stores:read", "webhooks:read"])
    }

    /// Writes, and no reads: it cannot join.
    #[must_use]
    pub fn write_only(self) -> Self {
        self.with_scopes(&["entries:write"])
    }

    /// Only these stores, by name.
    #[must_use]
    pub fn for_stores(mut self, stores: &[&str]) -> Self {
        self.reach = Reach::Stores(stores.iter().map(|&store| store.to_owned()).collect());
        self
    }

    /// The limits of a minute. The stock server's are 100 writes and 1000 reads.
    #[must_use]
    pub fn limited(mut self, writes: u64, reads: u64) -> Self {
        self.writes.limit = Some(writes);
        self.reads.limit = Some(reads);
        self
    }

    /// A token that is not valid any more.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.is_expired = true;
        self
    }

    /// From now on it opens nothing. What it has opened stays open.
    pub(super) fn revoke(&mut self) {
        self.is_expired = true;
    }

    pub(super) fn opens(&self, secret: &str) -> bool {
        !self.is_expired && self.secret == secret && secret.starts_with("dust_tok_")
    }

    pub(super) fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope)
    }

    pub(super) fn reaches(&self, store: &str) -> bool {
        match &self.reach {
            Reach::Org(org) => store.split_once('/').is_some_and(|(of, _)| of == org),
            Reach::Stores(stores) => stores.iter().any(|held| held == store),
        }
    }

    pub(super) fn may(&self, scope: &str, store: &str) -> Result<(), Refusal> {
        if !self.has(scope) {
            return Err(Refusal::missing_scope(scope));
        }
        if !self.reaches(store) {
            return Err(Refusal::store_not_allowed());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, now: WallMs) -> Spent {
        self.writes.spend(now)
    }

    pub(super) fn read(&mut self, now: WallMs) -> Spent {
        self.reads.spend(now)
    }

    /// What replies to `phx_join` and `status` say of the token. `identity` gives the id of a store.
    pub(super) fn described(&self, identity: impl Fn(&str) -> Option<String>) -> Value {
        let access = match &self.reach {
            Reach::Org(_) => json!({ "mode": "all", "store_ids": [] }),
            Reach::Stores(stores) => {
                let ids: Vec<_> = stores.iter().filter_map(|store| identity(store)).collect();
                json!({ "mode": "selected", "store_ids": ids })
            }
        };
        json!({
            "permissions": { "read": self.has("entries:read"), "write": self.has("entries:write") },
            "scopes": self.scopes,
            "store_access": access,
        })
    }
}

// === impl Window ===

impl Window {
    fn spend(&mut self, now: WallMs) -> Spent {
        let minute = now / WINDOW_MS;
        if self.minute != minute {
            (self.minute, self.used) = (minute, 0);
        }
        // The stock server's test build had no limit to speak of.
        let limit = self.limit.unwrap_or(1_000_000_000);
        let is_allowed = self.used < limit;
        self.used += u64::from(is_allowed);
        let reset = (WINDOW_MS - now % WINDOW_MS).div_ceil(1000);
        Spent { is_allowed, limit, remaining: limit - self.used, reset }
    }
}
