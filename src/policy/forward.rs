//! Which fields go on to the origin, and which come back (RFC 9110 §7.6.1).

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::rules::{Carried, Cookies, Rules};
use super::vary::{byte_of, normal};

/// What this hop writes into upstream requests.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// `server.name`, for Via.
    pub name: &'a str,
    /// The fleet's id, for CDN-Loop (RFC 8586).
    pub fleet: &'a str,
    /// The client's scheme, as the key has it.
    pub scheme: &'a str,
    /// The client's host, with its port if it gave one that may be told; empty if it named none.
    pub host: &'a str,
    /// The client's address, where this request is to carry it.
    pub client: Option<IpAddr>,
    /// The peer is one of `trusted_proxies`: what it says of its own client is kept.
    pub trusted: bool,
}

static CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that Connection must not name, since they are for everybody (RFC 9110 §7.6.1): they stay if
/// it does. Without its length, content would be a request that has none; without Cache-Control or
/// Vary, a response would be shared with the wrong people.
const FOR_EVERYBODY: [HeaderName; 14] = [
    header::AGE,
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::HOST,
    header::PRAGMA,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
    header::VARY,
];

/// What a fill sends: the end-to-end fields that the route lets it carry, without what is
/// answered here (conditions, Range), Accept-Encoding and Accept-Language in their normal form,
/// so that whoever leads asks for the same. Host is left to the upstream's own setting.
pub fn fill_headers(client: &HeaderMap, rules: &Rules, hop: &Hop<'_>) -> HeaderMap {
    let mut sent = end_to_end(client, |field| {
        let name = dashed(field.as_str());
        let told = is_rewrite(&name) || (is_address(&name) && hop.client.is_some());
        is_carried(field, rules) || (hop.trusted && told)
    });
    for field in [header::CONTENT_LENGTH, header::EXPECT] {
        sent.remove(field);
    }
    normalise_encodings(&mut sent, client);
    normalise_languages(&mut sent, client);
    write_hop(&mut sent, client, hop);
    sent
}

