//! Joins a stored part and the part that was missing (RFC 9110 §15.3.7.3, RFC 9111 §3.4).

use http::HeaderMap;

use super::{Part, kept_as};
use crate::policy::revalidate::refresh;
use crate::policy::rules::Rules;
use crate::record::{Manifest, Record};

/// The record of a stored part joined with a part that touches it, once all of the latter has come; its
/// manifest is still the stored one. Fields and times are those of the newer response. `born` is that of the
/// stored record, which is the lower one (F8). `credentialed`: the newer part was requested with credentials.
/// `None` if the newer response may not be stored: then nothing is joined.
pub fn joined(
    stored: &Record,
    missing: Part,
    credentialed: bool,
    headers: &HeaderMap,
    requested_at: u64,
    received_at: u64,
    rules: &Rules,
) -> Option<Record> {
    let (first, last, total) = stored.range()?;
    let span = (first.min(missing.0), last.max(missing.1), total);
    let mut whole = stored.clone();
    whole.credentialed |= credentialed;
    let (status, range) = whole.headers.edit(|headers| kept_as(span, headers));
    (whole.status, whole.range) = (status, range.map(Box::new));
    // Judged by the length that it will have.
    let len = span.1 - span.0 + 1;
    let there = std::mem::replace(&mut whole.body, Manifest { len, ..Manifest::default() });
    let record = refresh(&whole, headers, requested_at, received_at, rules)?;
    Some(Record { body: there, ..record })
}
