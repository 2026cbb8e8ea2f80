//! The product's very files of what is pure, and what the targets share.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use policy::{Lifetime, RequestFacts, Rules, stored_headers};
use record::{Manifest, Record};

#[path = "../../../src"]
mod product {
    pub mod key;
    pub mod policy;
    pub mod record;
    pub mod route;
    pub mod secret;
    pub mod units;
}

pub use product::{key, policy, record, route, secret, units};

/// When everything comes in, wall ms.
pub const NOW: u64 = 1_700_000_000_000;

/// Reads lines of `name: value` for as long as they are some; the rest of the input.
pub fn fields(data: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { break };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value)
            && headers.len() < 64
        {
            headers.append(name, value);
        }
    }
    (headers, rest)
}

/// A status by the first byte of the input; mostly 200.
pub fn status(data: &[u8]) -> (StatusCode, &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return (StatusCode::OK, data) };
    let statuses = [200, 203, 206, 299, 302, 304, 404, 410, 429, 500, 503];
    let code = statuses.get(usize::from(first.wrapping_sub(b'a'))).copied().unwrap_or(200);
    (StatusCode::from_u16(code).unwrap_or(StatusCode::OK), rest)
}

/// What is remembered of a response that came at [`NOW`].
pub fn record(
    status: StatusCode,
    headers: &HeaderMap,
    ask: &RequestFacts,
    rules: &Rules,
    lifetime: &Lifetime,
) -> Record {
    Record {
        key: "http://a/".into(),
        born: 1,
        token: 1,
        status,
        headers: stored_headers(headers, rules, NOW).into(),
        received_at: NOW,
        age_ms: lifetime.age_ms,
        fresh_ms: lifetime.fresh_ms,
        swr_ms: lifetime.swr_ms,
        sie_ms: lifetime.sie_ms,
        keep_ms: lifetime.keep_ms,
        by: lifetime.by,
        credentialed: ask.credentialed(),
        select: record::Selecting::new(),
        range: None,
        tags: record::Tags::new(),
        body: Manifest::default(),
    }
}
