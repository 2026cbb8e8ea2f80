//! Accept-Encoding and Accept-Language (RFC 9110 §12.5.3, §12.5.4) in one normal form, so that
//! spelling makes no variants.

use std::cmp::Reverse;

use http::{HeaderMap, header};

/// Codings that make variants, in the order of the normal form.
const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];
/// The weights in the normal form, by falling weight. Only the order of a list's weights counts, so that
/// their numbers make no variants.
const TIERS: [u16; 4] = [1000, 700, 400, 100];
/// At most this many members of a list of other codings count.
const MOST_CODINGS: usize = 16;
/// A list longer than this is compared as it is written.
const MOST_LANGUAGES: usize = 16;

/// A member of a list with weights; the weight in thousandths.
type Weighed<'a> = (u16, &'a [u8]);

/// The one language that a request wants most, lower case; `None` if there is none or several.
pub fn best_language(headers: &HeaderMap) -> Option<String> {
    best(headers).map(|best| String::from_utf8_lossy(best).to_ascii_lowercase())
}

/// Returns whether the one language that a request wants most is this one.
pub(super) fn wants_most(headers: &HeaderMap, language: &[u8]) -> bool {
    best(headers).is_some_and(|best| best.eq_ignore_ascii_case(language))
}

/// Writes the normal form of Accept-Encoding: the subset of br, zstd, gzip that a request accepts, in that
/// order, or by falling weight where the weights differ; `identity` where it is preferred to one of them, or
/// refused. If a request accepts none of the three and names another coding, its list is the normal form.
pub(super) fn encodings_into(out: &mut String, headers: &HeaderMap) {
    let mut taken: [Option<u16>; 3] = [None; 3];
    let (mut identity, mut rest, mut other) = (None, None, false);
    for (weight, coding) in weighed(headers, &header::ACCEPT_ENCODING) {
        let coding = if coding.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { coding };
        if coding == b"*" {
            rest = Some(weight);
        } else if coding.eq_ignore_ascii_case(b"identity") {
            identity = Some(weight);
        } else if let Some(at) =
            CODINGS.iter().position(|known| coding.eq_ignore_ascii_case(known.as_bytes()))
        {
            taken[at] = Some(weight);
        } else {
            other |= weight > 0 && is_token(coding);
        }
    }
    let mut members = [(0, ""); CODINGS.len() + 1];
    let mut count = 0;
    for (coding, taken) in CODINGS.into_iter().zip(taken) {
        let weight = taken.or(rest).unwrap_or(0);
        if weight > 0 {
            members[count] = (weight, coding);
            count += 1;
        }
    }
    if count == 0 && other {
        return listed_into(out, headers);
    }
    // `identity` is acceptable without being named, and is then preferred least.
    let least = members[..count].iter().map(|(weight, _)| *weight).min();
    if let (Some(weight), Some(least)) = (identity, least)
        && weight > least
    {
        members[count] = (weight, "identity");
        count += 1;
    }
    let members = &mut members[..count];
    members.sort_by_key(|(weight, _)| Reverse(*weight));
    let start = out.len();
    let (mut tier, mut last) = (0, members.first().map_or(0, |(weight, _)| *weight));
    for (weight, coding) in members.iter() {
        if out.len() > start {
            out.push_str(", ");
        }
        if *weight < last {
            (tier, last) = (tier + 1, *weight);
        }
        out.push_str(coding);
        push_weight(out, TIERS[tier]);
    }
    if identity.or(rest.filter(|&rest| rest == 0)) == Some(0) {
        out.push_str(if out.len() > start { ", identity;q=0" } else { "identity;q=0" });
    }
}

/// Writes the list of codings as it stands, in lower case.
fn listed_into(out: &mut String, headers: &HeaderMap) {
    let members = weighed(headers, &header::ACCEPT_ENCODING).filter(|(_, coding)| is_token(coding));
    for (nth, (weight, coding)) in members.take(MOST_CODINGS).enumerate() {
        if nth > 0 {
            out.push_str(", ");
        }
        out.extend(coding.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        push_weight(out, weight);
    }
}

fn is_token(coding: &[u8]) -> bool {
    coding.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Writes the normal form of Accept-Language: lower case, by falling weight, equal weights by name. Returns
/// false, and writes nothing, if a member is not a language with a weight or there are too many.
pub(super) fn languages_into(out: &mut String, headers: &HeaderMap) -> bool {
    let mut members: [Weighed<'_>; MOST_LANGUAGES] = [(0, b""); MOST_LANGUAGES];
    let mut count = 0;
    for member in weighed(headers, &header::ACCEPT_LANGUAGE) {
        let plain = member.1.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'));
        if !plain || count == MOST_LANGUAGES {
            return false;
        }
        members[count] = member;
        count += 1;
    }
    let members = &mut members[..count];
    members.sort_unstable_by(|(w, a), (x, b)| {
        let names = a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase));
        x.cmp(w).then(names)
    });
    for (nth, (weight, name)) in members.iter().enumerate() {
        if nth > 0 {
            out.push_str(", ");
        }
        out.extend(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        push_weight(out, *weight);
    }
    true
}

fn push_weight(out: &mut String, weight: u16) {
    if weight == 1000 {
        return;
    }
    out.push_str(";q=0");
    if weight > 0 {
        let digits = [weight / 100, weight / 10 % 10, weight % 10];
        let last = digits.iter().rposition(|&digit| digit > 0).unwrap_or(0);
        out.push('.');
        out.extend(digits[..=last].iter().map(|&digit| char::from(b'0' + u8::try_from(digit).unwrap_or(0))));
    }
}

fn best(headers: &HeaderMap) -> Option<&[u8]> {
    let mut best: Option<Weighed<'_>> = None;
    let mut alone = false;
    for member in weighed(headers, &header::ACCEPT_LANGUAGE) {
        match best {
            Some((most, _)) if member.0 < most => {}
            Some((most, name)) if member.0 == most => alone &= name.eq_ignore_ascii_case(member.1),
            _ => (best, alone) = (Some(member), true),
        }
    }
    best.filter(|&(weight, name)| alone && weight > 0 && name != b"*").map(|(_, name)| name)
}

/// The members of a list with their weights; an invalid weight is 0.
fn weighed<'a>(headers: &'a HeaderMap, field: &http::HeaderName) -> impl Iterator<Item = Weighed<'a>> {
    let members =
        headers.get_all(field).into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.filter_map(|member| {
        let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
        Some((weight.map_or(1000, thousandths), name))
    })
}

