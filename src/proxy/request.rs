//! One request on its way, and its client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Method};

use crate::body::Reader;
use crate::key::target::{Scheme, Target};
use crate::policy::{Fwd, RequestFacts};
use crate::proxy::connection::Presence;
use crate::proxy::request::access::RequestLog;
use crate::route::Route;
use crate::units::Net;

pub mod access;
pub(crate) mod binding;
pub(crate) mod broken;
pub(crate) mod hop_headers;

/// A request that has found its route.
pub(crate) struct CacheRequest {
    pub method: Method,
    /// All its fields, without those of the connection.
    pub headers: HeaderMap,
    /// The canonical target.
    pub target: Target,
    pub route: Arc<Route>,
    /// The facts that the policy derived from it.
    pub ask: RequestFacts,
    /// Its client, as the connection or a trusted proxy tells.
    pub forwarded: Forwarded,
    /// Why it goes upstream, by what is stored; none if it does not.
    pub forward: Option<Fwd>,
    /// Its line in the log.
    pub ticket: Box<RequestLog>,
    /// Its reader of a body that it is about to be given: the first bytes stay in memory meanwhile.
    pub seat: Option<Box<Mutex<Reader>>>,
}

/// The client of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address at the other end.
    pub peer: SocketAddr,
    /// Whether it is still there, as far as its connection tells.
    pub(crate) presence: Arc<Presence>,
}

/// Where a request came from, as the connection or a trusted proxy tells.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The client's address.
    pub client: IpAddr,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The client's scheme.
    pub scheme: Scheme,
    /// The authority that the client asked for, as a trusted proxy wrote it; not checked yet.
    pub host: Option<String>,
    /// Whether the connection is a trusted proxy's.
    pub trusted: bool,
}

impl CacheRequest {
    /// Lets the request wait for an exchange as long as this client is there.
    #[must_use]
    pub(crate) fn of(mut self, client: &Client) -> Self {
        self.ticket.presence = Some(client.presence.clone());
        self
    }
}

impl Client {
    /// A client at this address that is still there.
    pub fn at(peer: SocketAddr) -> Self {
        Self { peer, presence: Arc::default() }
    }
}

impl Forwarded {
    /// For a request that no client has sent.
    pub(crate) fn nowhere(scheme: Scheme) -> Self {
        let address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Self { client: address, peer: address, scheme, host: None, trusted: false }
    }

    /// Reads X-Forwarded-*, which is believed of trusted proxies only.
    pub(crate) fn read(peer: SocketAddr, trusted: &[Net], headers: &HeaderMap) -> Self {
        let client = peer.ip().to_canonical();
        if !trusted.iter().any(|net| net.0.contains(&client)) {
            return Self { client, peer: client, scheme: Scheme::Http, host: None, trusted: false };
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let chain: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .collect();
        // From the right: the first address that is not a trusted proxy's own is the client's.
        let named = chain
            .iter()
            .rev()
            .map_while(|member| member.parse::<IpAddr>().ok())
            .find(|address| !trusted.iter().any(|net| net.0.contains(address)));
        let scheme = match text("x-forwarded-proto") {
            Some(proto) if proto.trim().eq_ignore_ascii_case("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        Self {
            client: named.unwrap_or(client),
            peer: client,
            scheme,
            host: believed_host(headers),
            trusted: true,
        }
    }
}

/// The value of X-Forwarded-Host. Several field lines are joined, which makes no valid authority, so that
/// they are refused where it is checked: which of them the client wrote, and which its proxy, can't be told.
fn believed_host(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<_> = headers.get_all("x-forwarded-host").iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| String::from_utf8_lossy(&lines.join(&b","[..])).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(peer: &str, fields: &[(&'static str, &'static str)]) -> Forwarded {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a field value"));
        }
        let trusted: Vec<Net> = vec!["10.0.0.0/8".parse().expect("a net")];
        Forwarded::read(format!("{peer}:1").parse().expect("an address"), &trusted, &headers)
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let stranger = read("192.0.2.1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        assert_eq!(stranger.client.to_string(), "192.0.2.1");
        assert_eq!(stranger.scheme, Scheme::Http);
        let proxy = read("10.1.1.1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        assert_eq!(proxy.client.to_string(), "1.2.3.4");
        assert_eq!(proxy.scheme, Scheme::Https);
    }

    #[test]
    fn the_host_is_believed_whole_or_not_at_all() {
        let host = |peer, fields: &[_]| read(peer, fields).host;
        let field = |value| ("x-forwarded-host", value);
        assert_eq!(host("192.0.2.1", &[field("a.test")]), None);
        assert_eq!(host("10.1.1.1", &[]), None);
        assert_eq!(host("10.1.1.1", &[field(" a.test:81 ")]).as_deref(), Some("a.test:81"));
        assert_eq!(host("10.1.1.1", &[field("a.test"), field("b.test")]).as_deref(), Some("a.test,b.test"));
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        let forged = read("10.1.1.1", &[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9")]);
        assert_eq!(forged.client.to_string(), "1.2.3.4");
    }
}
