//! URLs that an origin writes with its own address, as its clients write them.
//!
//! An origin names itself by the URL that it is reached at, or by the Host that it is sent. Clients reach it
//! by other names, so a redirect would lead them past this cache. Records keep what the origin sent: a URL is
//! mapped when a response is delivered, since each client may have asked by another name.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::{Position, Url};

use crate::key::target::{Host, Scheme, Target, canonical_url, host};
use crate::record::Lines;

/// The fields whose URLs are mapped.
const FIELDS: [HeaderName; 3] =
    [header::LOCATION, header::CONTENT_LOCATION, HeaderName::from_static("refresh")];

/// How an origin writes its own URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnUrls {
    scheme: Scheme,
    hosts: Vec<(String, Option<u16>)>,
    base: String,
    told_host: bool,
}

/// A URL with an authority in a field, in parts: as clients read it, however it is written (WHATWG URL §4.4).
struct Absolute {
    /// None in `//host/path`.
    scheme: Option<Scheme>,
    /// Host and port, without a user, in the usual form.
    authority: String,
    /// All that stands behind the authority: as it was sent, but with slashes in the path, and without `.` and `..`.
    rest: Vec<u8>,
}

/// A request that a response with URLs answers.
#[derive(Debug, Clone, Copy)]
pub struct AskedBy<'a> {
    /// The target that the client asked for: its scheme, host and port are those of mapped URLs.
    pub target: &'a Target,
    /// The front of its path that was removed on the way to the origin: mapped URLs have it again.
    pub prefix: &'a str,
    /// The port with which the origin is told the target's host in X-Forwarded-Host or Forwarded, if any.
    pub told_port: Option<u16>,
}

/// Returns whether a response has a field whose URL may have to be mapped.
pub fn names_urls(headers: &impl Lines) -> bool {
    FIELDS.iter().any(|field| headers.has(field))
}

/// Where the URL stands in a Refresh field, as browsers read it: after seconds, a separator and perhaps
/// `url=`, perhaps in quotation marks.
fn url_in_refresh(value: &[u8]) -> Option<Range<usize>> {
    let past = |mut at: usize, is: fn(u8) -> bool| {
        while value.get(at).copied().is_some_and(is) {
            at += 1;
        }
        at
    };
    let space = |byte: u8| byte == b' ' || byte == b'\t';
    let digits = past(0, |byte| byte.is_ascii_digit() || byte == b'.');
    if digits == 0 {
        return None;
    }
    let mut at = past(digits, space);
    if matches!(value.get(at), Some(b';' | b',')) {
        at = past(at + 1, space);
    }
    if value.get(at..at + 3).is_some_and(|word| word.eq_ignore_ascii_case(b"url")) {
        let equals = past(at + 3, space);
        if value.get(equals) == Some(&b'=') {
            at = past(equals + 1, space);
        }
    }
    let rest = value.get(at..).filter(|rest| !rest.is_empty())?;
    match rest[0] {
        quote @ (b'"' | b'\'') => {
            let end = rest[1..].iter().position(|&byte| byte == quote).unwrap_or(rest.len() - 1);
            Some(at + 1..at + 1 + end)
        }
        _ => Some(at..at + rest.trim_ascii_end().len()),
    }
}

/// The rest of a path below `base`, with the slash that it begins with.
fn below<'a>(path: &'a [u8], base: &str) -> Option<&'a [u8]> {
    path.strip_prefix(base.as_bytes()).filter(|rest| rest.first() == Some(&b'/'))
}

/// As [`below`]; the base itself is its root.
fn at_or_below(path: &[u8], base: &str) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(base.as_bytes())?;
    match rest.first() {
        Some(b'/') => Some(rest.to_vec()),
        None | Some(b'?' | b'#') => Some([b"/", rest].concat()),
        Some(_) => None,
    }
}

/// A path without `.` and `..`, as clients ask for it (WHATWG URL §4.4): also where they are written `%2e`. All other
/// bytes stay as they are sent, even if they are no text.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let dots = dots(segment);
        if dots == 2 {
            kept.pop();
        }
        if dots == 0 {
            kept.push(segment);
        } else if segments.peek().is_none() {
            kept.push(b"");
        }
    }
    kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect()
}

/// How many dots a segment is, if it is `.` or `..`; else 0.
fn dots(segment: &[u8]) -> usize {
    let mut rest = segment;
    for dots in 0..=2 {
        rest = match rest {
            [] => return dots,
            [b'.', next @ ..] | [b'%', b'2', b'e' | b'E', next @ ..] => next,
            _ => return 0,
        };
    }
    0
}

/// Returns whether a host is the one that was asked for.
fn is_of(named: &Host<'_>, asked: &Target) -> bool {
    named.name() == asked.host() && named.port == asked.port
}

/// A port that may be that of the scheme.
fn in_full(port: Option<u16>, scheme: Scheme) -> u16 {
    port.unwrap_or(scheme.default_port())
}

/// Returns whether a URL is the very one that was asked for. Clients escape what is no text.
fn is_target(url: &[u8], asked: &Target) -> bool {
    let escaped =
        |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    let url: String = url.iter().map(escaped).collect();
    canonical_url(&url).is_ok_and(|named| {
        (named.scheme, named.port, named.text()) == (asked.scheme, asked.port, asked.text())
    })
}

