//! What this hop writes into upstream requests: that they came through it, and what the client asked for.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::vary::normal;

/// What this hop writes into upstream requests.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// `server.name`, for Via.
    pub name: &'a str,
    /// The fleet's id, for CDN-Loop (RFC 8586).
    pub fleet: &'a str,
    /// The client's scheme, as the key has it.
    pub scheme: &'a str,
    /// The client's host, with its port if it gave one that may be forwarded; empty if it named none.
    pub host: &'a str,
    /// A host without a port has that of the scheme. Otherwise its port may be any, and is not told.
    pub is_whole: bool,
    /// The client's address, where this request is to carry it.
    pub client: Option<IpAddr>,
    /// The peer is one of `trusted_proxies`: what it says of its own client is kept.
    pub trusted: bool,
    /// The fields that tell the origin scheme, host and address.
    pub fields: ForwardedFields,
}

/// By which fields the origin is told what the client asked for, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFields {
    /// X-Forwarded-Proto, -Host, -Port and -For.
    #[default]
    X,
    /// Forwarded (RFC 7239).
    Rfc7239,
    /// Both.
    Both,
}

pub(super) static CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A node's identifier (RFC 7239 §6) for what X-Forwarded-For calls it.
fn node(said: &str) -> String {
    match said.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => format!("\"[{address}]\""),
        Err(_) => match said.parse::<SocketAddr>() {
            Ok(address) => format!("\"{address}\""),
            Err(_) => "unknown".to_owned(),
        },
    }
}

/// A value as a token, or as a quoted string if it is none.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

// === impl Hop ===

impl Hop<'_> {
    /// Writes the fields of this hop. `client` has the request's own.
    pub(super) fn write(&self, sent: &mut HeaderMap, client: &HeaderMap) {
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
        write(header::VIA, format!("1.1 {}", self.name), true);
        write(CDN_LOOP.clone(), self.fleet.to_owned(), true);
        if self.fields != ForwardedFields::Rfc7239 {
            write(X_FORWARDED_PROTO.clone(), self.scheme.to_owned(), false);
            if !self.host.is_empty() {
                write(X_FORWARDED_HOST.clone(), self.host.to_owned(), false);
                if let Some(port) = self.port() {
                    write(X_FORWARDED_PORT.clone(), port.to_owned(), false);
                }
            }
            if let Some(address) = self.client {
                let before = if self.trusted { normal(&X_FORWARDED_FOR, client) } else { None };
                let chain =
                    before.map_or_else(|| address.to_string(), |before| format!("{before}, {address}"));
                write(X_FORWARDED_FOR.clone(), chain, false);
            }
        }
        if self.fields != ForwardedFields::X {
            write(header::FORWARDED, self.forwarded(client), false);
        }
    }

    /// The port that was asked for: the host's, or that of the scheme. `None` if it is not known.
    fn port(&self) -> Option<&str> {
        match self.host.rsplit_once(':') {
            // The last colon of an address in brackets stands before no port.
            Some((_, port)) if !port.ends_with(']') => Some(port),
            _ if !self.is_whole => None,
            _ if self.scheme == "https" => Some("443"),
            _ => Some("80"),
        }
    }

    /// The value of Forwarded: one element of this hop, and before it those of a trusted proxy, if the request
    /// is to carry addresses at all.
    fn forwarded(&self, client: &HeaderMap) -> String {
        let mut elements = String::new();
        if let Some(address) = self.client {
            if self.trusted {
                for element in before(client) {
                    elements.push_str(&element);
                    elements.push_str(", ");
                }
            }
            elements.push_str("for=");
            elements.push_str(&node(&address.to_string()));
            elements.push(';');
        }
        if !self.host.is_empty() {
            elements.push_str("host=");
            elements.push_str(&quoted(self.host));
            elements.push(';');
        }
        elements.push_str("proto=");
        elements.push_str(self.scheme);
        elements
    }
}

