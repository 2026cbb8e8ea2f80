//! The JSON shapes, and their conversion.

use std::borrow::Cow;
use std::cell::RefCell;

use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CodecError, VERSION, growing, hex, letters, unhex, value};
use crate::record::{
    Binding, Evidence, Life, LifetimeBy, Manifest, Note, Record, Segment, Spoken, Tag, VaryNode, Witness,
};

/// A record's text. To be written, it borrows what it can.
#[derive(Serialize, Deserialize)]
pub(super) struct WireRecord<'a> {
    v: u64,
    #[serde(borrow)]
    key: Cow<'a, str>,
    born: u64,
    token: u64,
    status: u16,
    #[serde(borrow)]
    headers: Vec<(Text<'a>, Text<'a>)>,
    received_at: u64,
    age_ms: u64,
    fresh_ms: u64,
    swr_ms: u64,
    sie_ms: u64,
    keep_ms: u64,
    by: WireBy,
    credentialed: bool,
    select: Map<String, Value>,
    range: Option<(u64, u64, u64)>,
    #[serde(borrow)]
    tags: Vec<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<WireBody<'a>>,
    /// What marks a Vary node: with it, this is no record.
    #[serde(default, skip_serializing)]
    vary: Option<IgnoredAny>,
}

/// A text that is borrowed from what is read, unless something in it is escaped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireBy {
    Origin,
    Heuristic,
    Route,
}

/// What marks the digest of a segment that the coordination store carries.
const CARRIED: char = '+';

#[derive(Serialize, Deserialize)]
struct WireBody<'a> {
    len: u64,
    #[serde(borrow)]
    segments: Vec<WireSegment<'a>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    life: Option<Text<'a>>,
}

/// Token, number, length, digest. The digest of a carried segment has [`CARRIED`] before it: a version that
/// knows no such segments takes the whole pointer for unreadable.
type WireSegment<'a> = (u64, u32, u64, Text<'a>);

#[derive(Serialize, Deserialize)]
pub(super) struct WireVary {
    v: u64,
    key: String,
    token: u64,
    vary: Vec<String>,
    variants: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    languages: Vec<WireSpoken>,
    #[serde(default, skip_serializing_if = "is_false")]
    noted: bool,
}

// The signature that serde needs.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(it: &bool) -> bool {
    !it
}

/// Hash of the variant's key, language, Accept-Language.
type WireSpoken = (String, String, Option<String>);

#[derive(Serialize, Deserialize)]
pub(super) struct WireGrowing<'a> {
    v: u64,
    token: u64,
    #[serde(borrow)]
    head: WireRecord<'a>,
    #[serde(borrow)]
    segments: Vec<WireSegment<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binding: Option<WireBinding>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WirePass {
    v: u64,
    token: u64,
    pass: String,
    until: u64,
    #[serde(flatten)]
    binding: WireBinding,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireFailed {
    v: u64,
    token: u64,
    failed: u16,
    until: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    answered: bool,
    #[serde(flatten)]
    binding: WireBinding,
}

/// Absent if it names no exchange: then it binds no request.
#[derive(Serialize, Deserialize)]
struct WireBinding {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<WireWitness>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vary: Vec<String>,
}

/// Digests of the fields, of the client and of the selection, until when it counts, and how long its
/// verdict is remembered.
type WireWitness = (String, String, String, u64, u64);

fn field(name: &str) -> Result<HeaderName, CodecError> {
    HeaderName::from_lowercase(name.as_bytes()).map_err(|_| CodecError::Invalid("field name"))
}

thread_local! {
    /// The life that was read last. All records of a store name the same one, so they share its text.
    static LIFE: RefCell<Life> = RefCell::new("".into());
}

fn shared(life: &str) -> Life {
    LIFE.with_borrow_mut(|last| {
        if **last != *life {
            *last = life.into();
        }
        last.clone()
    })
}

fn write_segments(segments: &[Segment]) -> Vec<WireSegment<'static>> {
    let write = |segment: &Segment| {
        let mut digest = hex(&segment.digest);
        if segment.carried {
            digest.insert(0, CARRIED);
        }
        (segment.token, segment.n, segment.len, Text(digest.into()))
    };
    segments.iter().map(write).collect()
}

