//! Which requests the operator's port takes: those that bear the token, or, where no token is set,
//! those that no web page can send.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::{AdminState, Problem, Right, Settings, Token, Where, needed};
use crate::key::target::{self, Scheme};
use crate::secret::Secret;

/// Checks each request under `/v1/`.
pub(super) async fn inner(State(room): State<AdminState>, mut request: Request, next: Next) -> Response {
    match judge(&room.settings, request.method(), request.uri(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            if problem.status == StatusCode::FORBIDDEN {
                let by = caller(&room.settings, request.headers()).ok();
                let what = format!("{} /v1{}", request.method(), request.uri().path());
                refused(&room, by, &what, &problem);
            }
            problem.into_response()
        }
    }
}

/// Has the log say what a token was refused.
pub(super) fn refused(room: &AdminState, by: Option<Caller>, what: &str, problem: &Problem) {
    let token = by.and_then(|by| by.token(&room.settings)).map(|token| &*token.name);
    room.desk.refused(token.unwrap_or_default(), what, &problem.detail);
}

/// By which token a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// None is set: it came from this machine.
    Local,
    /// The one for everything.
    Admin,
    /// One of the others, by its place in the settings.
    Token(usize),
}

impl Caller {
    /// The token that it came by, if that is one of several.
    pub(super) fn token(self, settings: &Settings) -> Option<&Token> {
        match self {
            Self::Token(at) => settings.tokens.get(at),
            Self::Local | Self::Admin => None,
        }
    }

    /// Where what it reads and purges must lie, if that is not everywhere.
    pub(super) fn within(self, settings: &Settings) -> Option<&Where> {
        self.token(settings).map(|token| &token.within).filter(|within| !within.is_everywhere())
    }
}

/// What the endpoints read that narrow it themselves to where a token may read.
const NARROWED: [&str; 2] = ["records", "explain"];

fn judge(settings: &Settings, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Problem> {
    let right = needed(method, uri.path());
    let caller = caller_with(settings, headers, right)?;
    if right == Right::Read && !uri.path().rsplit('/').next().is_some_and(|last| NARROWED.contains(&last)) {
        reads_all(settings, caller)?;
    }
    // A page in a browser can send a form or a simple request to a loopback address, or have its
    // own name resolve to one. It can't send JSON there, nor a loopback name in Host.
    if caller == Caller::Local && !host_allowed(settings, uri, headers) {
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
    Ok(caller)
}

/// Says by which token a request came, and checks that it has this right.
pub(super) fn caller_with(settings: &Settings, headers: &HeaderMap, right: Right) -> Result<Caller, Problem> {
    let caller = caller(settings, headers)?;
    if let Caller::Token(at) = caller
        && let Some(token) = settings.tokens.get(at)
        && !token.has(right)
    {
        let detail = format!("the token {:?} has no right to this", token.name);
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    Ok(caller)
}

/// Checks that a request may read what is of the whole instance.
pub(super) fn reads_all(settings: &Settings, caller: Caller) -> Result<(), Problem> {
    let Some(token) = caller.token(settings).filter(|token| !token.within.is_everywhere()) else {
        return Ok(());
    };
    let detail = format!("the token {:?} has a \"where\", and this is of the whole instance", token.name);
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

/// Checks the token, if one is set. It is compared by digest, so that the time does not tell where it
/// differs.
fn caller(settings: &Settings, headers: &HeaderMap) -> Result<Caller, Problem> {
    if !settings.has_tokens() {
        return Ok(Caller::Local);
    }
    let given = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let given = given.map(|(_, token)| Sha256::digest(token));
    let is = |wanted: &Secret| given.is_some_and(|given| given == Sha256::digest(wanted.reveal().as_bytes()));
    if settings.token.as_ref().is_some_and(is) {
        return Ok(Caller::Admin);
    }
    settings.tokens.iter().position(|token| is(&token.token)).map(Caller::Token).ok_or_else(|| {
        let detail = "send Authorization: Bearer with an admin token";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Returns whether the host of the request is allowed, in `Host` and in its target. A request with more
/// than one `Host` is refused (RFC 9112 §3.2).
fn host_allowed(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let named = |authority: &str| name_allowed(settings, authority);
    host.to_str().is_ok_and(named) && uri.authority().is_none_or(|authority| named(authority.as_str()))
}

/// Returns whether a host and port (RFC 3986 §3.2) are allowed. The whole name is compared: a name that
/// only begins or ends like a loopback name can be any domain.
fn name_allowed(settings: &Settings, authority: &str) -> bool {
    let Ok(host) = target::host(authority, Scheme::Http) else { return false };
    let address = host.name().trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        // Every name below it is loopback too (RFC 6761 §6.3).
        Err(_) => host.name() == "localhost" || host.name().ends_with(".localhost"),
    };
    let is_listed = |allowed: &String| {
        let allowed = target::host(allowed, Scheme::Http);
        allowed.is_ok_and(|allowed| {
            allowed.name() == host.name() && (allowed.port.is_none() || allowed.port == host.port)
        })
    };
    loopback || settings.hosts.0.iter().any(is_listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::List;

    fn access() -> Settings {
        Settings {
            hosts: List(vec!["admin.internal".into(), "Ops.Internal:9000".into()]),
            ..Settings::default()
        }
    }

    fn allowed(target: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().expect("a field value"));
        }
        host_allowed(&access(), &target.parse().expect("a target"), &headers)
    }

    #[test]
    fn only_loopback_names_and_listed_hosts_may_ask_without_a_token() {
        for host in [
            "localhost",
            "localhost:8081",
            "LocalHost:8081",
            "localhost.",
            "localhost.:8081",
            "localhost:",
            "127.0.0.1:8081",
            "127.1.2.3",
            "[::1]",
            "[::1]:8081",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:8081",
            "app.localhost",
            "Admin.Internal:8081",
            "admin.internal.",
            "ops.internal:9000",
        ] {
            assert!(allowed("/", &[host]), "{host}");
        }
    }

    #[test]
    fn what_only_looks_like_a_loopback_name_may_not() {
        for host in [
            "",
            "evil.example",
            "[::1].evil.example",
            "[::1].evil.example:8081",
            "[::1]evil.example",
            "[::1",
            "[::1]]",
            "[[::1]]",
            "::1",
            "[::1%25lo]",
            "[2001:db8::1]",
            "localhost.evil.example",
            "evil-localhost",
            "evillocalhost",
            "localhost..",
            ".localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil",
            "127.0.0.1:8081:8081",
            "127.0.0.1:99999",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "localhost@evil.example",
            "localhost:8081@evil.example",
            "evil.example@localhost",
            "evil.example#localhost",
            "evil.example/localhost",
            "evil.example, localhost",
            "localhost evil.example",
            "ops.internal:9001",
            "ops.internal",
            "admin.internal.evil.example",
        ] {
            assert!(!allowed("/", &[host]), "{host}");
        }
    }

    #[test]
    fn a_request_goes_by_one_name() {
        assert!(allowed("http://localhost:8081/v1/status", &["localhost:8081"]));
        assert!(!allowed("http://evil.example/v1/status", &["localhost"]));
        assert!(!allowed("http://localhost/v1/status", &["evil.example"]));
        assert!(!allowed("/", &["localhost", "evil.example"]));
        assert!(!allowed("/", &["evil.example", "localhost"]));
        assert!(!allowed("/", &[]));
    }
}
