//! Authentication that is bound to a connection (NTLM, Negotiate; RFC 4559 §6): the origin takes every
//! later request on it for the same user's, so nobody may be given such a connection again.

use http::{HeaderMap, header};

const SCHEMES: [&str; 4] = ["ntlm", "negotiate", "kerberos", "nego2"];

/// Whether a request would bind its connection.
pub(super) fn binds(request: &HeaderMap) -> bool {
    request.get_all(header::AUTHORIZATION).into_iter().any(|line| is_bound(line.as_bytes()))
}

/// Whether a response shows that its origin binds connections.
pub(super) fn challenges(response: &HeaderMap) -> bool {
    let mut lines = [header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE]
        .into_iter()
        .flat_map(|field| response.get_all(field).into_iter());
    // A comma in quotes begins no challenge; taking it for one is on the safe side.
    lines.any(|line| line.as_bytes().split(|&byte| byte == b',').any(is_bound))
        || response.contains_key("persistent-auth")
}

fn is_bound(credentials: &[u8]) -> bool {
    let scheme = credentials.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    SCHEMES.iter().any(|bound| scheme.eq_ignore_ascii_case(bound.as_bytes()))
}
