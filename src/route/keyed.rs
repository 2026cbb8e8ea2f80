//! Request fields that name a response, beside its URL.

use std::fmt::{self, Display, Write as _};

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

/// One entry of `vary_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyedField {
    /// A whole field.
    Header(HeaderName),
    /// One cookie, by its name.
    Cookie(String),
}

/// Fields beside Authorization and Cookie whose values open doors.
const SECRET: [&str; 4] = ["x-api-key", "api-key", "x-auth-token", "x-access-token"];
const HEX: &[u8; 16] = b"0123456789abcdef";

// === impl KeyedField ===

impl KeyedField {
    /// A field's name, or `cookie:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((kind, name)) => {
                let token = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b'=' | b',' | b'"'));
                (kind.eq_ignore_ascii_case("cookie") && token).then(|| Self::Cookie(name.to_owned()))
            }
            None => text.parse().ok().map(Self::Header),
        }
    }

    /// The field that it is read from.
    pub fn field(&self) -> &HeaderName {
        match self {
            Self::Header(name) => name,
            Self::Cookie(_) => &COOKIE,
        }
    }

    /// Whether its values are credentials, which go into keys only as SHA-256.
    pub fn is_credential(&self) -> bool {
        match self {
            Self::Header(name) => {
                *name == AUTHORIZATION
                    || *name == COOKIE
                    || *name == PROXY_AUTHORIZATION
                    || SECRET.contains(&name.as_str())
            }
            Self::Cookie(_) => true,
        }
    }

    /// Appends the key's line for it: `\nname: value`, or `\nname` if the request has none.
    pub(super) fn write(&self, out: &mut String, headers: &HeaderMap) {
        out.push('\n');
        match self {
            Self::Header(name) => {
                out.push_str(name.as_str());
                let mut lines = headers.get_all(name).iter().peekable();
                if lines.peek().is_none() {
                    return;
                }
                out.push_str(": ");
                if self.is_credential() {
                    let mut digest = Sha256::new();
                    for (at, line) in lines.enumerate() {
                        digest.update(if at == 0 { &b""[..] } else { b", " });
                        digest.update(line.as_bytes());
                    }
                    push_hex(out, &digest.finalize());
                } else {
                    for (at, line) in lines.enumerate() {
                        out.push_str(if at == 0 { "" } else { "," });
                        push_value(out, line);
                    }
                }
            }
            Self::Cookie(name) => {
                out.push_str("cookie:");
                out.push_str(name);
                // Origins differ in which of several of one name they take: all of them count.
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
            Self::Header(name) => f.write_str(name.as_str()),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        rest.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii)
    })
}

/// White space around commas is folded. What is not visible ASCII is escaped, and `%` too, so
/// that two values never look alike.
fn push_value(out: &mut String, value: &HeaderValue) {
    for (at, member) in value.as_bytes().split(|&byte| byte == b',').enumerate() {
        if at > 0 {
            out.push(',');
        }
        for &byte in member.trim_ascii() {
            if (b' '..=b'~').contains(&byte) && byte != b'%' {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}