fn read_segments(segments: Vec<WireSegment<'_>>) -> Result<Vec<Segment>, CodecError> {
    let read = |(token, n, len, Text(digest)): WireSegment<'_>| {
        let carried = digest.strip_prefix(CARRIED);
        let (digest, carried) = (carried.unwrap_or(&digest), carried.is_some());
        let digest = unhex(digest).ok_or(CodecError::Invalid("digest"))?;
        Ok(Segment { token, n, len, digest, carried })
    };
    segments.into_iter().map(read).collect()
}

// === impl WireRecord ===

impl<'a> WireRecord<'a> {
    pub(super) fn of(record: &'a Record, with_body: bool) -> Self {
        let select = record.select.iter().map(|(field, value)| {
            let value = value.as_ref().map_or(Value::Null, |value| Value::String(value.clone()));
            (field.as_str().to_owned(), value)
        });
        let body = || WireBody {
            len: record.body.len,
            segments: write_segments(&record.body.segments),
            life: record.body.life.as_deref().map(|life| Text(life.into())),
        };
        Self {
            v: VERSION,
            key: Cow::Borrowed(&record.key),
            born: record.born,
            token: record.token,
            status: record.status.as_u16(),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (Text(name.as_str().into()), Text(letters(value))))
                .collect(),
            received_at: record.received_at,
            age_ms: record.age_ms,
            fresh_ms: record.fresh_ms,
            swr_ms: record.swr_ms,
            sie_ms: record.sie_ms,
            keep_ms: record.keep_ms,
            by: match record.by {
                LifetimeBy::Origin => WireBy::Origin,
                LifetimeBy::Heuristic => WireBy::Heuristic,
                LifetimeBy::Route => WireBy::Route,
            },
            credentialed: record.credentialed,
            select: select.collect(),
            range: record.range(),
            tags: record.tags.iter().map(|tag| Text(tag.text().into())).collect(),
            body: with_body.then(body),
            vary: None,
        }
    }

    /// Returns whether it is a record of this version.
    pub(super) fn is_record(&self) -> bool {
        self.v == VERSION && self.vary.is_none()
    }

    /// Converts it to a record, with `body` if its own body is elsewhere.
    pub(super) fn into_record(self, body: Option<Manifest>) -> Result<Record, CodecError> {
        if self.v != VERSION {
            return Err(CodecError::Version(self.v));
        }
        let body = match (self.body, body) {
            (Some(own), None) => Manifest {
                life: own.life.map(|life| shared(&life.0)),
                len: own.len,
                segments: read_segments(own.segments)?.into(),
            },
            (None, Some(body)) => body,
            _ => return Err(CodecError::Invalid("body")),
        };
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (Text(name), Text(text)) in self.headers {
            let text = value(&text).ok_or(CodecError::Invalid("field value"))?;
            headers.try_append(field(&name)?, text).map_err(|_| CodecError::Invalid("headers"))?;
        }
        let select = self.select.into_iter().map(|(name, value)| {
            let value = match value {
                Value::Null => None,
                Value::String(value) => Some(value),
                _ => return Err(CodecError::Invalid("select")),
            };
            Ok((field(&name)?, value))
        });
        let tags = self.tags.iter().map(|Text(text)| Tag::new(text)).collect::<Option<_>>();
        Ok(Record {
            key: (*self.key).into(),
            born: self.born,
            token: self.token,
            status: StatusCode::from_u16(self.status).map_err(|_| CodecError::Invalid("status"))?,
            headers: headers.into(),
            received_at: self.received_at,
            age_ms: self.age_ms,
            fresh_ms: self.fresh_ms,
            swr_ms: self.swr_ms,
            sie_ms: self.sie_ms,
            keep_ms: self.keep_ms,
            by: match self.by {
                WireBy::Origin => LifetimeBy::Origin,
                WireBy::Heuristic => LifetimeBy::Heuristic,
                WireBy::Route => LifetimeBy::Route,
            },
            credentialed: self.credentialed,
            select: select.collect::<Result<_, _>>()?,
            range: self.range.map(Box::new),
            tags: tags.ok_or(CodecError::Invalid("tags"))?,
            body,
        })
    }
}

