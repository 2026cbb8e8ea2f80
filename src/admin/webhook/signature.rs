//! The signature of a webhook's request: HMAC-SHA256 over its body, and perhaps the time of sending. Pure.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName};

use super::settings::Webhook;
use crate::clock::WallMs;

/// How requests are signed.
#[derive(Debug)]
pub(super) struct Signing {
    key: hmac::Key,
    field: HeaderName,
    form: Form,
    stamp: Option<Stamp>,
    /// What is signed, in this order.
    signed: Vec<Part>,
}

/// How a signature is written in its field.
#[derive(Debug, PartialEq, Eq)]
struct Form {
    /// The key of its item in a list of `key=value`; none: it is all that the field has.
    key: Option<String>,
    coding: Coding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Hex,
    /// In either alphabet, with or without padding.
    Base64,
}

#[derive(Debug)]
struct Stamp {
    field: HeaderName,
    within: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Body,
    Timestamp,
}

/// Why a request is not believed. The answer does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// The signature is missing, or is that of something else.
    Signature,
    /// The time of sending is missing, or too far from now.
    Time,
}

/// The length of a signature, in bytes.
const LENGTH: usize = 32;
/// The most items of a field that are looked at.
const MOST_ITEMS: usize = 16;
/// Times above this are in milliseconds: as seconds they are thousands of years away.
const SECONDS: u64 = 100_000_000_000;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Signing {
    /// How this webhook's requests are signed. What is wrong in its settings is told by name.
    pub(super) fn new(settings: &Webhook, wrong: &mut dyn FnMut(&str, String)) -> Option<Self> {
        let mut field = |name: &str, text: &str| {
            let field = text.parse::<HeaderName>().ok();
            if field.is_none() {
                wrong(name, "the name of a field is meant, such as \"x-hub-signature-256\"".to_owned());
            }
            field
        };
        let signature = field("signature", &settings.signature);
        let stamp = settings.timestamp.as_ref().map(|text| field("timestamp", text));
        let form = Form::parse(&settings.form);
        if form.is_none() {
            let reason = "\"hex\" or \"base64\" is meant, or one of them behind a key, as in \"sha256=hex\"";
            wrong("form", reason.to_owned());
        }
        let by_default = if stamp.is_some() { "{timestamp}.{body}" } else { "{body}" };
        let signed = parts(settings.signed.as_deref().unwrap_or(by_default));
        let has = |part: &Part| signed.iter().filter(|one| *one == part).count();
        if has(&Part::Body) != 1 || has(&Part::Timestamp) != usize::from(stamp.is_some()) {
            let reason = match &stamp {
                Some(_) => {
                    "{body} and {timestamp} are in it, each once: a time that is not signed proves nothing"
                }
                None => "{body} is in it once, and {timestamp} only if the setting timestamp is there",
            };
            wrong("signed", reason.to_owned());
        }
        if stamp.is_some() && settings.within.is_zero() {
            wrong("within", "cannot be off: clocks differ, and requests take time".to_owned());
        }
        let within = settings.within;
        Some(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.secret.reveal().as_bytes()),
            field: signature?,
            form: form?,
            stamp: match stamp {
                Some(field) => Some(Stamp { field: field?, within }),
                None => None,
            },
            signed,
        })
    }

    /// Checks a request. Signatures are compared in a time that does not depend on what they are.
    pub(super) fn check(&self, headers: &HeaderMap, body: &[u8], now: WallMs) -> Result<(), Unsigned> {
        let time = self.stamp.as_ref().map(|stamp| self.time(stamp, headers).ok_or(Unsigned::Time));
        let time = time.transpose()?;
        let mut given = items(headers, &self.field).filter_map(|item| self.form.read(item));
        let mut signed = Vec::with_capacity(body.len() + 32);
        for part in &self.signed {
            match part {
                Part::Text(text) => signed.extend_from_slice(text.as_bytes()),
                Part::Body => signed.extend_from_slice(body),
                Part::Timestamp => signed.extend_from_slice(time.unwrap_or_default().as_bytes()),
            }
        }
        if !given.any(|given| hmac::verify(&self.key, &signed, &given).is_ok()) {
            return Err(Unsigned::Signature);
        }
        if let (Some(stamp), Some(time)) = (&self.stamp, time) {
            let sent = milliseconds(time).ok_or(Unsigned::Time)?;
            if Duration::from_millis(sent.abs_diff(now)) > stamp.within {
                return Err(Unsigned::Time);
            }
        }
        Ok(())
    }

    /// The time of sending, as it is written.
    fn time<'a>(&self, stamp: &Stamp, headers: &'a HeaderMap) -> Option<&'a str> {
        if stamp.field == self.field {
            return items(headers, &stamp.field).find_map(|item| item.strip_prefix("t="));
        }
        let mut lines = headers.get_all(&stamp.field).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok(),
            _ => None,
        }
    }
}

/// The items of a field: between commas.
fn items<'a>(headers: &'a HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim)).take(MOST_ITEMS)
}

fn milliseconds(time: &str) -> Option<u64> {
    let number: u64 = time.parse().ok()?;
    if number > SECONDS { Some(number) } else { number.checked_mul(1000) }
}

/// The parts of what is signed.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = [("{body}", Part::Body), ("{timestamp}", Part::Timestamp)]
            .into_iter()
            .filter_map(|(name, part)| Some((rest.find(name)?, name.len(), part)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, length, part)) = found else {
            parts.push(Part::Text(rest.to_owned()));
            break;
        };
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        parts.push(part);
        rest = &rest[at + length..];
    }
    parts
}

// === impl Form ===

impl Form {
    fn parse(text: &str) -> Option<Self> {
        let (key, coding) = match text.rsplit_once('=') {
            Some((key, coding)) => (Some(key), coding),
            None => (None, text),
        };
        let coding = match coding {
            "hex" => Coding::Hex,
            "base64" => Coding::Base64,
            _ => return None,
        };
        let token =
            |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let key = key.map(str::to_owned);
        key.as_ref().is_none_or(|key| !key.is_empty() && token(key)).then_some(Self { key, coding })
    }

    /// The signature in an item, if it is one.
    fn read(&self, item: &str) -> Option<[u8; LENGTH]> {
        let text = match &self.key {
            Some(key) => item.strip_prefix(key.as_str())?.strip_prefix('=')?,
            None => item,
        };
        match self.coding {
            Coding::Hex => hex(text.as_bytes()),
            Coding::Base64 => {
                let standard = text.replace('-', "+").replace('_', "/");
                BASE64.decode(standard).ok()?.try_into().ok()
            }
        }
    }
}

fn hex(text: &[u8]) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if text.len() != LENGTH * 2 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
