//! Which request fields select a response (RFC 9111 §4.1), and their normal values.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::forward::{is_carried, is_same_for_a_key};
use super::language::{best_language, encodings_into, languages_into, wants_most};
use super::rules::{Cookies, Rules};
use super::secret::is_known_secret;
use crate::key::Key;
use crate::record::{Lines, MAX_ACCEPT, MAX_LANGUAGE, Record, Spoken, VaryNode};

/// A response that names more fields than this counts as `Vary: *`.
const MOST_FIELDS: usize = 32;

/// What a response varies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Varies {
    /// On nothing.
    No,
    /// On what can't be compared.
    Star,
    /// On these fields; sorted, each once, implied ones included.
    On(Vec<HeaderName>),
}

/// What a response varies on. Content-Encoding implies Accept-Encoding, and an
/// Access-Control-Allow-Origin other than `*` Origin. A field that fills do not carry counts as
/// `*`; what the key covers anyway, and a Cookie that the route strips, do not count.
pub fn varies(response: &HeaderMap, rules: &Rules) -> Varies {
    let mut fields = Vec::new();
    for member in members(response.lines(&header::VARY)) {
        let Ok(field) = HeaderName::from_bytes(member) else { return Varies::Star };
        let settled =
            is_same_for_a_key(&field) || (field == header::COOKIE && rules.cookies == Cookies::Strip);
        if member == b"*" || (!settled && !is_carried(&field, rules)) || fields.len() == MOST_FIELDS {
            return Varies::Star;
        }
        if !settled {
            fields.push(field);
        }
    }
    let coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if response.get(header::CONTENT_ENCODING).is_some_and(coded)
        && is_carried(&header::ACCEPT_ENCODING, rules)
    {
        fields.push(header::ACCEPT_ENCODING);
    }
    let one_origin = |value: &HeaderValue| value != "*";
    if response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(one_origin)
        && is_carried(&header::ORIGIN, rules)
    {
        fields.push(header::ORIGIN);
    }
    fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    fields.dedup();
    match fields.len() {
        0 => Varies::No,
        // Too many, with those that are implied.
        many if many > MOST_FIELDS => Varies::Star,
        _ => Varies::On(fields),
    }
}

/// The normal value of a selecting field; `None` if the request has none. Lists are folded, and credentials
/// are replaced by their SHA-256.
pub fn normal(field: &HeaderName, headers: &HeaderMap) -> Option<String> {
    let mut out = String::new();
    normal_into(&mut out, field, headers).then_some(out)
}

/// Appends the normal value to `out`. Returns false, and writes nothing, if the request has none.
pub fn normal_into(out: &mut String, field: &HeaderName, headers: &HeaderMap) -> bool {
    if !headers.contains_key(field) {
        return false;
    }
    if field == header::ACCEPT_ENCODING {
        encodings_into(out, headers);
    } else if field == header::ACCEPT_LANGUAGE {
        if !languages_into(out, headers) {
            fold_into(out, field, headers);
        }
    } else if is_credential(field, headers) {
        hash_into(out, field, headers);
    } else {
        fold_into(out, field, headers);
    }
    true
}

/// Returns whether the value is a credential: by the field's name, or by its mark ([`mark_secrets`]).
///
/// [`mark_secrets`]: super::mark_secrets
fn is_credential(field: &HeaderName, headers: &HeaderMap) -> bool {
    let known = *field == header::AUTHORIZATION || *field == header::COOKIE;
    known || is_known_secret(field.as_str()) || headers.get_all(field).iter().any(HeaderValue::is_sensitive)
}

/// The selecting fields and their normal values, as a record keeps them.
pub fn selecting(fields: &[HeaderName], headers: &HeaderMap) -> Vec<(HeaderName, Option<String>)> {
    fields.iter().map(|field| (field.clone(), normal(field, headers))).collect()
}

/// The key of the variant that a request selects.
pub fn variant_key(primary: &Key, fields: &[HeaderName], headers: &HeaderMap) -> Key {
    let mut text = primary.text().to_owned();
    variant_into(&mut text, fields, headers);
    Key::new(&text)
}

/// Turns the primary key's text in `out` into that of the variant: a line `+name: value` for each field,
/// `+name` where it is absent. Allocates only if `out` has to grow.
pub fn variant_into(out: &mut String, fields: &[HeaderName], headers: &HeaderMap) {
    for field in fields {
        field_into(out, field, headers);
    }
}

/// The variants in the one language that a request wants most, each with the text of the key that it is
/// stored under, the newest first. Such a variant answers the request however its Accept-Language is written
/// (RFC 9110 §12.5.4), if it is the right one by all other fields.
pub fn in_best_language<'a>(
    primary: &'a str,
    node: &'a VaryNode,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (&'a Spoken, String)> {
    let best = if node.languages.is_empty() { None } else { best_language(headers) };
    let in_it = node.languages.iter().rev().filter(move |spoken| best.as_ref() == Some(&spoken.language));
    in_it.map(move |spoken| {
        let mut text = primary.to_owned();
        for field in &node.fields {
            if field == header::ACCEPT_LANGUAGE {
                text.push_str("\n+");
                text.push_str(field.as_str());
                if let Some(accept) = &spoken.accept {
                    text.push_str(": ");
                    text.push_str(accept);
                }
            } else {
                field_into(&mut text, field, headers);
            }
        }
        (spoken, text)
    })
}

fn field_into(out: &mut String, field: &HeaderName, headers: &HeaderMap) {
    out.push_str("\n+");
    out.push_str(field.as_str());
    if headers.contains_key(field) {
        out.push_str(": ");
        normal_into(out, field, headers);
    }
}

