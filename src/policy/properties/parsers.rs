//! Every parser takes any bytes, and what it makes of them is well formed.

use http::header;

use super::*;
use crate::key::target::{Scheme, canonical_path, canonical_url};
use crate::policy::cache_control::{Directives, only_if_cached};
use crate::policy::etag::{ETag, etag, list};
use crate::policy::language::{encodings_into, languages_into};

/// The bytes that a field's value may have.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let letters = prop_oneof![
        4 => prop::sample::select(b"\"\\,;=*-/ \t0123456789qQwWGMTbyte".to_vec()),
        1 => 32u8..127,
        1 => 128u8..=255,
    ];
    prop::collection::vec(letters, 0..64)
}

fn of(field: &HeaderName, lines: &[Vec<u8>]) -> HeaderMap {
    lines.iter().map(|line| (field.clone(), HeaderValue::from_bytes(line).unwrap())).collect()
}

/// Returns whether a text has no end of a line, and no NUL.
fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r', '\0'])
}

proptest! {


    #[test]
    fn numbers_and_dates(line in bytes(), other in bytes()) {
        if let Some(date) = parse_date(&line) {
            // Whole seconds; and the form that is written is read as the same moment.
            prop_assert_eq!(date % 1000, 0);
            prop_assert_eq!(parse_date(http_date(date).as_bytes()), Some(date));
        }
        let lines = [line, other];
        prop_assert!(age_field(&of(&header::AGE, &lines)).is_none_or(|age| age <= MAX_DELTA));
        let _ = initial_age(&of(&header::AGE, &lines), 0, u64::MAX);
        if let Some(length) = content_length(&of(&header::CONTENT_LENGTH, &lines[..1])) {
            let text = std::str::from_utf8(&lines[0]).unwrap();
            prop_assert_eq!(text.trim_start_matches('0'), if length == 0 { String::new() } else { length.to_string() });
        }
    }

    #[test]
    fn directives(lines in prop::collection::vec(bytes(), 0..3), targeted in prop::collection::vec(bytes(), 0..2)) {
        let mut headers = of(&header::CACHE_CONTROL, &lines);
        headers.extend(of(&HeaderName::from_static("cdn-cache-control"), &targeted));
        let said = Directives::of(&headers, &Rules::default());
        for seconds in [said.max_age, said.s_maxage, said.while_revalidate, said.if_error] {
            prop_assert!(seconds.is_none_or(|seconds| seconds <= MAX_DELTA));
        }
        let wants = ClientDirectives::of(&headers);
        for ms in [wants.max_age, wants.min_fresh] {
            prop_assert!(ms.is_none_or(|ms| ms <= MAX_DELTA * 1000));
        }
        let _ = only_if_cached(&headers);
    }

    #[test]
    fn tags(line in bytes()) {
        let stored = of(&header::ETAG, std::slice::from_ref(&line));
        if let Some(tag) = etag(&stored) {
            prop_assert!(tag.is(tag) && tag.is_strongly(tag) != tag.is_weak());
            prop_assert!(list(&line, tag).count() <= line.len());
        }
        if let Some(tag) = ETag::parse(&line) {
            prop_assert!(tag.is(tag) && tag.is_strongly(tag) != tag.is_weak());
            prop_assert_eq!(list(&line, tag).count(), 1);
            prop_assert_eq!(etag(&stored), Some(tag));
        }
    }

    #[test]
    fn normal_forms_are_one_line_and_stay_what_they_are(lines in prop::collection::vec(bytes(), 1..3)) {
        for field in [header::ACCEPT, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::COOKIE, header::AUTHORIZATION] {
            let text = normal(&field, &of(&field, &lines)).unwrap();
            prop_assert!(!text.contains(char::is_control), "{field}: {text:?}");
        }
        // What is sent upstream in its normal form means there what it meant here.
        let once = |field: header::HeaderName, write: &dyn Fn(&mut String, &HeaderMap) -> bool, lines: &[Vec<u8>]| {
            let mut out = String::new();
            write(&mut out, &of(&field, lines)).then_some(out)
        };
        let languages = |lines: &[Vec<u8>]| once(header::ACCEPT_LANGUAGE, &languages_into, lines);
        if let Some(text) = languages(&lines) {
            prop_assert_eq!(languages(&[text.clone().into_bytes()]), Some(text));
        }
        let encodings = |lines: &[Vec<u8>]| {
            once(header::ACCEPT_ENCODING, &|out, headers| { encodings_into(out, headers); true }, lines)
        };
        let text = encodings(&lines);
        let again = encodings(&[text.clone().unwrap_or_default().into_bytes()]);
        prop_assert_eq!(again, text);
        if let Some(best) = crate::policy::language::best_language(&of(&header::ACCEPT_LANGUAGE, &lines)) {
            prop_assert!(!best.is_empty() && is_one_line(&best) && best == best.to_ascii_lowercase());
        }
    }

    #[test]
    fn variations_are_fields(lines in prop::collection::vec(bytes(), 0..3)) {
        if let Varies::On(fields) = varies(&of(&header::VARY, &lines), &Rules::default()) {
            prop_assert!(!fields.is_empty() && fields.len() <= 32);
            prop_assert!(fields.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()), "sorted, each once");
            prop_assert!(!fields.iter().any(|field| field == "*"));
        }
    }

    #[test]
    fn ranges_lie_within(line in bytes(), tag in bytes(), len: u64) {
        let mut request = of(&header::RANGE, &[[b"bytes=".to_vec(), line.clone()].concat()]);
        request.extend(of(&header::IF_RANGE, &[tag]));
        let headers: HeaderMap = [(header::ETAG, HeaderValue::from_static("\"a\""))].into_iter().collect();
        let ask = RequestFacts::default();
        let lifetime = Lifetime { fresh_ms: 9, age_ms: 0, swr_ms: 0, sie_ms: 0, keep_ms: 0, by: crate::record::LifetimeBy::Origin };
        let record = record(StatusCode::OK, &headers, &ask, &Rules::default(), &lifetime);
        let want = Want::of(&Method::GET, RangeRequest::of(&request, &Rules::default()));
        let _ = ranged(&request, want, &record, len);
        request.remove(header::IF_RANGE);
        match ranged(&request, want, &record, len) {
            Ranged::Part { first, last } => prop_assert!(first <= last && last < len),
            Ranged::Parts(_) | Ranged::Whole | Ranged::Unsatisfiable => {}
        }
    }

    #[test]
    fn a_canonical_target_is_one_already(path in bytes(), query in bytes()) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Ok(path) = canonical_path(&format!("/{}", text(&path))) {
            prop_assert_eq!(canonical_path(&path), Ok(path));
        }
        let url = format!("http://h/{}?{}", text(&path), text(&query));
        if let Ok(target) = canonical_url(&url) {
            prop_assert!(target.scheme == Scheme::Http && is_one_line(target.text()));
            // The client's spelling is not compared: it is kept beside the canonical form.
            let again = canonical_url(&target.to_string()).map(|again| again.text().to_owned());
            prop_assert_eq!(again, Ok(target.text().to_owned()));
        }
    }
}
