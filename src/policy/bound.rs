//! Authentication that is bound to a connection (RFC 4559 §6): an origin takes every later request on it for
//! the same user's. It is not supported: such responses are not shared.

use http::{HeaderMap, HeaderValue, header};

const SCHEMES: [&str; 4] = ["ntlm", "negotiate", "kerberos", "nego2"];

/// Returns whether credentials are for a connection and not for a request.
pub fn binds_connection(authorization: &HeaderValue) -> bool {
    is_bound(authorization.as_bytes())
}

/// Returns whether a response asks for such credentials, goes on with them, or says that it was given for
/// them.
pub fn challenges_connection(response: &HeaderMap) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_of_a_connection() {
        for (value, bound) in [
            ("NTLM", true),
            ("NTLM TlRMTVNT", true),
            ("negotiate YII=", true),
            (" Negotiate", true),
            ("Basic YTpi", false),
            ("Bearer negotiate", false),
            ("NTLMx", false),
            ("", false),
        ] {
            assert_eq!(binds_connection(&HeaderValue::from_static(value)), bound, "{value:?}");
        }
    }

    #[test]
    fn challenges_of_a_connection() {
        for (field, value, bound) in [
            ("www-authenticate", "Negotiate", true),
            ("www-authenticate", "Basic realm=\"a\", NTLM", true),
            ("proxy-authenticate", "NTLM TlRMTVNT", true),
            ("persistent-auth", "true", true),
            ("www-authenticate", "Basic realm=\"a\"", false),
            ("www-authenticate", "Bearer", false),
            ("x-authenticate", "NTLM", false),
        ] {
            let response = HeaderMap::from_iter([(field.parse().unwrap(), HeaderValue::from_static(value))]);
            assert_eq!(challenges_connection(&response), bound, "{field}: {value}");
        }
    }
}
