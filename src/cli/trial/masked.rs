//! What must not be printed, and text of others that may repeat it.
//!
//! Only text of others is masked, where it enters the report. The report's own words and the suggested settings
//! stay as they are: a credential may be the same as one of them.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use crate::policy::{dashed, is_known_secret};
use crate::secret::{MASK, Secret, is_secret, masked_link_by, secret_parameters};

mod forms;
mod readings;

/// A value as long as this is masked wherever it stands. A shorter one is masked where it stands as a word: as a
/// part of other words it tells nothing, and masking it there would tell what it is.
const ANYWHERE: usize = 4;

/// Values that must not be printed, in all forms in which they may be repeated.
pub(super) struct Masked(Vec<Secret>);

/// Text that was written by others: a URL, or what an origin said. It has no form but the masked one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Foreign(String);

// === impl Masked ===

impl Masked {
    /// The values of a request that are credentials: of fields and of the URL's parameters by their names, and of
    /// fields for any other reason that the caller knows.
    pub(super) fn of(url: &str, headers: &HeaderMap, is_also: impl Fn(&HeaderName) -> bool) -> Self {
        let mut found = forms::forms(secret_parameters(url, is_credential_of_url));
        for (name, value) in headers {
            if is_credential(name) || is_also(name) {
                let value = String::from_utf8_lossy(value.as_bytes());
                found.extend(forms::of_field(&value, name == COOKIE));
            }
        }
        Self(found.iter().map(|value| Secret::here(value)).collect())
    }