/// A weight (RFC 9110 §12.4.2) in thousandths; 0 if it is invalid.
fn thousandths(weight: &[u8]) -> u16 {
    let (whole, rest) = match weight {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', rest @ ..] if rest.len() <= 3 => (*whole, rest),
        _ => return 0,
    };
    if !rest.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let part = (0..3).fold(0, |sum, at| sum * 10 + rest.get(at).map_or(0, |digit| u16::from(digit - b'0')));
    (u16::from(whole - b'0') * 1000 + part).min(1000)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(field: &http::HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (field.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn encodings() {
        for (lines, want) in [
            (&["gzip, deflate, br, zstd"][..], "br, zstd, gzip"),
            (&["GZIP", "br;q=0.5"], "gzip, br;q=0.7"),
            (&["br;q=0.9, gzip;q=0.9, zstd;q=0.2"], "br, gzip, zstd;q=0.7"),
            (&["gzip;q=1.0, br;q=0.8, zstd;q=0.1"], "gzip, br;q=0.7, zstd;q=0.4"),
            (&["gzip, deflate"], "gzip"),
            (&["deflate"], "deflate"),
            (&["Deflate;q=0.50, gzip;q=0"], "deflate;q=0.5, gzip;q=0"),
            (&["deflate, identity;q=0"], "deflate, identity;q=0"),
            (&["compress;q=0"], ""),
            (&["identity, gzip;q=0.5"], "identity, gzip;q=0.7"),
            (&["gzip, identity"], "gzip"),
            (&["gzip;q=0.9, identity;q=0.5"], "gzip"),
            (&["gzip, identity;q=0"], "gzip, identity;q=0"),
            (&["br, *;q=0"], "br, identity;q=0"),
            (&["br, identity;q=0.1, *;q=0"], "br"),
            (&["*;q=0"], "identity;q=0"),
            (&["gzip;q=0, br"], "br"),
            (&["*"], "br, zstd, gzip"),
            (&["*, br;q=0"], "zstd, gzip"),
            (&["*;q=0, x-gzip"], "gzip, identity;q=0"),
            (&["identity"], ""),
            (&[""], ""),
            (&["gzip;q=nonsense"], ""),
        ] {
            let mut out = String::new();
            encodings_into(&mut out, &with(&header::ACCEPT_ENCODING, lines));
            assert_eq!(out, want, "{lines:?}");
            let mut again = String::new();
            encodings_into(&mut again, &with(&header::ACCEPT_ENCODING, &[&out]));
            assert_eq!(again, out, "the normal form of the normal form of {lines:?}");
        }
    }

    #[test]
    fn languages() {
        for (lines, want) in [
            (&["en, de"][..], Some("de, en")),
            (&["de, en"], Some("de, en")),
            (&["en;q=0.5", "DE-at"], Some("de-at, en;q=0.5")),
            (&["en;q=0.50, fr ; q=0.7,*;q=0"], Some("fr;q=0.7, en;q=0.5, *;q=0")),
            (&["e n"], None),
            (&["a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"], None),
        ] {
            let mut out = String::new();
            let good = languages_into(&mut out, &with(&header::ACCEPT_LANGUAGE, lines));
            assert_eq!(good.then_some(out.as_str()), want, "{lines:?}");
        }
    }

    #[test]
    fn the_best() {
        for (line, want) in [
            ("fr;q=0.5, DE;q=1.0", Some("de")),
            ("de", Some("de")),
            ("de, en", None),
            ("*", None),
            ("de;q=0", None),
            ("", None),
        ] {
            assert_eq!(best_language(&with(&header::ACCEPT_LANGUAGE, &[line])).as_deref(), want, "{line}");
        }
    }
}
