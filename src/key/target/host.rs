//! Authorities: a name or an address, and an optional port.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::{Refusal, Scheme};

/// The longest host that is accepted, as in the DNS.
const MAX_HOST: usize = 253;

/// The host of an authority, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    /// The port that was written, unless it is the scheme's own.
    pub port: Option<u16>,
}

/// Checks an authority as in Host or in a URL, for a client of `scheme`.
pub fn host(authority: &str, scheme: Scheme) -> Result<Host<'_>, Refusal> {
    if authority.contains('@') {
        return Err(Refusal::UserInfo);
    }
    let (name, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or(Refusal::BadHost)?;
        authority.split_at(end + 1)
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        // An empty port is the scheme's own (RFC 3986 §3.2.3).
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| Refusal::BadHost)?)
        }
        _ => return Err(Refusal::BadHost),
    };
    let name = if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or(address);
        let address: Ipv6Addr = address.parse().map_err(|_| Refusal::BadHost)?;
        Cow::Owned(format!("[{address}]"))
    } else {
        registered(name)?
    };
    Ok(Host { name, port: port.filter(|&port| port != scheme.default_port()) })
}

fn registered(name: &str) -> Result<Cow<'_, str>, Refusal> {
    // A name that ends with a dot is fully qualified, and the same host.
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(Refusal::EmptyHost);
    }
    let mut upper = false;
    let mut last = b'.';
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if last != b'.' => {}
            _ => return Err(Refusal::BadHost),
        }
        last = byte;
    }
    if last == b'.' || name.len() > MAX_HOST {
        return Err(Refusal::BadHost);
    }
    Ok(if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) })
}

// === impl Host ===

impl Host<'_> {
    /// No host at all.
    pub(super) fn none() -> Self {
        Self { name: Cow::Borrowed(""), port: None }
    }

    /// The name in lower case; an IPv6 address in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.name.len()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self == other
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(&self.name);
    }
}
