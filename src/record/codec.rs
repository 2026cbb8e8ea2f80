//! The form of pointers and notes in the store: small JSON, version 1. What is read is input: all of
//! it is checked, and an inconsistent text is an error, never half a record.
//!
//! Field values may be any bytes. Each byte is written as the character with that number (Latin-1), so
//! that nothing is lost and every text is valid.

mod limits;
mod wire;

pub use limits::{Limits, MAX_NOTE_MS};

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use self::wire::{WireFailed, WireGrowing, WirePass, WireRecord, WireVary};
use super::{
    Fields, Life, Lines, MAX_ACCEPT, MAX_LANGUAGE, MAX_LIFE, MAX_POINTER, MAX_SEGMENTS, MAX_TAGS, Manifest,
    Note, Pointer, Record, Segment, Spoken, VaryNode,
};
use crate::key::Hex;

/// The format's version.
const VERSION: u64 = 1;
/// The most selecting fields.
pub const MAX_FIELDS: usize = 32;
/// Room for the text of most records: a longer text is moved while it is written.
const USUAL: usize = 1024;
/// The most bytes that one segment takes in a pointer: three numbers, a digest, and separators.
const MAX_SEGMENT: usize = 84;

/// Why a pointer or a note can't be written or read. A reader treats it as absent and counts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than [`MAX_POINTER`]; its length in bytes.
    #[error("{0} bytes are more than a pointer may have")]
    TooLong(usize),
    /// Not JSON, or not of this shape.
    #[error("not a pointer: {0}")]
    Shape(String),
    /// Of another version.
    #[error("version {0} is not this one's")]
    Version(u64),
    /// This part of it is invalid.
    #[error("{0} does not hold")]
    Invalid(&'static str),
}

/// The members that tell the kinds apart.
#[derive(Deserialize)]
struct VersionOf {
    v: u64,
    vary: Option<IgnoredAny>,
    pass: Option<IgnoredAny>,
    failed: Option<IgnoredAny>,
}

/// Writes what a value key holds.
pub fn encode(pointer: &Pointer) -> Result<String, CodecError> {
    match pointer {
        Pointer::Record(record) => encode_record(record),
        Pointer::Vary(node) => encode_node(node),
    }
}

/// Writes a record whose body is complete.
pub fn encode_record(record: &Record) -> Result<String, CodecError> {
    check_whole(record)?;
    text(&WireRecord::of(record, true))
}

/// Writes a Vary node.
pub fn encode_node(node: &VaryNode) -> Result<String, CodecError> {
    check_node(node)?;
    text(&WireVary::of(node))
}

/// Checks that a record will fit when its body is complete, while only the head is known and perhaps the
/// length (`len`). The response is promised before the body has come, so this reserves room for as many
/// segments as the body may be cut into, beside those that it has already.
///
/// # Errors
/// Why it can't.
pub fn fits(record: &Record, len: Option<u64>) -> Result<(), CodecError> {
    check_length(record, len)?;
    let there = record.body.len;
    let more = len.map_or(u64::MAX, |len| len.saturating_sub(there));
    let most = MAX_SEGMENTS.saturating_sub(record.body.segments.len());
    let room = usize::try_from(more).unwrap_or(usize::MAX).min(most) * MAX_SEGMENT + MAX_LIFE;
    // Most heads are so short that an upper bound of their text is enough.
    if longest(record) + room <= MAX_POINTER {
        return Ok(());
    }
    let long = text(&WireRecord::of(record, true))?.len() + room;
    if long > MAX_POINTER { Err(CodecError::TooLong(long)) } else { Ok(()) }
}

/// Reads what a value key holds, within `limits`.
pub fn decode(text: &str, limits: &Limits) -> Result<Pointer, CodecError> {
    let pointer = decode_any(text)?;
    limits.pointer(&pointer)?;
    Ok(pointer)
}

fn decode_any(text: &str) -> Result<Pointer, CodecError> {
    // Most are records, and a text is read twice only if it is none.
    if text.len() <= MAX_POINTER
        && let Ok(wire) = shape::<WireRecord>(text)
        && wire.is_record()
    {
        return whole(wire);
    }
    let probe = probe(text)?;
    if probe.vary.is_some() {
        let node = shape::<WireVary>(text)?.into_node()?;
        check_node(&node)?;
        return Ok(Pointer::Vary(node));
    }
    whole(shape::<WireRecord>(text)?)
}

