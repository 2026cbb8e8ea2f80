//! What must not be printed, and text of others that may repeat it.
//!
//! Only text of others is masked, where it enters the report. The report's own words and the suggested settings
//! stay as they are: a credential may be the same as one of them.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use url::form_urlencoded;

use crate::policy::{dashed, is_known_secret};
use crate::secret::{MASK, Secret, is_secret, masked_link};

/// A value as long as this is masked wherever it stands. A shorter one is masked where it stands as a word: as a
/// part of other words it tells nothing, and masking it there would tell what it is.
const ANYWHERE: usize = 4;

/// Values that must not be printed.
pub(super) struct Masked(Vec<Secret>);

/// Text that was written by others: a URL, or what an origin said. It has no form but the masked one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Foreign(String);

// === impl Masked ===

impl Masked {
    /// The values of a request's fields that are credentials: by their names, or for any other reason that the
    /// caller knows.
    pub(super) fn of(headers: &HeaderMap, is_also: impl Fn(&HeaderName) -> bool) -> Self {
        let mut found = Vec::new();
        for (name, value) in headers {
            if is_credential(name) || is_also(name) {
                let value = String::from_utf8_lossy(value.as_bytes());
                parts(&value, name == COOKIE, &mut found);
            }
        }
        let encoded = |value: &String| form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
        let in_urls: Vec<_> = found.iter().map(encoded).collect();
        found.extend(in_urls);
        found.retain(|value| !value.is_empty());
        Self(found.iter().map(|value| Secret::here(value)).collect())
    }

    /// The text with `***` in the place of each value.
    fn shown(&self, text: &str) -> String {
        let mut hidden = vec![false; text.len()];
        for value in self.0.iter().map(Secret::reveal) {
            for (at, _) in text.match_indices(value) {
                let end = at + value.len();
                if value.len() >= ANYWHERE || is_word(text, at, end) {
                    hidden[at..end].fill(true);
                }
            }
        }
        let mut shown = String::with_capacity(text.len());
        let mut before = false;
        for (at, char) in text.char_indices() {
            match (before, hidden[at]) {
                (_, false) => shown.push(char),
                (false, true) => shown.push_str(MASK),
                (true, true) => {}
            }
            before = hidden[at];
        }
        shown
    }
}

/// Adds what a credential's field may be repeated by: its whole value, what stands behind its scheme, and the
/// values of its parameters or cookies.
fn parts(value: &str, cookies: bool, found: &mut Vec<String>) {
    found.push(value.to_owned());
    let behind = value.split_once(' ').filter(|_| !cookies).map(|(_, behind)| behind.trim());
    found.extend(behind.map(str::to_owned));
    let pairs = value.split(if cookies { &[';'][..] } else { &[',', ';'][..] });
    for value in pairs.filter_map(|pair| Some(pair.split_once('=')?.1.trim())) {
        let bare = value.trim_matches('"');
        // The padding of a token is no value.
        if bare.bytes().any(|byte| byte != b'=') {
            found.push(bare.to_owned());
        }
    }
}

/// Returns whether `text[at..end]` is no part of a longer word.
fn is_word(text: &str, at: usize, end: usize) -> bool {
    let joins = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    !joins(text[..at].chars().next_back()) && !joins(text[end..].chars().next())
}

/// Returns whether a field of this name holds credentials.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
        || is_known_secret(&dashed(name.as_str()))
        || is_secret(name.as_str())
        || ["key", "auth", "session"].iter().any(|word| name.as_str().contains(word))
}

// === impl Foreign ===

impl Foreign {
    /// What an origin said.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A URL: what is secret in it by its place or its name is left out at once.
    pub(super) fn url(text: &str) -> Self {
        Self(masked_link(text))
    }

    /// The text, without what must not be printed.
    pub(super) fn shown(&self, masked: &Masked) -> String {
        masked.shown(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn masked(fields: &[(&'static str, &'static str)]) -> Masked {
        let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Masked::of(&fields.iter().map(field).collect(), |name| name == "x-own")
    }

    #[test]
    fn what_was_given_as_a_credential_shows_nowhere() {
        let masked = masked(&[
            ("authorization", "Bearer abcd.efgh"),
            ("proxy-authorization", "Digest username=\"bob\", response=\"9f8e\""),
            ("cookie", "a=12345; theme=x; q=\"ab\""),
            ("x_api_key", "k-7777"),
            ("x-session-id", "s-8888"),
            ("x-own", "hush"),
            ("x-auth", "a/b c"),
            ("accept", "application/json"),
        ]);
        for (text, shown) in [
            ("etag abcd.efgh", "etag ***"),
            ("Bearer abcd.efgh", "***"),
            ("sets 12345, not 1234", "sets ***, not 1234"),
            ("k-7777 s-8888", "*** ***"),
            ("xhushx 9f8e", "x***x ***"),
            ("/?q=a%2Fb+c", "/?q=***"),
            ("application/json", "application/json"),
            // Short values, where they stand as words.
            ("\"x\" bob-1 ab", "\"***\" ***-1 ***"),
            ("http://x.example/tax?x=x", "http://***.example/tax?***=***"),
            ("k-7777s-8888", "***"),
            ("", ""),
        ] {
            assert_eq!(Foreign::new(text).shown(&masked), shown, "{text}");
        }
    }

    #[test]
    fn what_overlaps_leaves_nothing_over() {
        let masked = masked(&[("x-api-key", "abcd"), ("x-auth-token", "cdefgh")]);
        assert_eq!(Foreign::new("1abcdefgh2").shown(&masked), "1***2");
    }

    #[test]
    fn a_url_hides_what_its_names_call_secret() {
        let masked = masked(&[]);
        let url = Foreign::url("https://h/a?token=t&b=1&api_key=2");
        assert_eq!(url.shown(&masked), "https://h/a?token=***&b=1&api_key=***");
        assert_eq!(Foreign::url("/a?access_token=t").shown(&masked), "/a?access_token=***");
    }
}