/// Returns whether the response to a client's own request has no coding that a fill would not have asked for.
/// A fill asks in the normal form, by which alone variants are told apart: a coding that the form leaves out
/// would reach clients that never named it.
pub fn is_coded_for_all(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(taken) = normal(&header::ACCEPT_ENCODING, request) else { return true };
    members(response.lines(&header::CONTENT_ENCODING)).all(|coding| {
        coding.eq_ignore_ascii_case(b"identity")
            || taken.split(", ").filter(|taken| !taken.ends_with(";q=0")).any(|taken| {
                let taken = taken.split(';').next().unwrap_or_default();
                coding.eq_ignore_ascii_case(taken.as_bytes())
            })
    })
}

/// Returns whether a record is the one that a request selects.
pub fn selects(record: &Record, headers: &HeaderMap) -> bool {
    record.select.iter().all(|selected| {
        is_selected(selected, headers) || (selected.0 == header::ACCEPT_LANGUAGE && speaks(record, headers))
    })
}

/// The entry by which the variant that a request selects is listed under its language; `None` if its response
/// is not in one language, does not vary on Accept-Language, or the entry would be too long.
pub fn spoken(
    variant: &Key,
    fields: &[HeaderName],
    headers: &HeaderMap,
    response: &impl Lines,
) -> Option<Spoken> {
    let language = one_language(response).filter(|language| !language.contains(&b','))?;
    // An invalid language may be any bytes, and other instances read the list.
    let language = language.is_ascii().then(|| std::str::from_utf8(language).ok())??;
    let plain = language.bytes().all(|byte| byte.is_ascii_graphic());
    let language = plain.then(|| language.to_ascii_lowercase())?;
    let accept = normal(&header::ACCEPT_LANGUAGE, headers);
    let short = language.len() <= MAX_LANGUAGE && accept.as_ref().is_none_or(|text| text.len() <= MAX_ACCEPT);
    let listed = short && fields.contains(&header::ACCEPT_LANGUAGE);
    listed.then(|| Spoken { variant: variant.hash().to_string(), language, accept })
}

/// Returns whether a request has the values by which a response was selected ([`selecting`]), if no more is
/// known of the response.
pub fn selects_alike(select: &[(HeaderName, Option<String>)], headers: &HeaderMap) -> bool {
    select.iter().all(|selected| is_selected(selected, headers))
}

fn is_selected((field, wanted): &(HeaderName, Option<String>), headers: &HeaderMap) -> bool {
    let mut buffer = String::new();
    let found = normal_into(&mut buffer, field, headers).then_some(buffer.as_str());
    found == wanted.as_deref()
}

/// Returns whether a record is in the one language that a request wants most.
fn speaks(record: &Record, headers: &HeaderMap) -> bool {
    one_language(&record.headers).is_some_and(|language| wants_most(headers, language))
}

fn one_language(response: &impl Lines) -> Option<&[u8]> {
    let mut lines = response.lines(&header::CONTENT_LANGUAGE);
    let (Some(language), None) = (lines.next(), lines.next()) else { return None };
    Some(language.trim_ascii())
}

pub(super) fn names_cookie(headers: &impl Lines) -> bool {
    members(headers.lines(&header::VARY)).any(|member| member.eq_ignore_ascii_case(b"cookie"))
}

fn members<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let all = lines.flat_map(|line| line.split(|&byte| byte == b','));
    all.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Appends all lines as one list, with the whitespace around its commas folded, outside quotes.
fn fold_into(out: &mut String, field: &HeaderName, headers: &HeaderMap) {
    for (nth, line) in headers.get_all(field).iter().enumerate() {
        if nth > 0 {
            out.push_str(", ");
        }
        fold_line(out, line.as_bytes().trim_ascii());
    }
}

fn fold_line(out: &mut String, line: &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    let mut spaces = 0;
    let mut after_comma = false;
    for &byte in line {
        if !quoted && matches!(byte, b' ' | b'\t') {
            spaces += 1;
            continue;
        }
        if !quoted && byte == b',' {
            out.push_str(", ");
            (spaces, after_comma) = (0, true);
            continue;
        }
        if !after_comma {
            out.extend(std::iter::repeat_n(' ', spaces));
        }
        (spaces, after_comma) = (0, false);
        out.push(letter(byte));
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
}

/// Maps each byte to a character of its own, so that nothing is lost and nothing is invalid. It is that of
/// Latin-1, or, where that is a control character, which no key and no record may have, the one 256 higher.
fn letter(byte: u8) -> char {
    let plain = char::from(byte);
    if plain.is_control() { char::from_u32(u32::from(byte) | 0x100).unwrap_or(plain) } else { plain }
}

/// The byte that a character of a normal value stands for.
pub(super) fn byte_of(letter: char) -> u8 {
    u8::try_from(u32::from(letter) & 0xff).unwrap_or(b'?')
}

fn hash_into(out: &mut String, field: &HeaderName, headers: &HeaderMap) {
    let mut digest = Sha256::new();
    for (nth, line) in headers.get_all(field).iter().enumerate() {
        if nth > 0 {
            digest.update(b"; ");
        }
        digest.update(line.as_bytes());
    }
    for byte in digest.finalize() {
        for half in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
}

// === impl Varies ===

impl Varies {
    /// Returns whether a field selects.
    pub fn on(&self, field: &HeaderName) -> bool {
        matches!(self, Self::On(fields) if fields.contains(field))
    }
}

#[cfg(test)]
mod tests;