// === impl WireVary ===

impl WireVary {
    pub(super) fn of(node: &VaryNode) -> Self {
        Self {
            v: VERSION,
            key: node.key.clone(),
            token: node.token,
            vary: node.fields.iter().map(|field| field.as_str().to_owned()).collect(),
            variants: node.variants.clone(),
            languages: node
                .languages
                .iter()
                .map(|spoken| (spoken.variant.clone(), spoken.language.clone(), spoken.accept.clone()))
                .collect(),
            noted: node.noted,
        }
    }

    pub(super) fn into_node(self) -> Result<VaryNode, CodecError> {
        let fields = self.vary.iter().map(|name| field(name)).collect::<Result<_, _>>()?;
        let spoken = |(variant, language, accept)| Spoken { variant, language, accept };
        let languages = self.languages.into_iter().map(spoken).collect();
        let Self { key, token, variants, noted, .. } = self;
        Ok(VaryNode { key, token, fields, variants, languages, noted })
    }
}

// === impl WireGrowing ===

impl<'a> WireGrowing<'a> {
    pub(super) fn of(token: u64, head: &'a Record, binding: Option<&Binding>) -> Self {
        Self {
            v: VERSION,
            token,
            head: WireRecord::of(head, false),
            segments: write_segments(&head.body.segments),
            life: head.body.life.as_deref().map(str::to_owned),
            binding: binding.map(WireBinding::of),
        }
    }

    pub(super) fn into_note(self) -> Result<Note, CodecError> {
        let body = growing(self.life.as_deref().map(shared), read_segments(self.segments)?)?;
        let head = Box::new(self.head.into_record(Some(body))?);
        let binding = self.binding.map(WireBinding::into_binding).transpose()?;
        Ok(Note::Growing { token: self.token, head, binding })
    }
}

// === impl WirePass ===

impl WirePass {
    pub(super) fn of(token: u64, reason: &str, until: u64, binding: &Binding) -> Self {
        Self { v: VERSION, token, pass: reason.to_owned(), until, binding: WireBinding::of(binding) }
    }

    pub(super) fn into_note(self) -> Result<Note, CodecError> {
        let binding = self.binding.into_binding()?;
        Ok(Note::Pass { token: self.token, reason: self.pass, until: self.until, binding })
    }
}

// === impl WireFailed ===

impl WireFailed {
    pub(super) fn of(token: u64, status: u16, answered: bool, until: u64, binding: &Binding) -> Self {
        Self { v: VERSION, token, failed: status, until, answered, binding: WireBinding::of(binding) }
    }

    pub(super) fn into_note(self) -> Result<Note, CodecError> {
        let Self { token, failed: status, until, answered, binding, .. } = self;
        let binding = binding.into_binding()?;
        Ok(Note::Failed { token, status, answered, until, binding })
    }
}

// === impl WireBinding ===

impl WireBinding {
    fn of(binding: &Binding) -> Self {
        let seen = binding.evidence.witnesses().map(|one| {
            let digits = |digest: u64| format!("{digest:016x}");
            (hex(&one.carried), digits(one.client), digits(one.selection), one.until, one.lasts)
        });
        let vary = binding.vary.iter().map(|field| field.as_str().to_owned());
        Self { seen: seen.collect(), vary: vary.collect() }
    }

    fn into_binding(self) -> Result<Binding, CodecError> {
        let short = |digits: &str| {
            let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(CodecError::Invalid("seen"))
        };
        let read = |(carried, client, selection, until, lasts): WireWitness| {
            let carried = unhex(&carried).ok_or(CodecError::Invalid("seen"))?;
            Ok(Witness { carried, client: short(&client)?, selection: short(&selection)?, until, lasts })
        };
        let seen = self.seen.into_iter().map(read).collect::<Result<Vec<_>, CodecError>>()?;
        let evidence = Evidence::from_list(&seen).ok_or(CodecError::Invalid("seen"))?;
        let vary = self.vary.iter().map(|name| field(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Binding { evidence, vary })
    }
}
