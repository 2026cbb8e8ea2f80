//! Request fields with credentials, beside Authorization and Cookie: keys and tokens of APIs.

use http::HeaderMap;

use super::rules::Rules;

/// Such fields by name; a route may name more. `Proxy-Authorization` is not among them: it is for the
/// proxy, and goes no further.
const KNOWN: [&str; 4] = ["x-api-key", "api-key", "x-auth-token", "x-access-token"];

/// Returns whether a field of that name, lower case and with `-` for `_`, is known to hold credentials.
pub fn is_known_secret(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Marks the values of the fields that a route calls secret, so that they enter variants and logs only
/// as digests. Those that are known by name need no mark.
pub fn mark_secrets(headers: &mut HeaderMap, rules: &Rules) {
    if rules.secrets.is_empty() {
        return;
    }
    for (name, value) in headers.iter_mut() {
        if rules.is_secret(name.as_str()) {
            value.set_sensitive(true);
        }
    }
}

// === impl Rules ===

impl Rules {
    /// Returns whether a request field of that name, lower case, holds credentials. `_` is read as `-`, as
    /// CGI, WSGI and PHP do.
    pub fn is_secret(&self, name: &str) -> bool {
        if name.contains('_') {
            return self.is_secret(&name.replace('_', "-"));
        }
        is_known_secret(name) || self.secrets.iter().any(|secret| secret == name)
    }

    /// Returns whether the key covers such a field, under just this name.
    pub fn keys_secret(&self, name: &str) -> bool {
        self.keyed_secrets.iter().any(|keyed| keyed == name)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::policy::Carried;
    use crate::policy::forward::is_carried;

    /// As Authorization: a request that may lead asks with what it carries, whatever else a fill leaves out.
    #[test]
    fn a_fill_carries_them_where_it_carries_authorization() {
        let only = Rules { carried: Carried::Only(Vec::new()), ..Rules::default() };
        for (name, carried) in
            [("authorization", true), ("x-api-key", true), ("x_auth_token", true), ("x-request-id", false)]
        {
            assert_eq!(is_carried(&HeaderName::from_static(name), &only), carried, "{name}");
        }
    }

    #[test]
    fn what_a_route_adds_is_marked() {
        let rules = Rules { secrets: vec!["x-session-key".into()], ..Rules::default() };
        let mut headers = HeaderMap::new();
        for name in ["x-session-key", "x_session_key", "x-other"] {
            headers.insert(name, "1".parse().unwrap());
        }
        mark_secrets(&mut headers, &rules);
        let marked = |name: &str| headers[name].is_sensitive();
        assert_eq!(
            (marked("x-session-key"), marked("x_session_key"), marked("x-other")),
            (true, true, false)
        );
    }
}