/// What a pass sends: the end-to-end fields of the client's own request, conditions and Range
/// included, and whether it takes trailers.
pub fn pass_headers(client: &HeaderMap, rules: &Rules, hop: &Hop<'_>) -> HeaderMap {
    let mut sent = end_to_end(client, |field| {
        let name = dashed(field.as_str());
        let believed = hop.trusted || !(is_rewrite(&name) || is_address(&name));
        let odd_length = name == "content-length" && *field != header::CONTENT_LENGTH;
        let stripped = field == header::COOKIE && rules.cookies == Cookies::Strip;
        believed && !is_written_here(&name) && name != "expect" && !odd_length && !stripped
    });
    if takes_trailers(client) {
        sent.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    write_hop(&mut sent, client, hop);
    sent
}

/// Makes a request ask for the languages that its client asks for in their normal form, which means the
/// same: what it brings may be stored under that. An empty list asks for none of them, as no field does
/// (RFC 9110 §12.5.4).
pub fn normalise_languages(sent: &mut HeaderMap, client: &HeaderMap) {
    normalise(sent, header::ACCEPT_LANGUAGE, client);
    if sent.get(header::ACCEPT_LANGUAGE).is_some_and(HeaderValue::is_empty) {
        sent.remove(header::ACCEPT_LANGUAGE);
    }
}

/// The same of codings. An empty list takes what is not coded, which is not said by no field
/// (RFC 9110 §12.5.3), and not every origin reads it so: then it is said.
fn normalise_encodings(sent: &mut HeaderMap, client: &HeaderMap) {
    normalise(sent, header::ACCEPT_ENCODING, client);
    if sent.get(header::ACCEPT_ENCODING).is_some_and(HeaderValue::is_empty) {
        sent.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

fn normalise(sent: &mut HeaderMap, field: HeaderName, client: &HeaderMap) {
    if !sent.contains_key(&field) {
        return;
    }
    let Some(value) = normal(&field, client) else { return };
    if let Ok(value) = HeaderValue::from_bytes(&value.chars().map(byte_of).collect::<Vec<_>>()) {
        sent.insert(field, value);
    }
}

/// Whether a client keeps trailers apart, and wants them (RFC 9110 §10.1.4): they are not for others.
pub fn takes_trailers(client: &HeaderMap) -> bool {
    tokens(client.get_all(header::TE)).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// What of a response's fields is end-to-end (RFC 9111 §3.1).
pub fn response_headers(upstream: &HeaderMap) -> HeaderMap {
    end_to_end(upstream, |_| true)
}

/// Removes from a request what its Connection names, but for Upgrade and TE, which are read here. Before anything else
/// looks at the request: a field that is in a key must not be missing from the fill. Costs one
/// look-up where Connection is absent or says nothing but keep-alive.
pub fn strip_connection(headers: &mut HeaderMap) {
    let Some(connection) = headers.get(header::CONNECTION) else { return };
    let plain = connection.as_bytes();
    let plain = plain.eq_ignore_ascii_case(b"keep-alive") || plain.eq_ignore_ascii_case(b"close");
    if plain && headers.get_all(header::CONNECTION).iter().count() == 1 {
        return;
    }
    for field in named_by_connection(headers) {
        if field != header::UPGRADE && field != header::TE {
            headers.remove(field);
        }
    }
}

/// The protocol that a request wants to change to, if its Connection says so too.
pub fn upgrade_asked(headers: &HeaderMap) -> Option<&str> {
    let mut named = tokens(headers.get_all(header::CONNECTION));
    if !named.any(|token| token.eq_ignore_ascii_case(b"upgrade")) {
        return None;
    }
    headers.get(header::UPGRADE)?.to_str().ok().map(str::trim)
}

/// Whether a request has been through this fleet before (RFC 8586).
pub fn is_loop(headers: &HeaderMap, fleet: &str) -> bool {
    tokens(headers.get_all(&CDN_LOOP)).any(|member| {
        let id = member.split(|&byte| byte == b';').next().unwrap_or_default();
        id.trim_ascii().eq_ignore_ascii_case(fleet.as_bytes())
    })
}

/// A field's name with `_` read as `-`, which is how CGI, WSGI and PHP hand it to programs: to them
/// `X_Forwarded_For` is X-Forwarded-For.
pub fn dashed(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Whether a fill carries this field as the client sent it. One with a `_` in its name only if the
/// route names it: some origins take it for a field that is in the key, or selects.
pub(super) fn is_carried(field: &HeaderName, rules: &Rules) -> bool {
    let name = dashed(field.as_str());
    if is_hop_by_hop(&name)
        || is_written_here(&name)
        || is_rewrite(&name)
        || is_address(&name)
        || is_method_override(&name)
    {
        return false;
    }
    match &*name {
        "if-none-match" | "if-modified-since" | "if-range" | "if-match" | "if-unmodified-since" | "range" => {
            false
        }
        "authorization" | "host" => true,
        "cookie" => rules.cookies != Cookies::Strip,
        name if rules.is_secret(name) => true,
        _ => match &rules.carried {
            Carried::All => matches!(name, Cow::Borrowed(_)) || rules.underscored.contains(field),
            Carried::Only(fields) => fields.contains(field),
        },
    }
}

/// Whether a field asks for another method than the request line, by its [`dashed`] name.
pub(super) fn is_method_override(name: &str) -> bool {
    matches!(name, "x-http-method-override" | "x-http-method" | "x-method-override" | "x-override-method")
}

/// Whether a field tells an origin the client's address: it says nothing of what is asked for.
pub fn tells_the_client(field: &HeaderName) -> bool {
    let name = dashed(field.as_str());
    name == "x-forwarded-for" || is_address(&name)
}

/// How many more hops an OPTIONS may take (RFC 9110 §7.6.2): none at 0. `None` if it doesn't say.
pub fn max_forwards(headers: &HeaderMap) -> Option<u64> {
    let digits = headers.get(header::MAX_FORWARDS)?.as_bytes().trim_ascii();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // More than can be counted is as good as the most that can.
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).map(|most| most.unwrap_or(u64::MAX))
}

/// Takes one off what [`max_forwards`] tells: this is a hop.
pub fn count_down(sent: &mut HeaderMap) {
    if let Some(most) = max_forwards(sent) {
        sent.insert(header::MAX_FORWARDS, HeaderValue::from(most.saturating_sub(1)));
    }
}

/// Written here from what the key holds: a response may vary on it, its key does already.
pub(super) fn is_same_for_a_key(field: &HeaderName) -> bool {
    *field == X_FORWARDED_PROTO || *field == X_FORWARDED_HOST
}

/// Who the client is: written here, never believed from just anybody.
fn is_written_here(name: &str) -> bool {
    (name.starts_with("x-forwarded-") && !is_rewrite(name)) || matches!(name, "forwarded" | "x-real-ip")
}

/// Fields by which some origins take another URL for the one that is asked.
fn is_rewrite(name: &str) -> bool {
    matches!(
        name,
        "x-original-url"
            | "x-original-uri"
            | "x-original-method"
            | "x-rewrite-url"
            | "x-original-host"
            | "x-host"
            | "x-http-host-override"
            | "x-http-path-override"
            | "x-forwarded"
            | "x-forwarded-prefix"
            | "x-forwarded-server"
            | "x-forwarded-port"
            | "x-scheme"
            | "x-url-scheme"
            | "front-end-https"
            | "proxy"
    )
}

/// Fields by which some origins take another address for the client's. A fill carries them only where
/// it tells the address of whoever leads.
fn is_address(name: &str) -> bool {
    matches!(
        name,
        "x-client-ip"
            | "x-cluster-client-ip"
            | "client-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
            | "x-originating-ip"
            | "x-remote-ip"
            | "x-remote-addr"
    )
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "http2-settings"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn end_to_end(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.keys_len() + 4);
    for (field, value) in headers {
        if !is_hop_by_hop(&dashed(field.as_str())) && !named.contains(field) && wanted(field) {
            kept.append(field, value.clone());
        }
    }
    kept
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers.get_all(header::CONNECTION))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|field| !FOR_EVERYBODY.contains(field))
        .collect()
}

fn tokens(lines: http::header::GetAll<'_, HeaderValue>) -> impl Iterator<Item = &[u8]> {
    let members = lines.into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii)
}

fn write_hop(sent: &mut HeaderMap, client: &HeaderMap, hop: &Hop<'_>) {
    sent.remove(header::HOST);
    let mut write = |field: HeaderName, text: String, append: bool| {
        // A host or a name that is no field value can't have come in as one.
        if let Ok(value) = HeaderValue::try_from(text) {
            if append {
                sent.append(field, value);
            } else {
                sent.insert(field, value);
            }
        }
    };
    write(header::VIA, format!("1.1 {}", hop.name), true);
    write(CDN_LOOP.clone(), hop.fleet.to_owned(), true);
    write(X_FORWARDED_PROTO.clone(), hop.scheme.to_owned(), false);
    if !hop.host.is_empty() {
        write(X_FORWARDED_HOST.clone(), hop.host.to_owned(), false);
    }
    if let Some(address) = hop.client {
        let before = if hop.trusted { normal(&X_FORWARDED_FOR, client) } else { None };
        let chain = before.map_or_else(|| address.to_string(), |before| format!("{before}, {address}"));
        write(X_FORWARDED_FOR.clone(), chain, false);
    }
}

#[cfg(test)]
mod tests;