// === impl OwnUrls ===

impl OwnUrls {
    /// For an origin that is reached by `scheme` (`http` or `https`), that calls itself by these hosts with
    /// ports, and that has `base` before all its targets. With `told_host` it is sent the client's Host, so it
    /// may call itself by that. `None` without such a scheme.
    pub fn new<'a>(
        scheme: &str,
        authorities: impl IntoIterator<Item = &'a str>,
        base: &str,
        told_host: bool,
    ) -> Option<Self> {
        let scheme = Scheme::named(scheme)?;
        // A Host that is set by hand may be no host.
        let named = authorities.into_iter().filter_map(|authority| host(authority, scheme).ok());
        let hosts = named.map(|named| (named.name().to_owned(), named.port)).collect();
        Some(Self { scheme, hosts, base: base.to_owned(), told_host })
    }

    /// Maps the URLs in the fields of a response.
    pub fn map(&self, headers: &mut HeaderMap, by: AskedBy<'_>) {
        for field in FIELDS {
            let header::Entry::Occupied(mut lines) = headers.entry(&field) else { continue };
            for line in lines.iter_mut() {
                if let Some(mapped) = self.mapped_line(&field, line.as_bytes(), by)
                    && let Ok(mapped) = HeaderValue::from_bytes(&mapped)
                {
                    *line = mapped;
                }
            }
        }
    }

    /// The target that clients ask for where the origin writes this URL. It is that of the mapped URL. A URL that is
    /// left alone since it may be another site's, or the client's already, counts as well. `None` if the origin does
    /// not call itself so, or no request on this route reaches the URL.
    pub fn target(&self, url: &str, by: AskedBy<'_>) -> Option<String> {
        let url = Absolute::parse(url.as_bytes())?;
        let path = if self.has_host(&url) || self.calls_itself(&url, by.target) {
            self.client_path(&url, by.prefix)?
        } else {
            self.mapped_as_told(&url, by)?;
            url.rest
        };
        let (scheme, authority) = (by.target.scheme.as_str(), by.target.authority());
        Some(format!("{scheme}://{authority}{}", String::from_utf8(path).ok()?))
    }

    fn mapped_line(&self, field: &HeaderName, line: &[u8], by: AskedBy<'_>) -> Option<Vec<u8>> {
        let whole = *field == header::LOCATION || *field == header::CONTENT_LOCATION;
        let at = if whole { 0..line.len() } else { url_in_refresh(line)? };
        let url = Absolute::parse(&line[at.clone()])?;
        let (mapped, usual) = if self.calls_itself(&url, by.target) {
            (self.mapped(&url, by)?, self.scheme)
        } else {
            (self.mapped_as_told(&url, by)?, by.target.scheme)
        };
        // An origin that is asked over http and wants https, or the other way round, redirects to the same URL
        // under the other scheme. Mapped, that is the URL that was asked for, again and again.
        // So does one that wants no slash behind the upstream's path, of which clients know nothing.
        let other = url.scheme.is_some_and(|scheme| scheme != usual) || self.is_bare_base(&url);
        if other && *field != header::CONTENT_LOCATION && is_target(&mapped, by.target) {
            return None;
        }
        Some([&line[..at.start], &mapped, &line[at.end..]].concat())
    }

    /// The URL of the origin as the client writes it. `None` if it stays as it is: it is so already, or
    /// no request on this route reaches it.
    fn mapped(&self, url: &Absolute, by: AskedBy<'_>) -> Option<Vec<u8>> {
        let AskedBy { target, prefix, .. } = by;
        if self.is_as_clients_write(url, by) {
            return None;
        }
        let path = self.client_path(url, prefix)?;
        if target.host().is_empty() {
            // Of HTTP/1.0 without a Host. Behind two slashes, a part of the path would be the host.
            return (!matches!(path.get(1), Some(b'/' | b'\\'))).then_some(path);
        }
        let scheme = url.scheme.map(|_| format!("{}:", target.scheme.as_str())).unwrap_or_default();
        Some([scheme.as_bytes(), b"//", target.authority().as_bytes(), &path].concat())
    }

    /// The path at which clients ask for a URL of the origin, with all that stands behind it. `None` if no request on
    /// this route reaches it.
    fn client_path(&self, url: &Absolute, prefix: &str) -> Option<Vec<u8>> {
        // Without a path it is that of the root.
        let slash: &[u8] = if url.rest.first() == Some(&b'/') { b"" } else { b"/" };
        let below = at_or_below(&[slash, &url.rest].concat(), &self.base)?;
        Some([prefix.as_bytes(), &*below].concat())
    }

    /// A URL with the client's host as the origin is told it, as the client writes it. What it is told may lack
    /// the client's port. Its path is one of that host, and stays. `None` if it is no such URL.
    fn mapped_as_told(&self, url: &Absolute, by: AskedBy<'_>) -> Option<Vec<u8>> {
        let asked = by.target;
        let scheme = url.scheme.unwrap_or(asked.scheme);
        let named = host(&url.authority, scheme).ok()?;
        let told_port = by.told_port.filter(|port| *port != asked.scheme.default_port());
        let told = (named.name(), named.port) == (asked.host(), told_port);
        let own_scheme = scheme == self.scheme || scheme == asked.scheme;
        if !told || !own_scheme || (scheme == asked.scheme && named.port == asked.port) {
            return None;
        }
        let scheme = url.scheme.map(|_| format!("{}:", asked.scheme.as_str())).unwrap_or_default();
        Some([scheme.as_bytes(), b"//", asked.authority().as_bytes(), &url.rest].concat())
    }

    /// Returns whether a URL ends with the path of the upstream.
    fn is_bare_base(&self, url: &Absolute) -> bool {
        let end = url.rest.iter().position(|byte| b"?#".contains(byte)).unwrap_or(url.rest.len());
        !self.base.is_empty() && url.rest[..end] == *self.base.as_bytes()
    }

    /// Returns whether the origin may call itself so: by a host of its own under either scheme, as many know only
    /// one of them or want the other; or by the client's host, if it is told that. The client's host counts under the
    /// origin's scheme and the client's only, which the origin is told in X-Forwarded-Proto.
    fn calls_itself(&self, url: &Absolute, asked: &Target) -> bool {
        let scheme = url.scheme.unwrap_or(self.scheme);
        let Ok(named) = host(&url.authority, scheme) else { return false };
        let either = scheme == self.scheme || scheme == asked.scheme;
        // Where neither side speaks the scheme, a redirect to the client's host means the site that stands there.
        let of_client = named.name() == asked.host()
            && (named.port.is_none() || in_full(named.port, scheme) == in_full(asked.port, asked.scheme));
        let elsewhere = of_client && !either;
        (!elsewhere && self.has_host(url)) || (self.told_host && either && is_of(&named, asked))
    }

    /// Returns whether a URL has a host of the origin's own, under either scheme.
    fn has_host(&self, url: &Absolute) -> bool {
        let scheme = url.scheme.unwrap_or(self.scheme);
        let Ok(named) = host(&url.authority, scheme) else { return false };
        self.hosts.iter().any(|(name, port)| {
            // Under the other scheme neither has a port, or both have the same one.
            named.name() == name.as_str()
                && (named.port == *port || in_full(named.port, scheme) == in_full(*port, self.scheme))
        })
    }

    /// Returns whether the URL is written as clients write it already. An origin that is told the client's
    /// host may know the path before its own, too.
    fn is_as_clients_write(&self, url: &Absolute, by: AskedBy<'_>) -> bool {
        let scheme = url.scheme.unwrap_or(by.target.scheme);
        self.told_host
            && scheme == by.target.scheme
            && host(&url.authority, scheme).is_ok_and(|named| is_of(&named, by.target))
            && below(&url.rest, by.prefix).is_some()
            && !by.prefix.is_empty()
    }
}

