//! Who may use the operator's port: a bearer of the token, or, where there is none, somebody who
//! is not a web page.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{Access, Problem, Room};

/// Everything under `/v1/`.
pub(super) async fn inner(State(room): State<Room>, request: Request, next: Next) -> Response {
    match judge(&room.access, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(access: &Access, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    token(access, headers)?;
    // A page in a browser can send a form or a simple request to a loopback address, or have its
    // own name resolve to one: JSON and a loopback name are what it can't do.
    if access.token.is_none() && !host_allowed(access, headers) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "Host is neither a loopback name nor in admin.hosts",
        ));
    }
    if method == Method::POST && !is_json(headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send Content-Type: application/json",
        ));
    }
    Ok(())
}

/// The token, if one is set. Compared by digest, so that time tells nothing of where it differs.
pub(super) fn token(access: &Access, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(wanted) = &access.token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    let fits = given.is_some_and(|(scheme, given)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && Sha256::digest(given) == Sha256::digest(wanted.as_bytes())
    });
    if fits {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "send Authorization: Bearer with the admin token",
    ))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn host_allowed(access: &Access, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = bare(host).to_ascii_lowercase();
    let loopback = name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    loopback || access.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
}

/// A host without its port, an IPv6 one without its brackets.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_listed_hosts_may_ask_without_a_token() {
        let access = Access { hosts: vec!["admin.internal".into()], ..Access::default() };
        for (host, allowed) in [
            ("localhost:8081", true),
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("app.localhost", true),
            ("Admin.Internal:8081", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a field value"));
            assert_eq!(host_allowed(&access, &headers), allowed, "{host}");
        }
    }
}