fn whole(wire: WireRecord<'_>) -> Result<Pointer, CodecError> {
    let record = wire.into_record(None)?;
    check_whole(&record)?;
    Ok(Pointer::Record(Box::new(record)))
}

/// Writes what a verdict key holds. Of a growing record's manifest only the segments are written: the
/// final length is not known yet.
pub fn encode_note(note: &Note) -> Result<String, CodecError> {
    check_note(note)?;
    match note {
        Note::Growing { token, head, binding } => text(&WireGrowing::of(*token, head, binding.as_ref())),
        Note::Pass { token, reason, until, binding } => text(&WirePass::of(*token, reason, *until, binding)),
        Note::Failed { token, status, answered, until, binding } => {
            text(&WireFailed::of(*token, *status, *answered, *until, binding))
        }
    }
}

/// Reads what a verdict key holds, within `limits`. The length of a growing record's manifest is the sum of
/// its segments.
pub fn decode_note(text: &str, limits: &Limits) -> Result<Note, CodecError> {
    let probe = probe(text)?;
    let note = if probe.pass.is_some() {
        shape::<WirePass>(text)?.into_note()?
    } else if probe.failed.is_some() {
        shape::<WireFailed>(text)?.into_note()?
    } else {
        shape::<WireGrowing>(text)?.into_note()?
    };
    check_note(&note)?;
    limits.note(&note)?;
    Ok(note)
}

/// 32 hexadecimal digits, lower case.
pub fn hex(digest: &[u8; 16]) -> String {
    Hex::of(digest).as_str().to_owned()
}

/// Reads what [`hex`] writes, and nothing else.
pub fn unhex(digits: &str) -> Option<[u8; 16]> {
    let plain = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = plain.then(|| u128::from_str_radix(digits, 16).ok()).flatten()?;
    Some(number.to_be_bytes())
}

fn text(wire: &impl serde::Serialize) -> Result<String, CodecError> {
    let mut text = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut text, wire).map_err(|error| CodecError::Shape(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| CodecError::Shape(error.to_string()))?;
    if text.len() > MAX_POINTER { Err(CodecError::TooLong(text.len())) } else { Ok(text) }
}

fn probe(text: &str) -> Result<VersionOf, CodecError> {
    if text.len() > MAX_POINTER {
        return Err(CodecError::TooLong(text.len()));
    }
    let probe: VersionOf = shape(text)?;
    if probe.v == VERSION { Ok(probe) } else { Err(CodecError::Version(probe.v)) }
}

fn shape<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, CodecError> {
    serde_json::from_str(text).map_err(|error| CodecError::Shape(error.to_string()))
}

fn holds(good: bool, what: &'static str) -> Result<(), CodecError> {
    if good { Ok(()) } else { Err(CodecError::Invalid(what)) }
}

/// Checks a record whose body is complete.
fn check_whole(record: &Record) -> Result<(), CodecError> {
    check_length(record, Some(record.body.len))?;
    holds(record.body.is_whole(), "body length")
}

/// Checks a head, and that the lengths it states match the body's length `len`, if that is known.
fn check_length(record: &Record, len: Option<u64>) -> Result<(), CodecError> {
    check_head(record)?;
    let is = |said: u64| len.is_none_or(|len| said == len);
    holds(stated_length(&record.headers)?.is_none_or(is), "content-length")?;
    check_range(record, is)
}

/// Checks the range of a part, and that its length `fits`.
fn check_range(record: &Record, fits: impl Fn(u64) -> bool) -> Result<(), CodecError> {
    let Some((first, last, total)) = record.range() else { return Ok(()) };
    holds(first <= last && last < total, "range")?;
    holds(fits(last - first + 1), "range length")
}

/// Checks what must hold for a growing record too.
fn check_head(record: &Record) -> Result<(), CodecError> {
    check_key(&record.key)?;
    let status = record.status.as_u16();
    holds((200..=599).contains(&status) && status != 304, "status")?;
    holds((status == 206) == record.range.is_some(), "range")?;
    holds(!record.headers.iter().any(|(name, _)| is_framing(name.as_str())), "headers")?;
    check_fields(record.select.iter().map(|(field, _)| field))?;
    let mut values = record.select.iter().filter_map(|(_, value)| value.as_deref());
    holds(!values.any(|value| value.contains(char::is_control)), "select")?;
    holds(record.tags.len() <= MAX_TAGS, "tags")?;
    let life = record.body.life.as_deref().unwrap_or_default();
    holds(life.len() <= MAX_LIFE && life.bytes().all(|byte| byte.is_ascii_graphic()), "life")?;
    holds(record.body.segments.len() <= MAX_SEGMENTS, "segments")
}

