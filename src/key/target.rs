//! The forms of a request's target: the canonical one that routes, rules, purges and keys go by, and
//! the one that goes upstream.
//!
//! A target is checked, and then goes upstream as it was written (RFC 9110 §7.7) with two exceptions:
//! `.` segments are removed, and bytes that the upstream client's URL parser can't carry raw are escaped
//! (`{`, `}` and non-ASCII in a path, `'` and non-ASCII in a query).
//!
//! In the canonical form escapes of unreserved characters are decoded as well, hexadecimal digits are
//! capitalised, and a `%` in the query that begins no escape is escaped. `%2F`, `;`, `//`, letter case
//! and the order of parameters stay. What two servers might read differently is refused.

use std::fmt::{self, Debug, Display, Write as _};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

mod dots;
mod escape;
mod host;
#[cfg(test)]
mod tests;

use escape::Part;

pub use escape::canonical_path;
pub use host::{Host, host};

/// The scheme of the client's connection, or the one that a trusted proxy states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

/// A canonical target. Its text is in one piece, so that making one allocates once and writing a key
/// from it is a copy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The client's scheme.
    pub scheme: Scheme,
    /// The port that the client wrote, unless it is the scheme's own.
    pub port: Option<u16>,
    /// `host/path?query`.
    text: String,
    path_at: usize,
    /// Where the `?` is; the text's length if there is none.
    query_at: usize,
    /// Path and query as they go upstream, if that is not the canonical form.
    sent: Option<Box<Sent>>,
}

/// Path and query in the form that goes upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sent {
    text: String,
    query_at: usize,
}

/// The target of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A target for the routes.
    Target(Target),
    /// `OPTIONS *`: this server itself, which answers 204.
    OptionsStar,
}

/// Why a request is refused before any route is matched. The connection is closed: the peer may see the
/// next request begin elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// CONNECT, TRACE, PURGE or BAN, which the data port does not serve.
    Method,
    /// A transfer coding other than `chunked` alone (RFC 9112 §6.1).
    TransferCoding,
    /// Content-Length with Transfer-Encoding, several Content-Lengths, or a transfer coding in a version
    /// without one.
    Framing,
    /// Neither a path nor an http or https URL.
    Form,
    /// `*` with a method other than OPTIONS.
    Star,
    /// `..` as a segment, in any spelling, or `.` in an odd one.
    DotSegment,
    /// A `\`.
    Backslash,
    /// A control byte.
    Control,
    /// `%00`.
    Nul,
    /// In the path a `%` without two hexadecimal digits behind it.
    BrokenEscape,
    /// A quotation mark or an angle bracket that is not escaped (RFC 3986 §2).
    Unescaped,
    /// No Host (RFC 9112 §3.2), from HTTP/1.1 on.
    NoHost,
    /// Several Hosts.
    ManyHosts,
    /// A Host without a name in it.
    EmptyHost,
    /// User information in an authority.
    UserInfo,
    /// A Host that is no name, no address, or has no port that could be one.
    BadHost,
    /// `:authority` and Host differ (RFC 9113 §8.3.1).
    AuthorityDiffers,
    /// Longer than the server's limit; judged by the listener, which knows it.
    TooLong,
}

/// Checks a request's method, framing and target, and makes the target canonical.
///
/// `scheme` is the client's: a scheme in the target says nothing about the client's connection.
pub fn canonical(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    scheme: Scheme,
) -> Result<Asked, Refusal> {
    if *method != Method::GET {
        judge_method(method)?;
    }
    judge_framing(version, headers)?;
    let host = host_of(uri, version, headers, scheme)?;
    let path = uri.path();
    if path == "*" {
        return if *method == Method::OPTIONS { Ok(Asked::OptionsStar) } else { Err(Refusal::Star) };
    }
    Target::build(scheme, &host, path, uri.query()).map(Asked::Target)
}

