//! An answer, and what a test may say of it.

use super::fields::Fields;

/// A whole answer, or as much as came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub end: End,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing said.
    Clean,
    /// Before that.
    Broken,
}

// === impl Reply ===

impl Reply {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_default()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn age(&self) -> u64 {
        self.field("age").parse().unwrap_or_else(|_| panic!("no Age: {:?}", self.fields))
    }

    /// The last member of Cache-Status: ours.
    pub fn cache_status(&self) -> &str {
        self.fields.all("cache-status").last().and_then(|line| line.rsplit(", ").next()).unwrap_or_default()
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().starts_with("dustgate; hit")
    }

    /// Fails the test unless it is a fresh hit of what is good for so many seconds in all. Age
    /// and what is left are both whole seconds, rounded down.
    #[track_caller]
    pub fn assert_hit_for(&self, lifetime: u64) {
        let ttl = self.cache_status().strip_prefix("dustgate; hit; ttl=").and_then(|ttl| ttl.parse().ok());
        let in_all = ttl.map(|ttl: u64| ttl + self.age());
        assert!(in_all == Some(lifetime) || in_all == Some(lifetime - 1), "{:?}", self.fields);
    }

    /// Whether it came whole, with this status and body.
    pub fn is(&self, status: u16, body: &str) -> bool {
        self.status == status && self.body == body.as_bytes() && self.end == End::Clean
    }

    /// Fails the test unless it came whole, with this status and body.
    #[track_caller]
    pub fn assert(&self, status: u16, body: &str) {
        assert!(
            self.is(status, body),
            "not a whole {status} {body:?}: {} {:?} {:?}\n{:?}",
            self.status,
            self.end,
            String::from_utf8_lossy(&self.body[..self.body.len().min(300)]),
            self.fields
        );
    }

    /// Fails the test unless it is one of our own errors: JSON, and not to be stored.
    #[track_caller]
    pub fn assert_error(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("cache-control"), "no-store", "{self:?}");
        assert!(self.field("content-type").starts_with("application/json"), "{self:?}");
        let json = self.json();
        assert!(json["error"].is_string() && json["detail"].is_string(), "{json}");
        assert!(!self.fields.has("cache-status"), "{self:?}");
    }
}