    /// The text with `***` in the place of each value, however the text is encoded.
    fn shown(&self, text: &str) -> String {
        let mut hidden = vec![false; text.len()];
        for reading in readings::readings(text) {
            let read = &reading.bytes;
            for value in self.0.iter().map(|value| value.reveal().as_bytes()) {
                // One may begin within another, and within itself.
                for (at, part) in read.windows(value.len()).enumerate() {
                    let end = at + value.len();
                    if part.eq_ignore_ascii_case(value) && (value.len() >= ANYWHERE || is_word(read, at, end))
                    {
                        hidden[reading.place(at..end)].fill(true);
                    }
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

/// Returns whether `text[at..end]` is no part of a longer word.
fn is_word(text: &[u8], at: usize, end: usize) -> bool {
    let joins = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    !joins(text[..at].last()) && !joins(text[end..].first())
}

/// Parts of the names of fields and parameters that hold credentials, besides those of settings.
const TELLING: [&str; 3] = ["key", "auth", "session"];
/// Parts of the names of parameters only.
const TELLING_IN_URL: [&str; 3] = ["signature", "credential", "passw"];
/// Whole names of parameters: as a part of others they tell nothing.
const NAMES_IN_URL: [&str; 8] = ["sig", "sid", "jwt", "pwd", "code", "appid", "app_id", "app-id"];

/// Returns whether a field of this name holds credentials.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
        || is_known_secret(&dashed(name.as_str()))
        || is_secret(name.as_str())
        || TELLING.iter().any(|word| name.as_str().contains(word))
}

/// Returns whether a parameter of this name, in a URL, holds credentials.
fn is_credential_of_url(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_secret(&name)
        || TELLING.iter().chain(&TELLING_IN_URL).any(|word| name.contains(word))
        || NAMES_IN_URL.contains(&&*name)
}

// === impl Foreign ===

impl Foreign {
    /// What an origin said.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A URL: what is secret in it by its place or its name is left out at once.
    pub(super) fn url(text: &str) -> Self {
        Self(masked_link_by(text, is_credential_of_url))
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
        Masked::of(
            "/a?sort=up&key=AIza-9&X-Amz-Signature=5f%2f",
            &fields.iter().map(field).collect(),
            |name| name == "x-own",
        )
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
            // In other codes, whole or in part.
            ("/?q=%61/b%20c&r=a%252fb%2520c", "/?q=***&r=***"),
            ("{\"url\":\"a\\/b\\u0020c\"}", "{\"url\":\"***\"}"),
            ("a&#47;b&#x20;c", "***"),
            ("ABCD.EFGH", "***"),
            ("Bearer+abcd.efgh, Bearer%20abcd%2Eefgh", "***, ***"),
            ("616263642e65666768", "***"),
            ("id=%33%34&s=12%33%345", "id=%33%34&s=***"),
            // Of the URL.
            ("W/\"AIza-9\" 5f/ 5F%2F up", "W/\"***\" *** *** up"),
        ] {
            assert_eq!(Foreign::new(text).shown(&masked), shown, "{text}");
        }
    }

    #[test]
    fn what_overlaps_leaves_nothing_over() {
        let masked = masked(&[("x-api-key", "abcd"), ("x-auth-token", "cdefgh"), ("x-own", "aaaa")]);
        for (text, shown) in
            [("1abcdefgh2", "1***2"), ("1aaaaaa2", "1***2"), ("1abcdabcdefgh%61aaa2", "1***2")]
        {
            assert_eq!(Foreign::new(text).shown(&masked), shown, "{text}");
        }
    }

    /// The user of Basic may be an API's key, and an origin may greet its user.
    #[test]
    fn what_basic_stands_for_shows_nowhere() {
        let masked = masked(&[("authorization", "Basic c2tfbGl2ZV83Nzc6cHcvMQ==")]);
        for (text, shown) in [
            ("Basic c2tfbGl2ZV83Nzc6cHcvMQ==", "***"),
            ("c2tfbGl2ZV83Nzc6cHcvMQ", "***"),
            ("/u/sk_live_777?p=pw%2F1", "/u/***?p=***"),
            ("hello sk_live_777:pw/1", "hello ***"),
        ] {
            assert_eq!(Foreign::new(text).shown(&masked), shown, "{text}");
        }
        // In the middle of other text in base64: `{"key":"sk_live_777"}`.
        let shown = Foreign::new("eyJrZXkiOiJza19saXZlXzc3NyJ9").shown(&masked);
        assert_eq!(shown, "eyJrZXkiOiJ***yJ9");
    }

    #[test]
    fn a_url_hides_what_its_names_call_secret() {
        let masked = masked(&[]);
        let url = Foreign::url("https://h/a?token=t&b=1&api_key=2");
        assert_eq!(url.shown(&masked), "https://h/a?token=***&b=1&api_key=***");
        assert_eq!(Foreign::url("/a?access_token=t").shown(&masked), "/a?access_token=***");
    }
    /// As the APIs of many name them.
    #[test]
    fn a_key_that_stands_in_a_url_shows_nowhere() {
        for name in ["access_key", "subscription-key", "code", "appid", "AppID", "auth_key", "Api%2DKey"] {
            let url = format!("http://h/a?units=metric&{name}=k-7777&b=1");
            let masked = Masked::of(&url, &HeaderMap::new(), |_| false);
            let shown = format!("http://h/a?units=metric&{name}=***&b=1");
            assert_eq!(Foreign::url(&url).shown(&masked), shown);
            assert_eq!(Foreign::new("etag k-7777, metric").shown(&masked), "etag ***, metric", "{name}");
        }
        let url = "http://h/a;jsessionid=k-7777/b;v=2?c=1";
        let masked = Masked::of(url, &HeaderMap::new(), |_| false);
        assert_eq!(Foreign::url(url).shown(&masked), "http://h/a;jsessionid=***/b;v=2?c=1");
        assert_eq!(Foreign::new("JSESSIONID=k-7777; v=2").shown(&masked), "JSESSIONID=***; v=2");
        // Nothing of these is one.
        let url = "http://h/code/appid;v=1?postcode=8000&zip_code=1&design=2";
        assert_eq!(Foreign::url(url).shown(&Masked::of(url, &HeaderMap::new(), |_| false)), url);
    }
}
