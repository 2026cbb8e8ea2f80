//! A minimal record and a minimal request, for tests to change.

use http::{HeaderMap, Method, StatusCode};

use crate::record::{Fields, LifetimeBy, Manifest, Record, Selecting, Tags};
use crate::upstream::{Lane, Request};

/// A 200 under a key, without fields, lifetime or content.
pub fn record(key: &str) -> Record {
    Record {
        key: key.into(),
        born: 1,
        token: 1,
        status: StatusCode::OK,
        headers: Fields::default(),
        received_at: 0,
        age_ms: 0,
        fresh_ms: 0,
        swr_ms: 0,
        sie_ms: 0,
        keep_ms: 0,
        by: LifetimeBy::Origin,
        credentialed: false,
        select: Selecting::new(),
        range: None,
        tags: Tags::new(),
        body: Manifest::default(),
    }
}

/// A fill's request without fields or content.
pub fn request(method: Method, target: &str) -> Request {
    Request {
        method,
        target: target.to_owned(),
        headers: HeaderMap::new(),
        body: None,
        lane: Lane::Fill,
        deadline: None,
        interest: None,
        on_sent: None,
    }
}
