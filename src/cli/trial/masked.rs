//! Credentials that were given are not printed, not even where an origin repeats them.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use crate::policy::{dashed, is_known_secret};
use crate::secret::is_secret;

/// A shorter value is found in texts that have nothing to do with it.
const LEAST: usize = 4;

/// Values that must not be printed, the longest first.
pub(super) struct Masked(Vec<String>);

// === impl Masked ===

impl Masked {
    /// The credentials in a request's fields: whole values, tokens behind a scheme, values of cookies.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut found = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| is_credential(name)) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == COOKIE {
                let values =
                    value.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
                found.extend(values);
            }
            found.extend(value.split_once(' ').map(|(_, token)| token.trim().to_owned()));
            found.push(value);
        }
        found.retain(|value| value.len() >= LEAST);
        found.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(found)
    }

    /// The text with `***` in the place of each of them.
    pub(super) fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
    }
}

fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
        || is_known_secret(&dashed(name.as_str()))
        || is_secret(name.as_str())
        || ["key", "auth", "session"].iter().any(|word| name.as_str().contains(word))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_was_given_as_a_credential_shows_nowhere() {
        let headers: HeaderMap = [
            ("authorization", "Bearer abcd.efgh"),
            ("cookie", "a=12345; theme=x"),
            ("x_api_key", "k-7777"),
            ("x-session-id", "s-8888"),
            ("accept", "application/json"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        let masked = Masked::of(&headers);
        for (text, shown) in [
            ("etag abcd.efgh", "etag ***"),
            ("Bearer abcd.efgh", "***"),
            ("sets 12345, not 1234", "sets ***, not 1234"),
            ("k-7777 s-8888", "*** ***"),
            ("application/json x", "application/json x"),
        ] {
            assert_eq!(masked.shown(text), shown);
        }
    }
}