/// Makes the target that a client would send for `url`, without the fragment. For commands that name a
/// response by its URL. Without an authority (`http:///path`) it is that of an HTTP/1.0 request without
/// a host.
pub fn canonical_url(url: &str) -> Result<Target, Refusal> {
    let (scheme, rest) = url.split_once("://").ok_or(Refusal::Form)?;
    let scheme = Scheme::named(scheme).ok_or(Refusal::Form)?;
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let host = if authority.is_empty() { Host::none() } else { host(authority, scheme)? };
    Target::build(scheme, &host, path, query)
}

fn judge_method(method: &Method) -> Result<(), Refusal> {
    match method.as_str() {
        "CONNECT" | "TRACE" | "PURGE" | "BAN" => Err(Refusal::Method),
        _ => Ok(()),
    }
}

fn judge_framing(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if version != Version::HTTP_11 || headers.contains_key(CONTENT_LENGTH) {
            return Err(Refusal::Framing);
        }
        let alone = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        return if alone && codings.next().is_none() { Ok(()) } else { Err(Refusal::TransferCoding) };
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let digits = lengths.next().is_none_or(|length| {
        let length = length.as_bytes();
        !length.is_empty() && length.iter().all(u8::is_ascii_digit)
    });
    if digits && lengths.next().is_none() { Ok(()) } else { Err(Refusal::Framing) }
}

/// Returns the request's host: the target's authority if it has one, else Host, which is checked
/// either way.
fn host_of<'a>(
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    scheme: Scheme,
) -> Result<Host<'a>, Refusal> {
    let mut lines = headers.get_all(HOST).iter();
    let field = match (lines.next(), lines.next()) {
        (Some(value), None) => Some(host(value.to_str().map_err(|_| Refusal::BadHost)?, scheme)?),
        (Some(_), Some(_)) => return Err(Refusal::ManyHosts),
        (None, _) if version != Version::HTTP_11 => None,
        (None, _) => return Err(Refusal::NoHost),
    };
    let Some(authority) = uri.authority() else {
        // Before HTTP/1.1 there was no Host: health checks still send such requests.
        let none = (version < Version::HTTP_11).then(Host::none);
        return field.or(none).ok_or(Refusal::NoHost);
    };
    // `GET name` without a scheme is authority-form, which is CONNECT's.
    if uri.scheme_str().and_then(Scheme::named).is_none() {
        return Err(Refusal::Form);
    }
    let authority = host(authority.as_str(), scheme)?;
    match field {
        Some(field) if version >= Version::HTTP_2 && !field.is(&authority) => Err(Refusal::AuthorityDiffers),
        _ => Ok(authority),
    }
}

// === impl Scheme ===

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port if none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else if name.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else {
            None
        }
    }
}

// === impl Target ===

impl Target {
    fn build(scheme: Scheme, host: &Host<'_>, path: &str, query: Option<&str>) -> Result<Self, Refusal> {
        if !path.starts_with('/') {
            return Err(Refusal::Form);
        }
        let mut text = String::with_capacity(host.len() + path.len() + query.map_or(0, |q| q.len() + 1));
        host.write(&mut text);
        let path_at = text.len();
        let mut differs = escape::write(&mut text, path, Part::Path)?;
        dots::remove(&mut text, path_at);
        dots::judge(&text[path_at..])?;
        let query_at = text.len();
        if let Some(query) = query {
            text.push('?');
            differs |= escape::write(&mut text, query, Part::Query)?;
        }
        let mut target = Self { scheme, port: host.port, text, path_at, query_at, sent: None };
        if differs {
            target.sent = Some(Sent::build(path, query))
                .filter(|sent| sent.text != target.path_and_query())
                .map(Box::new);
        }
        Ok(target)
    }

    /// Replaces the authority by the one that a trusted proxy states. It is checked like a Host.
    pub fn under(self, authority: &str) -> Result<Self, Refusal> {
        let host = host(authority, self.scheme)?;
        let mut text = String::with_capacity(host.len() + self.text.len() - self.path_at);
        host.write(&mut text);
        let (before, path_at) = (self.path_at, text.len());
        text.push_str(&self.text[before..]);
        let query_at = self.query_at - before + path_at;
        Ok(Self { scheme: self.scheme, port: host.port, text, path_at, query_at, sent: self.sent })
    }

