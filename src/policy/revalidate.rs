//! Validating a record upstream, and what the response makes of it (RFC 9111 §4.3).

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::date::parse_date;
use super::etag::etag;
use super::request::RequestFacts;
use super::rules::Rules;
use super::stored::{content_length, stored_headers};
use super::tags::validated;
use super::vary::{Varies, names_cookie, varies};
use super::verdict::{Answer, Framing, Verdict, verdict};
use crate::record::{Lines, Record};

/// What a HEAD's answer makes of a stored GET (RFC 9111 §4.3.5).
#[derive(Debug, Clone, PartialEq)]
pub enum HeadUpdate {
    /// It says nothing about the stored response.
    Nothing,
    /// It is of the same content: this is the record with its new times and fields.
    Refreshed(Box<Record>),
    /// It is of other content: the stored one is stale.
    Stale,
}

/// The conditions to send: If-None-Match, and If-Modified-Since for origins that know no tags. `None` if the
/// record has no validator.
pub fn validators(record: &Record) -> Option<HeaderMap> {
    let mut conditions = HeaderMap::new();
    if etag(&record.headers).is_some()
        && let Some(tag) = record.headers.value(&header::ETAG)
    {
        conditions.insert(header::IF_NONE_MATCH, tag);
    }
    if let Some(modified) = record.headers.value(&header::LAST_MODIFIED)
        && parse_date(modified.as_bytes()).is_some()
    {
        conditions.insert(header::IF_MODIFIED_SINCE, modified);
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// The record that a 304 makes (RFC 9111 §4.3.4, §3.2): its fields replace the stored ones of the same name,
/// and the times are computed anew. `None` if the 304 is of another representation, or if the result may not
/// be stored, or would be selected by other fields: then the whole is asked for. `born`, `token`, body and
/// the tag that the body came under stay; the caller raises `token`.
///
/// The request names the tag of this one record ([`validators`]), so a weak match is enough: nginx and Django
/// answer with the strong form of the weak tag that they gave.
pub fn refresh(
    record: &Record,
    not_modified: &HeaderMap,
    requested_at: u64,
    received_at: u64,
    rules: &Rules,
) -> Option<Record> {
    if !is_of_the_same(record, not_modified) {
        return None;
    }
    let mut merged = record.headers.to_map(0);
    let fresh = stored_headers(not_modified, rules, received_at);
    for field in fresh.keys().filter(|field| is_updated(field)) {
        merged.remove(field);
        for value in fresh.get_all(field) {
            merged.append(field, value.clone());
        }
    }
    // For the verdict alone: fields that are never stored, but count in it.
    let mut judged = merged.clone();
    for field in [header::AGE, header::SET_COOKIE] {
        for value in not_modified.get_all(&field) {
            judged.append(&field, value.clone());
        }
    }
    let answer = Answer {
        // A part is judged as the 200 that it is a part of.
        status: if record.range.is_some() { StatusCode::OK } else { record.status },
        headers: &judged,
        requested_at,
        received_at,
        framing: Framing::Length(record.body.len),
    };
    let by_cookie = names_cookie(&merged);
    let ask = RequestFacts {
        authorization: record.credentialed && !by_cookie,
        cookie: record.credentialed && by_cookie,
        ..RequestFacts::default()
    };
    let Verdict::Store(lifetime) = verdict(&ask, &answer, rules) else { return None };
    if !selects_the_same(record, &merged, rules) {
        return None;
    }
    let tags = validated(&record.tags, not_modified, rules)?;
    let merged = stored_headers(&merged, rules, received_at);
    Some(Record {
        tags,
        headers: merged.into(),
        received_at,
        age_ms: lifetime.age_ms,
        fresh_ms: lifetime.fresh_ms,
        swr_ms: lifetime.swr_ms,
        sie_ms: lifetime.sie_ms,
        keep_ms: lifetime.keep_ms,
        by: lifetime.by,
        ..record.clone()
    })
}

/// Judges what the response to a HEAD makes of a stored GET (RFC 9111 §4.3.5). Only a 200 says anything. One
/// in another coding than the stored response tells only whether their validators match: origins that code on
/// the fly describe their plain content to a HEAD. One without a validator cannot show that its content is
/// the stored one: an equal length proves nothing.
pub fn head_update(
    record: &Record,
    status: StatusCode,
    head: &HeaderMap,
    requested_at: u64,
    received_at: u64,
    rules: &Rules,
) -> HeadUpdate {
    if status != StatusCode::OK || (record.status != StatusCode::OK && record.range.is_none()) {
        return HeadUpdate::Nothing;
    }
    let whole = record.range().map_or(record.body.len, |(_, _, total)| total);
    let length = !head.contains_key(header::CONTENT_LENGTH) || content_length(head) == Some(whole);
    let tagged = match (etag(head), etag(&record.headers)) {
        (Some(told), Some(stored)) => told.is(stored),
        (Some(_), None) => false,
        // An invalid tag is compared as it stands.
        (None, _) => {
            head.first(&header::ETAG).is_none_or(|told| record.headers.first(&header::ETAG) == Some(told))
        }
    };
    if !tagged || !is_dated_alike(record, head).unwrap_or(!head.contains_key(header::LAST_MODIFIED)) {
        return HeadUpdate::Stale;
    }
    if !head.lines(&header::CONTENT_ENCODING).eq(record.headers.lines(&header::CONTENT_ENCODING)) {
        return HeadUpdate::Nothing;
    }
    let tells = head.contains_key(header::ETAG) || head.contains_key(header::LAST_MODIFIED);
    if !length || !tells {
        return HeadUpdate::Stale;
    }
    match refresh(record, head, requested_at, received_at, rules) {
        Some(refreshed) => HeadUpdate::Refreshed(Box::new(refreshed)),
        None => HeadUpdate::Stale,
    }
}

/// Returns whether a 304 is of the stored representation: its tag is the stored one by weak comparison; or,
/// where one of the two has no tag, its Last-Modified is. A 304 with neither can only mean the stored one.
fn is_of_the_same(record: &Record, not_modified: &HeaderMap) -> bool {
    match (etag(not_modified), etag(&record.headers)) {
        (Some(told), Some(stored)) => told.is(stored),
        // It was asked by date alone.
        (Some(_), None) => is_dated_alike(record, not_modified) == Some(true),
        (None, _) => is_dated_alike(record, not_modified).unwrap_or(true),
    }
}

/// Whether both have the same Last-Modified; `None` if one of them has none.
fn is_dated_alike(record: &Record, told: &HeaderMap) -> Option<bool> {
    let (told, stored) = (told.first(&header::LAST_MODIFIED)?, record.headers.first(&header::LAST_MODIFIED)?);
    Some(told == stored || parse_date(told).is_some_and(|told| parse_date(stored) == Some(told)))
}

/// Returns whether a 304 updates a field. Fields of the content stay as they came with it (RFC 9111 §3.2),
/// also the tag: one that matched only weakly says nothing of these bytes.
fn is_updated(field: &HeaderName) -> bool {
    !matches!(
        *field,
        header::CONTENT_LENGTH | header::CONTENT_ENCODING | header::CONTENT_RANGE | header::ETAG
    )
}

/// Returns whether the merged fields vary on nothing but what the record was selected by.
fn selects_the_same(record: &Record, merged: &HeaderMap, rules: &Rules) -> bool {
    let Varies::On(fields) = varies(merged, rules) else { return true };
    fields.iter().all(|field| record.select.iter().any(|(selecting, _)| selecting == field))
}

#[cfg(test)]
mod tests;
