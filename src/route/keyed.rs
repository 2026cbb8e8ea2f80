//! Request fields that are in the key, beside the URL.

use std::fmt::{self, Display};

use http::header::{COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::cookies::is_cookie_name;
use crate::policy::{dashed, is_known_secret, normal_into};

/// One entry of `vary_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyedField {
    /// A whole field.
    Header(HeaderName),
    /// A whole field that the route calls secret.
    Secret(HeaderName),
    /// One cookie, by its name.
    Cookie(String),
}

const HEX: &[u8; 16] = b"0123456789abcdef";

// === impl KeyedField ===

impl KeyedField {
    /// A field's name, or `cookie:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((kind, name)) => (kind.eq_ignore_ascii_case("cookie") && is_cookie_name(name))
                .then(|| Self::Cookie(name.to_owned())),
            None => text.parse().ok().map(Self::Header),
        }
    }

    /// The field that it is read from.
    pub fn field(&self) -> &HeaderName {
        match self {
            Self::Header(name) | Self::Secret(name) => name,
            Self::Cookie(_) => &COOKIE,
        }
    }

    /// Returns whether this entry covers a pair of a Cookie field.
    pub(super) fn is_cookie(&self, pair: &[u8]) -> bool {
        matches!(self, Self::Cookie(name) if value(pair, name).is_some())
    }

    /// Appends its line of the key: `\nname: value`, or `\nname` if the request has no such field. The value
    /// is in the normal form that selects variants, too; of secrets and cookies it is a digest.
    pub(super) fn write(&self, out: &mut String, headers: &HeaderMap) {
        out.push('\n');
        match self {
            Self::Header(name) | Self::Secret(name) => {
                out.push_str(name.as_str());
                if !headers.contains_key(name) {
                    return;
                }
                out.push_str(": ");
                if matches!(self, Self::Secret(_)) || is_secret(name) {
                    let mut digest = Sha256::new();
                    for line in headers.get_all(name) {
                        digest.update(line.as_bytes());
                        digest.update(b"\n");
                    }
                    push_hex(out, &digest.finalize());
                } else {
                    normal_into(out, name, headers);
                }
            }
            Self::Cookie(name) => {
                out.push_str("cookie:");
                out.push_str(name);
                // Of several cookies of one name, origins differ in which they take: all of them count.
                let mut digest = None;
                for value in cookies(headers, name) {
                    let digest = digest.get_or_insert_with(Sha256::new);
                    digest.update(value);
                    digest.update(b";");
                }
                if let Some(digest) = digest {
                    out.push_str(": ");
                    push_hex(out, &digest.finalize());
                }
            }
        }
    }
}

impl Display for KeyedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) | Self::Secret(name) => f.write_str(name.as_str()),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// Returns whether a field other than Authorization and Cookie holds credentials, by its name in any spelling
/// that some origin takes for it.
fn is_secret(name: &HeaderName) -> bool {
    is_known_secret(&dashed(name.as_str())) || name == PROXY_AUTHORIZATION
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes()));
    pairs.filter_map(move |pair| value(pair, name))
}

/// The pairs of a Cookie field.
pub(super) fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

/// The value of a cookie pair, if it has that name.
fn value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = pair.strip_prefix(name.as_bytes())?;
    rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii)
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}