    /// The host in lower case, without a port or the dot that ends a fully qualified name; an IPv6 address
    /// in brackets. Empty for an HTTP/1.0 request without one.
    pub fn host(&self) -> &str {
        &self.text[..self.path_at]
    }

    /// The canonical path, which begins with `/`.
    pub fn path(&self) -> &str {
        &self.text[self.path_at..self.query_at]
    }

    /// The canonical query after the `?`; `Some("")` if it is empty.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query_at + 1..)
    }

    /// Path and query as one piece.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path_at..]
    }

    /// Returns whether the form that goes upstream is not the canonical one.
    pub fn is_spelled_otherwise(&self) -> bool {
        self.sent.is_some()
    }

    /// The path as it goes upstream, without the part that is the first `len` bytes of the canonical path.
    pub fn sent_path(&self, len: usize) -> &str {
        match &self.sent {
            None => &self.path()[len..],
            Some(sent) => {
                let path = &sent.text[..sent.query_at];
                &path[escape::sent_len(path, len)..]
            }
        }
    }

    /// The query as it goes upstream. It has the same `&` and `=` as the canonical one.
    pub fn sent_query(&self) -> Option<&str> {
        match &self.sent {
            None => self.query(),
            Some(sent) => sent.text.get(sent.query_at + 1..),
        }
    }

    /// `host/path?query`, as one piece.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The port that was written, else the scheme's own.
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// Host and port as in a Host field.
    pub fn authority(&self) -> String {
        let mut authority = self.host().to_owned();
        if let Some(port) = self.port {
            let _ = write!(authority, ":{port}");
        }
        authority
    }
}

// === impl Sent ===

impl Sent {
    fn build(path: &str, query: Option<&str>) -> Self {
        let mut text = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1));
        escape::write_as_sent(&mut text, path, Part::Path);
        dots::remove(&mut text, 0);
        let query_at = text.len();
        if let Some(query) = query {
            text.push('?');
            escape::write_as_sent(&mut text, query, Part::Query);
        }
        Self { text, query_at }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.path_and_query())
    }
}

impl Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

// === impl Refusal ===

impl Refusal {
    /// The status of the response.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TooLong => StatusCode::URI_TOO_LONG,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Its name in responses and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::TransferCoding => "transfer_coding",
            Self::Framing => "framing",
            Self::Form => "target_form",
            Self::Star => "star",
            Self::DotSegment => "dot_segment",
            Self::Backslash => "backslash",
            Self::Control => "control_byte",
            Self::Nul => "nul",
            Self::BrokenEscape => "broken_escape",
            Self::Unescaped => "unescaped_byte",
            Self::NoHost => "no_host",
            Self::ManyHosts => "many_hosts",
            Self::EmptyHost => "empty_host",
            Self::UserInfo => "user_info",
            Self::BadHost => "bad_host",
            Self::AuthorityDiffers => "authority_differs",
            Self::TooLong => "target_too_long",
        }
    }

    /// What the client did wrong, in a sentence.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Method => "this method is not served here",
            Self::TransferCoding => "the only transfer coding understood is chunked, alone",
            Self::Framing => "the length of the request is told in more than one way",
            Self::Form => "the target is neither a path nor an http or https URL",
            Self::Star => "* is a target of OPTIONS only",
            Self::DotSegment => "the path has a . or .. segment",
            Self::Backslash => "the target has a backslash",
            Self::Control => "the target has a control byte",
            Self::Nul => "the target has %00 in it",
            Self::BrokenEscape => "a % in the path is not followed by two hexadecimal digits",
            Self::Unescaped => "the target has a quotation mark or an angle bracket that is not escaped",
            Self::NoHost => "the request names no host",
            Self::ManyHosts => "the request has more than one Host",
            Self::EmptyHost => "the host is empty",
            Self::UserInfo => "the authority has user information in it",
            Self::BadHost => "the host is not a name or address with an optional port",
            Self::AuthorityDiffers => ":authority and Host differ",
            Self::TooLong => "the target is too long",
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}
