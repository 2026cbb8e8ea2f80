//! Cookies that a route ignores: they are taken out of a request before anything judges it.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::keyed::pairs;

/// Which cookies a route ignores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoredCookies(Vec<CookiePattern>);

/// A cookie's name, or its beginning: `_gid`, `_ga_*`. Names are case-sensitive, and nothing in them is
/// decoded (RFC 6265 §5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CookiePattern {
    /// This name.
    Name(String),
    /// Every name that begins so.
    Begins(String),
}

/// What an entry of `ignore_cookies` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// The ready list.
    Analytics,
    /// One pattern.
    Pattern(CookiePattern),
}

/// The word for the ready list.
const READY: &str = "analytics";

/// The ready list: cookies that scripts of analytics and advertising set for themselves, and that origins do
/// not read.
pub const ANALYTICS: [&str; 25] = [
    "_ga",
    "_ga_*",
    "_gac_*",
    "_gat",
    "_gat_*",
    "_gcl_*",
    "_gid",
    "_dc_gtm_*",
    "__utm*",
    "_fbc",
    "_fbp",
    "_clck",
    "_clsk",
    "_uetsid",
    "_uetvid",
    "_pk_*",
    "_hj*",
    "__hssc",
    "__hssrc",
    "__hstc",
    "hubspotutk",
    "_ttp",
    "_ym_*",
    "__qca",
    "_scid",
];

// === impl IgnoredCookies ===

impl IgnoredCookies {
    /// From the entries of the setting.
    pub(super) fn new(written: Vec<Written>) -> Self {
        let patterns = written.into_iter().flat_map(|entry| match entry {
            Written::Analytics => ANALYTICS.iter().map(|text| CookiePattern::of(text)).collect(),
            Written::Pattern(pattern) => vec![pattern],
        });
        Self(patterns.collect())
    }

    /// The ready list of the setting, `analytics`.
    pub fn analytics() -> Self {
        Self::new(vec![Written::Analytics])
    }

    /// Returns whether a cookie of that name is ignored.
    pub fn ignores(&self, name: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// The names of a request's cookies that are ignored, each as often as it occurs; for explain.
    pub fn names<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        let pairs = headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes()));
        pairs.filter_map(name).filter(|name| self.ignores(name))
    }

    /// Takes the ignored cookies out of a request. A Cookie field in which none is left goes with them. Fields
    /// without an ignored cookie stay as they are.
    ///
    /// A `;` ends a pair in quotes, too (RFC 6265 §5.2): no client sets a cookie with one in its value.
    pub fn take_out(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() || self.names(headers).next().is_none() {
            return;
        }
        let lines: Vec<_> = headers.get_all(COOKIE).iter().filter_map(|line| self.kept(line)).collect();
        headers.remove(COOKIE);
        for line in lines {
            headers.append(COOKIE, line);
        }
    }

    /// What is left of a Cookie field, if anything is.
    fn kept(&self, line: &HeaderValue) -> Option<HeaderValue> {
        let is_ignored = |pair: &[u8]| name(pair).is_some_and(|name| self.ignores(name));
        let (mut kept, mut whole) = (Vec::new(), true);
        for pair in pairs(line.as_bytes()) {
            if is_ignored(pair) {
                whole = false;
            } else if !pair.is_empty() {
                kept.push(pair);
            }
        }
        if kept.is_empty() {
            return None;
        }
        if whole {
            return Some(line.clone());
        }
        // Pieces of a field's value make one. If they did not, more is sent rather than less: a request that
        // lost a session would count as one that everybody may share.
        Some(HeaderValue::from_bytes(&kept.join(&b"; "[..])).unwrap_or_else(|_| line.clone()))
    }
}

/// The name of a pair; a pair without `=` has none.
fn name(pair: &[u8]) -> Option<&[u8]> {
    let end = pair.iter().position(|&byte| byte == b'=')?;
    Some(pair[..end].trim_ascii_end())
}

// === impl Written, CookiePattern ===

impl Written {
    /// Parses an entry of `ignore_cookies`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == READY {
            return Ok(Self::Analytics);
        }
        let front = text.strip_suffix('*').unwrap_or(text);
        if front.is_empty() && !text.is_empty() {
            return Err("that is every cookie, which cookies = \"strip\" says");
        }
        if front.contains('*') {
            return Err("a * may only stand at the end, for any rest of the name");
        }
        if !is_cookie_name(front) {
            return Err(
                "a cookie's name is meant, perhaps with a * at its end, or \"analytics\" for the ready list",
            );
        }
        Ok(Self::Pattern(CookiePattern::of(text)))
    }
}

impl CookiePattern {
    fn of(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(front) => Self::Begins(front.to_owned()),
            None => Self::Name(text.to_owned()),
        }
    }

    /// Returns whether a cookie's name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(text) => name == text.as_bytes(),
            Self::Begins(text) => name.starts_with(text.as_bytes()),
        }
    }
}

