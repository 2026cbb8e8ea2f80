//! Heads: which fields are forwarded, and how the end of a body is known.

use http::header::{
    self, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Version};

use super::{Error, ErrorKind, Framing, Trailers, length};

/// Fields of one connection (RFC 9110 §7.6.1), besides those that Connection names. TE and Trailer
/// are written again where trailers are passed on.
static HOP_BY_HOP: [HeaderName; 11] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    TRANSFER_ENCODING,
    header::UPGRADE,
];

/// End-to-end fields that Connection must not name: they stay even if it does. A response that lost its
/// Cache-Control or Vary would be shared with the wrong clients.
static FOR_EVERYBODY: [HeaderName; 13] = [
    header::AGE,
    header::CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    header::CONTENT_ENCODING,
    CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    HOST,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
];

/// The fields of an upstream request. `host`: the value of Host; `None` leaves it to the URL.
pub(super) fn outgoing(
    method: &Method,
    mut fields: HeaderMap,
    host: Option<HeaderValue>,
    has_body: bool,
) -> HeaderMap {
    let trailers = fields.get(header::TE).is_some_and(|te| te == "trailers");
    strip(&mut fields);
    if trailers {
        // TE is hop-by-hop, so Connection names it (RFC 9110 §10.1.4).
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    // The client gets 100 (Continue) from here, when its content is first read.
    fields.remove(EXPECT);
    if !has_body {
        fields.remove(CONTENT_LENGTH);
        // Sent for methods that usually have content (RFC 9110 §8.6): some origins answer 411 otherwise.
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    if has_body && matches!(*method, Method::GET | Method::HEAD) && !fields.contains_key(CONTENT_LENGTH) {
        // The library sends such a request without content, unless its framing is stated.
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    fields.remove(HOST);
    if let Some(host) = host {
        fields.insert(HOST, host);
    }
    fields
}

/// How the end of this body is known; judged before [`incoming`] changes the fields.
///
/// # Errors
/// [`ErrorKind::Protocol`]: the framing is invalid.
pub(super) fn framing(
    method: &Method,
    status: StatusCode,
    version: Version,
    fields: &HeaderMap,
    exact: Option<u64>,
) -> Result<Framing, Error> {
    if status.is_informational() {
        return Err(protocol(format!("{status} where a final response was due")));
    }
    if is_bodiless(status) {
        return Ok(Framing::Length(0));
    }
    if *method == Method::HEAD {
        // The length that it states for a GET is forwarded, so it must be valid.
        length::stated(fields)?;
        return Ok(Framing::Length(0));
    }
    if version != Version::HTTP_2 && fields.contains_key(TRANSFER_ENCODING) {
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
        // An HTTP/1.0 message with a coding is faulty framing (RFC 9112 §6.1).
        if !chunked || codings.next().is_some() || version != Version::HTTP_11 {
            return Err(protocol("a transfer coding other than chunked".to_owned()));
        }
        return Ok(Framing::Framed);
    }
    length::stated(fields)?;
    Ok(match exact {
        Some(length) => Framing::Length(length),
        None if version == Version::HTTP_2 => Framing::Framed,
        None => Framing::Close,
    })
}

/// The trailers that a response announces: none, unless its framing allows any.
pub(super) fn trailers(fields: &HeaderMap, framing: Framing) -> Trailers {
    match framing {
        Framing::Framed => {
            let announced = fields.get_all(header::TRAILER).iter().cloned().collect();
            Trailers { announced, ..Trailers::default() }
        }
        Framing::Length(_) | Framing::Close => Trailers::default(),
    }
}

/// Makes the fields of a response ready to be forwarded.
pub(super) fn incoming(status: StatusCode, fields: &mut HeaderMap) {
    if fields.contains_key(TRANSFER_ENCODING) || is_bodiless(status) {
        // The coding overrides the length (RFC 9112 §6.3), which then must not be forwarded; nor must the
        // length of content that there is not (RFC 9110 §8.6).
        fields.remove(CONTENT_LENGTH);
    }
    length::fold(fields);
    strip(fields);
}

/// Returns whether a response of this status never has content (RFC 9112 §6.3).
fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn strip(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !FOR_EVERYBODY.contains(name))
            .collect();
        for name in named {
            fields.remove(name);
        }
    }
    // Few messages have any of them: looking each up costs more than a walk through the names that there are.
    while let Some(name) = fields.keys().find_map(|name| HOP_BY_HOP.iter().find(|hop| *hop == name)) {
        fields.remove(name);
    }
}

fn protocol(detail: String) -> Error {
    Error { kind: ErrorKind::Protocol, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn of(
        list: &[(&'static str, &'static str)],
        version: Version,
        exact: Option<u64>,
    ) -> Result<Framing, ErrorKind> {
        framing(&Method::GET, StatusCode::OK, version, &fields(list), exact).map_err(|error| error.kind)
    }

    #[test]
    fn how_the_end_is_told() {
        let table = [
            (of(&[("content-length", "5")], Version::HTTP_11, Some(5)), Ok(Framing::Length(5))),
            (of(&[("transfer-encoding", "Chunked ")], Version::HTTP_11, None), Ok(Framing::Framed)),
            (of(&[], Version::HTTP_2, None), Ok(Framing::Framed)),
            (of(&[], Version::HTTP_2, Some(3)), Ok(Framing::Length(3))),
            (of(&[], Version::HTTP_11, None), Ok(Framing::Close)),
            (of(&[], Version::HTTP_10, None), Ok(Framing::Close)),
            (of(&[("transfer-encoding", "gzip, chunked")], Version::HTTP_11, None), Err(ErrorKind::Protocol)),
            (of(&[("transfer-encoding", "identity")], Version::HTTP_11, None), Err(ErrorKind::Protocol)),
            (of(&[("transfer-encoding", "chunked")], Version::HTTP_10, None), Err(ErrorKind::Protocol)),
            (
                of(
                    &[("transfer-encoding", "chunked"), ("transfer-encoding", "gzip")],
                    Version::HTTP_11,
                    None,
                ),
                Err(ErrorKind::Protocol),
            ),
        ];
        for (nth, (is, should)) in table.into_iter().enumerate() {
            assert_eq!(is, should, "case {nth}");
        }
    }

    #[test]
    fn no_body_by_definition() {
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
            let status = StatusCode::from_u16(status).unwrap();
            let fields = fields(&[("content-length", "7")]);
            assert_eq!(framing(&method, status, Version::HTTP_11, &fields, Some(0)), Ok(Framing::Length(0)));
        }
        let upgraded =
            framing(&Method::GET, StatusCode::SWITCHING_PROTOCOLS, Version::HTTP_11, &HeaderMap::new(), None);
        assert_eq!(upgraded.unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn connection_names_what_goes_but_not_what_is_for_everybody() {
        let mut response = fields(&[
            ("connection", "close, X-Hop ,cache-control"),
            ("connection", "vary"),
            ("x-hop", "1"),
            ("x-end", "1"),
            ("cache-control", "no-store"),
            ("vary", "accept"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ]);
        incoming(StatusCode::OK, &mut response);
        assert_eq!(response, fields(&[("x-end", "1"), ("cache-control", "no-store"), ("vary", "accept")]));
    }

    #[test]
    fn a_length_that_goes_on_is_one_number_of_content_that_comes() {
        for (status, length, want) in
            [(200, "5, 5", Some("5")), (200, "5", Some("5")), (204, "5", None), (304, "5", None)]
        {
            let mut response = fields(&[("content-length", length)]);
            incoming(StatusCode::from_u16(status).unwrap(), &mut response);
            let left = response.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(left, want, "{status} {length}");
        }
        let unclear = fields(&[("content-length", "5, 6")]);
        let head = framing(&Method::HEAD, StatusCode::OK, Version::HTTP_11, &unclear, Some(0));
        assert_eq!(head.unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn a_request_without_content_declares_none() {
        let request =
            fields(&[("host", "client"), ("content-length", "5"), ("expect", "100-continue"), ("te", "x")]);
        assert_eq!(outgoing(&Method::GET, request.clone(), None, false), HeaderMap::new());
        assert_eq!(outgoing(&Method::POST, request.clone(), None, false), fields(&[("content-length", "0")]));
        let named = outgoing(&Method::GET, request, Some(HeaderValue::from_static("name")), true);
        assert_eq!(named, fields(&[("content-length", "5"), ("host", "name")]));
        let unknown = outgoing(&Method::GET, HeaderMap::new(), None, true);
        assert_eq!(unknown, fields(&[("transfer-encoding", "chunked")]), "else the client leaves it out");
        assert_eq!(outgoing(&Method::POST, HeaderMap::new(), None, true), HeaderMap::new());
    }

    #[test]
    fn trailers_are_asked_for_and_announced() {
        let sent = outgoing(&Method::GET, fields(&[("te", "trailers")]), None, false);
        assert_eq!(sent, fields(&[("te", "trailers"), ("connection", "te")]));
        let head = fields(&[("trailer", "a, b"), ("trailer", "c")]);
        assert_eq!(trailers(&head, Framing::Framed).announced, ["a, b", "c"]);
        assert!(trailers(&head, Framing::Length(3)).announced.is_empty());
        assert!(trailers(&head, Framing::Close).announced.is_empty());
    }
}
