//! Which fields are forwarded to the origin, and which to the client (RFC 9110 §7.6.1).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::hop::{CDN_LOOP, Hop, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PROTO};
use super::rules::{Carried, Cookies, Rules};
use super::vary::{byte_of, normal};

/// End-to-end fields that Connection must not name (RFC 9110 §7.6.1): they stay even if it does. Without its
/// length, a request would seem to have no content; without Cache-Control or Vary, a response would be shared
/// with the wrong clients.
static FOR_EVERYBODY: [HeaderName; 14] = [
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

/// The fields of a fill: the end-to-end fields that the route lets it carry, without those that are answered
/// here (conditions, Range). Accept-Encoding and Accept-Language are in their normal form, so that a fill
/// asks for the same whichever request leads it. Host is left to the upstream's own setting.
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
    hop.write(&mut sent, client);
    sent
}

/// The fields of a pass: the end-to-end fields of the client's own request, conditions and Range included,
/// and TE if the client accepts trailers.
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
    hop.write(&mut sent, client);
    sent
}

/// Brings the Accept-Language of an upstream request to its normal form, which means the same: the response
/// may be stored under that form. An empty list means the same as no field (RFC 9110 §12.5.4).
pub fn normalise_languages(sent: &mut HeaderMap, client: &HeaderMap) {
    normalise(sent, header::ACCEPT_LANGUAGE, client);
    if sent.get(header::ACCEPT_LANGUAGE).is_some_and(HeaderValue::is_empty) {
        sent.remove(header::ACCEPT_LANGUAGE);
    }
}

/// The same for Accept-Encoding. An empty list accepts only content without a coding, which no field does not
/// say (RFC 9110 §12.5.3). Not every origin reads it so: `identity` is sent instead.
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

/// Returns whether a client accepts trailers (RFC 9110 §10.1.4): others get none.
pub fn takes_trailers(client: &HeaderMap) -> bool {
    tokens(client.get_all(header::TE)).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

/// The end-to-end fields of a response (RFC 9111 §3.1).
pub fn response_headers(upstream: &HeaderMap) -> HeaderMap {
    end_to_end(upstream, |_| true)
}

/// Removes the fields that a request's Connection names, except Upgrade and TE, which are read here. This
/// comes before anything else reads the request: a field that is in a key must not be missing from the fill.
/// Costs one look-up if Connection is absent or is just keep-alive or close. Returns whether it names Upgrade.
pub fn strip_connection(headers: &mut HeaderMap) -> bool {
    let Some(connection) = headers.get(header::CONNECTION) else { return false };
    let plain = connection.as_bytes();
    let plain = plain.eq_ignore_ascii_case(b"keep-alive") || plain.eq_ignore_ascii_case(b"close");
    if plain && headers.get_all(header::CONNECTION).iter().count() == 1 {
        return false;
    }
    let named = named_by_connection(headers);
    for field in &named {
        if *field != header::UPGRADE && *field != header::TE {
            headers.remove(field);
        }
    }
    named.contains(&header::UPGRADE)
}

/// Returns whether a request whose Connection names Upgrade needs another protocol (RFC 9110 §7.8).
///
/// An offer of another HTTP or of TLS is overlooked, as a server may: the request means the same without it.
/// Some clients send `h2c` or `TLS/1.2` with every request. A WebSocket without its upgrade is another request.
pub fn needs_upgrade(version: Version, headers: &HeaderMap) -> bool {
    // The field says nothing in HTTP/1.0, and HTTP/2 has none (RFC 9113 §8.2.2).
    version == Version::HTTP_11
        && tokens(headers.get_all(header::UPGRADE)).any(|protocol| {
            let name = protocol.split(|&byte| byte == b'/').next().unwrap_or_default();
            let offers = [&b""[..], b"h2c", b"h2", b"http", b"tls"];
            !offers.iter().any(|offer| name.eq_ignore_ascii_case(offer))
        })
}

/// Returns whether a request has been through this fleet before (RFC 8586).
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

/// Returns whether a fill carries this field as the client sent it. A field with a `_` in its name is carried
/// only if the route names it: some origins take it for another field, which may be in the key or select the
/// response.
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

/// Returns whether a field asks for another method than the request line, by its [`dashed`] name.
pub(super) fn is_method_override(name: &str) -> bool {
    matches!(name, "x-http-method-override" | "x-http-method" | "x-method-override" | "x-override-method")
}

/// Returns whether a field tells an origin the client's address, and nothing about the wanted response.
pub fn tells_the_client(field: &HeaderName) -> bool {
    let name = dashed(field.as_str());
    matches!(&*name, "x-forwarded-for" | "forwarded") || is_address(&name)
}

/// How many more hops an OPTIONS may take (RFC 9110 §7.6.2): none at 0. `None` if it doesn't say.
pub fn max_forwards(headers: &HeaderMap) -> Option<u64> {
    let digits = headers.get(header::MAX_FORWARDS)?.as_bytes().trim_ascii();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // A number that is too large counts as the largest.
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).map(|most| most.unwrap_or(u64::MAX))
}

/// Decrements Max-Forwards: this is a hop.
pub fn count_down(sent: &mut HeaderMap) {
    if let Some(most) = max_forwards(sent) {
        sent.insert(header::MAX_FORWARDS, HeaderValue::from(most.saturating_sub(1)));
    }
}

/// Returns whether a field is written here from what the key holds: a response may vary on it, since its key
/// does already.
pub(super) fn is_same_for_a_key(field: &HeaderName) -> bool {
    [&X_FORWARDED_PROTO, &X_FORWARDED_HOST, &X_FORWARDED_PORT].contains(&field)
}

/// Returns whether a field tells who the client is. The client's own field is never forwarded as it is: what
/// the origin gets is written here.
fn is_written_here(name: &str) -> bool {
    (name.starts_with("x-forwarded-") && !is_rewrite(name)) || matches!(name, "forwarded" | "x-real-ip")
}

/// Fields by which some origins take another URL for the requested one.
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
            | "x-scheme"
            | "x-url-scheme"
            | "front-end-https"
            | "proxy"
    )
}

/// Fields by which some origins take another address for the client's. A fill carries them only if it tells
/// the address of the client that leads.
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

#[cfg(test)]
mod tests;