fn check_node(node: &VaryNode) -> Result<(), CodecError> {
    check_key(&node.key)?;
    holds(!node.fields.is_empty(), "vary")?;
    check_fields(node.fields.iter())?;
    holds(node.variants.iter().all(|hash| unhex(hash).is_some()), "variants")?;
    holds(node.languages.iter().all(is_spoken), "languages")
}

/// Returns whether it is valid. Its values become part of a key.
fn is_spoken(spoken: &Spoken) -> bool {
    let plain = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
    unhex(&spoken.variant).is_some()
        && plain(&spoken.language, MAX_LANGUAGE)
        && spoken.accept.as_ref().is_none_or(|accept| plain(accept, MAX_ACCEPT))
}

fn check_note(note: &Note) -> Result<(), CodecError> {
    match note {
        Note::Growing { token, head, binding } => {
            check_head(head)?;
            check_fields(binding.iter().flat_map(|binding| &binding.vary))?;
            // A variant's lease is taken after the upstream request was sent.
            holds(head.token <= *token, "token")?;
            let so_far = sum(&head.body.segments)?;
            let stated = stated_length(&head.headers)?;
            holds(stated.is_none_or(|stated| so_far <= stated), "content-length")?;
            check_range(head, |len| so_far <= len)
        }
        Note::Pass { reason, binding, .. } => {
            let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            holds((1..=64).contains(&reason.len()) && reason.bytes().all(word), "reason")?;
            check_fields(binding.vary.iter())
        }
        Note::Failed { status, binding, .. } => {
            holds((400..=599).contains(status), "status")?;
            check_fields(binding.vary.iter())
        }
    }
}

/// Checks that a key is lines of visible characters: it is compared with a request's key, and printed.
fn check_key(key: &str) -> Result<(), CodecError> {
    holds(!key.is_empty() && !key.contains(|letter: char| letter.is_control() && letter != '\n'), "key")
}

/// Checks that fields are sorted, unique and not too many.
fn check_fields<'a>(fields: impl Iterator<Item = &'a HeaderName> + Clone) -> Result<(), CodecError> {
    let next = fields.clone().skip(1);
    let sorted = fields.clone().zip(next).all(|(a, b)| a.as_str() < b.as_str());
    holds(sorted && fields.count() <= MAX_FIELDS, "fields")
}

/// Returns whether the field would change the framing of a response made from the record.
fn is_framing(field: &str) -> bool {
    matches!(
        field,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

fn stated_length(headers: &Fields) -> Result<Option<u64>, CodecError> {
    let mut stated = None;
    for digits in headers.lines(&http::header::CONTENT_LENGTH) {
        let number =
            std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u64 =
            number.and_then(|text| text.parse().ok()).ok_or(CodecError::Invalid("content-length"))?;
        holds(stated.is_none_or(|stated| stated == number), "content-length")?;
        stated = Some(number);
    }
    Ok(stated)
}

/// The most bytes that a record can take as text: an escaped character takes up to six.
fn longest(record: &Record) -> usize {
    let select = record
        .select
        .iter()
        .map(|(name, value)| name.as_str().len() + value.as_ref().map_or(4, String::len) + 8);
    let tags = record.tags.iter().map(|tag| tag.text().len() + 3);
    let plain = usize::try_from(record.weight()).unwrap_or(usize::MAX);
    let segments = record.body.segments.len() * MAX_SEGMENT;
    plain.saturating_add(select.chain(tags).sum()).saturating_mul(6).saturating_add(segments + 512)
}

fn sum(segments: &[Segment]) -> Result<u64, CodecError> {
    let sum = segments.iter().try_fold(0u64, |sum, segment| sum.checked_add(segment.len));
    sum.ok_or(CodecError::Invalid("body length"))
}

fn growing(life: Option<Life>, segments: Vec<Segment>) -> Result<Manifest, CodecError> {
    Ok(Manifest { life, len: sum(&segments)?, segments: segments.into() })
}

fn letters(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => text.into(),
        _ => value.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

fn value(letters: &str) -> Option<HeaderValue> {
    if letters.is_ascii() {
        return HeaderValue::from_bytes(letters.as_bytes()).ok();
    }
    let bytes: Option<Vec<u8>> = letters.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

#[cfg(test)]
mod tests;