// === impl Absolute ===

impl Absolute {
    /// The parts of an http or https URL that names a host; `None` for all others.
    ///
    /// Browsers skip white space around a URL and tabs in it, take a backslash for a slash, and any number of them
    /// for two. Behind `http:` fewer than two make a path, if the page has the same scheme; other clients read an
    /// authority there, and an origin that puts its own name there means one.
    fn parse(url: &[u8]) -> Option<Self> {
        let url: Vec<u8> = url.iter().copied().filter(|byte| *byte != b'\t').collect();
        let url = url.trim_ascii();
        let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
        let behind_scheme = || {
            let end = url.iter().position(|byte| *byte == b':')?;
            Some((Scheme::named(std::str::from_utf8(&url[..end]).ok()?)?, &url[end + 1..]))
        };
        let (scheme, behind) = match behind_scheme() {
            Some((scheme, behind)) => (Some(scheme), behind),
            None if url.len() > 1 && url[..2].iter().all(is_slash) => (None, url),
            None => return None,
        };
        let slashes = behind.iter().position(|byte| !is_slash(byte))?;
        let behind = &behind[slashes..];
        let end = behind.iter().position(|byte| b"/\\?#".contains(byte)).unwrap_or(behind.len());
        let (authority, rest) = behind.split_at(end);
        // Clients know nothing of an origin's users.
        let authority = std::str::from_utf8(authority.rsplit(|byte| *byte == b'@').next()?).ok()?;
        let usual =
            Url::parse(&format!("{}://{authority}/", scheme.unwrap_or(Scheme::Http).as_str())).ok()?;
        // The port as it is written: without a scheme it is not known which one needs none.
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
        let port = usual.port_or_known_default().filter(|_| has_port);
        let host = &usual[Position::BeforeHost..Position::AfterHost];
        let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = rest.iter().position(|byte| b"?#".contains(byte)).unwrap_or(rest.len());
        let (path, behind) = rest.split_at(path);
        let path: Vec<u8> = path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
        // Behind the upstream's path, one that leads out of it is not below it.
        let path = if path.is_empty() { path } else { resolved(&path) };
        Some(Self { scheme, authority, rest: [&path, behind].concat() })
    }
}

#[cfg(test)]
mod tests;