/// Returns whether that may be a cookie's name in the settings.
pub(super) fn is_cookie_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b'=' | b',' | b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignoring(texts: &[&str]) -> IgnoredCookies {
        IgnoredCookies::new(texts.iter().map(|text| Written::parse(text).unwrap()).collect())
    }

    /// The Cookie fields that are left of these.
    fn left(ignored: &IgnoredCookies, lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        ignored.take_out(&mut headers);
        let left = headers.get_all(COOKIE).iter();
        left.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn what_is_left_of_a_cookie_field() {
        let ignored = ignoring(&["_ga", "_ga_*", "_gid"]);
        for (lines, expected) in [
            (&["_ga=GA1.1.1.1"][..], &[][..]),
            (&["_ga=1; _gid=2; _ga_ABC=3"], &[]),
            (&["_ga=1; session=2"], &["session=2"]),
            (&["session=2; _ga=1"], &["session=2"]),
            (&["a=1; _ga=2; b=3"], &["a=1; b=3"]),
            // Names are compared whole, and by case.
            (&["_gat=1; _GA=2; x_ga=3; _ga_=4; _gidd=5"], &["_gat=1; _GA=2; x_ga=3; _gidd=5"]),
            // Odd spacing.
            (&["_ga=1;a=2;b=3"], &["a=2; b=3"]),
            (&["  _ga = 1 ;\t a = 2  "], &["a = 2"]),
            (&["_ga=1;", " ; ;"], &[]),
            (&["_ga=1; ; "], &[]),
            (&[";_ga=1;;a=2;"], &["a=2"]),
            // Without a name or an =, and with more than one =.
            (&["=_ga; _ga=1"], &["=_ga"]),
            (&["_ga; _ga=1"], &["_ga"]),
            (&["_ga=; a="], &["a="]),
            (&["_ga=a=b; a=_ga=1"], &["a=_ga=1"]),
            // Quotes hide no semicolon.
            (&["_ga=\"1\"; a=\"b c\""], &["a=\"b c\""]),
            (&["a=\"x; _ga=1; y\""], &["a=\"x; y\""]),
            (&["_ga=\"x; session=1\""], &["session=1\""]),
            // Several fields, the same name twice.
            (&["_ga=1", "a=2"], &["a=2"]),
            (&["a=1", "_ga=2", "b=3; _gid=4"], &["a=1", "b=3"]),
            (&["_ga=1; _ga=2; a=1; a=2"], &["a=1; a=2"]),
            // Nothing to take out: as it came.
            (&["a=1;b=2 ;; "], &["a=1;b=2 ;; "]),
            (&["a=1", ""], &["a=1", ""]),
            (&[], &[]),
        ] {
            let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(left(&ignored, &bytes), expected, "{lines:?}");
        }
        assert_eq!(left(&ignored, &[b"\xe4=1; _ga=\xff; b=\xfc"]), ["\u{fffd}=1; b=\u{fffd}"]);
        assert_eq!(left(&ignoring(&[]), &[b"_ga=1"]), ["_ga=1"], "without the setting");
    }

    #[test]
    fn the_ready_list_and_more() {
        let ignored = ignoring(&["analytics", "ab_*"]);
        let sent =
            b"_ga=1; _ga_X1=2; _fbp=3; _hjSession_4=5; __utmz=6; ab_test=7; analytics=no; _pk_id.1.2=8";
        assert_eq!(left(&ignored, &[sent]), ["analytics=no"]);
        assert!(ANALYTICS.iter().all(|text| matches!(Written::parse(text), Ok(Written::Pattern(_)))));
    }

    #[test]
    fn patterns_that_are_none() {
        for (text, reason) in [
            ("_g*a", "a * may only stand at the end"),
            ("*_id", "a * may only stand at the end"),
            ("_ga**", "a * may only stand at the end"),
            ("*", "that is every cookie"),
            ("", "a cookie's name is meant"),
            ("_ga=1", "a cookie's name is meant"),
            ("_ga; _gid", "a cookie's name is meant"),
            ("_ga _gid", "a cookie's name is meant"),
            ("größe", "a cookie's name is meant"),
        ] {
            assert!(Written::parse(text).is_err_and(|said| said.starts_with(reason)), "{text:?}");
        }
    }

    #[test]
    fn the_names_of_what_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("_ga=1; a=2; _ga=3"));
        headers.append(COOKIE, HeaderValue::from_static("_gid=4"));
        let ignored = ignoring(&["_g*"]);
        assert_eq!(ignored.names(&headers).collect::<Vec<_>>(), [&b"_ga"[..], b"_ga", b"_gid"]);
    }
}