/// The elements that a trusted proxy wrote: in Forwarded, or else in X-Forwarded-For (RFC 7239 §7.4).
fn before(client: &HeaderMap) -> Vec<String> {
    let lines = |field| client.get_all(field).iter().filter_map(|line| line.to_str().ok());
    let whole: Vec<_> = lines(header::FORWARDED).map(str::trim).filter(|line| !line.is_empty()).collect();
    if !whole.is_empty() {
        return whole.into_iter().map(str::to_owned).collect();
    }
    let members = lines(X_FORWARDED_FOR.clone()).flat_map(|line| line.split(',')).map(str::trim);
    members.filter(|member| !member.is_empty()).map(|member| format!("for={}", node(member))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: Hop<'static> = Hop {
        name: "dustgate",
        fleet: "f1",
        scheme: "https",
        host: "api.test",
        is_whole: true,
        client: None,
        trusted: false,
        fields: ForwardedFields::Both,
    };

    fn written(hop: &Hop<'_>, client: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut came = HeaderMap::new();
        for (name, value) in client {
            came.append(*name, HeaderValue::from_static(value));
        }
        let mut sent = HeaderMap::new();
        hop.write(&mut sent, &came);
        sent
    }

    #[test]
    fn the_port_is_the_one_that_was_asked_for() {
        for (scheme, host, port, quoted) in [
            ("https", "api.test", "443", "api.test"),
            ("http", "api.test", "80", "api.test"),
            ("https", "api.test:8443", "8443", "\"api.test:8443\""),
            ("http", "[::1]", "80", "\"[::1]\""),
            ("http", "[::1]:8080", "8080", "\"[::1]:8080\""),
        ] {
            let sent = written(&Hop { scheme, host, ..HOP }, &[]);
            assert_eq!(sent["x-forwarded-host"], host);
            assert_eq!(sent["x-forwarded-port"], port, "{host}");
            assert_eq!(sent["forwarded"], format!("host={quoted};proto={scheme}"), "{host}");
        }
        let sent = written(&Hop { is_whole: false, ..HOP }, &[]);
        assert!(sent["x-forwarded-host"] == "api.test" && !sent.contains_key("x-forwarded-port"));
        let sent = written(&Hop { is_whole: false, host: "api.test:8443", ..HOP }, &[]);
        assert_eq!(sent["x-forwarded-port"], "8443");
        let sent = written(&Hop { host: "", ..HOP }, &[]);
        assert!(!sent.contains_key("x-forwarded-host") && !sent.contains_key("x-forwarded-port"));
        assert_eq!(sent["forwarded"], "proto=https");
    }

    #[test]
    fn the_setting_says_which_fields_there_are() {
        let tells = Hop { client: Some([192, 0, 2, 1].into()), ..HOP };
        for (fields, x, rfc) in [
            (ForwardedFields::X, true, false),
            (ForwardedFields::Rfc7239, false, true),
            (ForwardedFields::Both, true, true),
        ] {
            let sent = written(&Hop { fields, ..tells }, &[]);
            let has = sent.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).count();
            assert_eq!((has, sent.contains_key("forwarded")), (if x { 4 } else { 0 }, rfc), "{fields:?}");
        }
    }

    #[test]
    fn the_chain_is_that_of_a_trusted_proxy_and_only_where_addresses_are_told() {
        let rfc = [("forwarded", "for=6.6.6.6;by=_a"), ("forwarded", "for=\"[2001:db8::1]:5\"")];
        let x = [("x-forwarded-for", "6.6.6.6, 2001:db8::1"), ("x-forwarded-for", "[::1]:5,7.7.7.7:8, me")];
        let tells = Hop { client: Some("2001:db8::2".parse().unwrap()), trusted: true, ..HOP };
        let own = "for=\"[2001:db8::2]\";host=api.test;proto=https";
        let after = |before: &str| format!("{before}, {own}");
        let said = "for=6.6.6.6;by=_a, for=\"[2001:db8::1]:5\"";
        let turned = "for=6.6.6.6, for=\"[2001:db8::1]\", for=\"[::1]:5\", for=\"7.7.7.7:8\", for=unknown";
        assert_eq!(written(&tells, &rfc)["forwarded"], after(said));
        assert_eq!(written(&tells, &x)["forwarded"], after(turned));
        assert_eq!(written(&tells, &[rfc, x].concat())["forwarded"], after(said));
        assert_eq!(written(&tells, &[])["forwarded"], own);
        assert_eq!(written(&Hop { trusted: false, ..tells }, &rfc)["forwarded"], own);
        let without = written(&Hop { client: None, ..tells }, &rfc);
        assert_eq!(without["forwarded"], "host=api.test;proto=https");
    }
}
