//! The Cache-Status field (RFC 9211): how the cache handled a request.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// This cache's member of Cache-Status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Answered from the store, without waiting for upstream.
    pub hit: bool,
    /// Why the request went upstream.
    pub fwd: Option<Fwd>,
    /// The status of upstream's response, if the client gets another response.
    pub fwd_status: Option<u16>,
    /// What is left of the lifetime, in ms; negative when stale.
    pub ttl_ms: Option<i64>,
    /// The answer was stored.
    pub stored: bool,
    /// The response came from another request's exchange.
    pub collapsed: bool,
    /// A detail, as a token.
    pub detail: Option<&'a str>,
    /// Written behind `detail`: the instance whose exchange it was, if that is another one.
    pub from: Option<&'a str>,
}

/// Why a request went upstream (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fwd {
    /// Not to be cached.
    Bypass,
    /// Its method is not answered from the store.
    Method,
    /// Nothing is stored under its key.
    UriMiss,
    /// Nothing stored is selected by its fields.
    VaryMiss,
    /// Stale.
    Stale,
    /// Not all of the wanted range is stored.
    Partial,
    /// The request's own directives.
    Request,
}

// === impl Fwd ===

impl Fwd {
    /// The value of the `fwd` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::Request => "request",
        }
    }
}

// === impl CacheStatus ===

impl CacheStatus<'_> {
    /// Writes the member of the cache called `name`, a token.
    pub fn write(&self, out: &mut impl fmt::Write, name: &str) -> fmt::Result {
        write_name(out, name)?;
        if self.hit {
            out.write_str("; hit")?;
        }
        if let Some(fwd) = self.fwd {
            write!(out, "; fwd={}", fwd.as_str())?;
        }
        if let Some(status) = self.fwd_status {
            write!(out, "; fwd-status={status}")?;
        }
        if let Some(ttl_ms) = self.ttl_ms {
            write!(out, "; ttl={}", ttl_ms.div_euclid(1000))?;
        }
        if self.stored {
            out.write_str("; stored")?;
        }
        if self.collapsed {
            out.write_str("; collapsed")?;
        }
        let Some(detail) = self.detail else { return Ok(()) };
        write!(out, "; detail={detail}")?;
        match self.from.filter(|from| from.chars().all(is_token)) {
            Some(from) => write!(out, ":{from}"),
            None => Ok(()),
        }
    }

    /// The member as a field value.
    pub fn value(&self, name: &str) -> HeaderValue {
        let mut text = String::with_capacity(64);
        // Writing to a String does not fail; a name that is no field value leaves the field empty.
        let _ = self.write(&mut text, name);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Adds the member behind those of caches nearer to the origin.
    pub fn append(&self, headers: &mut HeaderMap, name: &str) {
        headers.append(&CACHE_STATUS, self.value(name));
    }
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(letter)
}

/// Writes a token as it is, any other name as a quoted string (RFC 9211 §2).
fn write_name(out: &mut impl fmt::Write, name: &str) -> fmt::Result {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    if starts && name.chars().all(is_token) {
        return out.write_str(name);
    }
    out.write_char('"')?;
    for letter in name.chars().filter(|letter| matches!(letter, ' '..='~')) {
        if matches!(letter, '"' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(letter)?;
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let none = CacheStatus::default();
        for (status, want) in [
            (CacheStatus { hit: true, ttl_ms: Some(19_400), ..none }, "dustgate; hit; ttl=19"),
            (
                CacheStatus {
                    hit: true,
                    ttl_ms: Some(-3_001),
                    detail: Some("stale-while-revalidate"),
                    ..none
                },
                "dustgate; hit; ttl=-4; detail=stale-while-revalidate",
            ),
            (CacheStatus { fwd: Some(Fwd::UriMiss), stored: true, ..none }, "dustgate; fwd=uri-miss; stored"),
            (
                CacheStatus { fwd: Some(Fwd::UriMiss), collapsed: true, detail: Some("awaited"), ..none },
                "dustgate; fwd=uri-miss; collapsed; detail=awaited",
            ),
            (
                CacheStatus { detail: Some("awaited"), from: Some("host-1a"), ..none },
                "dustgate; detail=awaited:host-1a",
            ),
            (CacheStatus { detail: Some("awaited"), from: Some("a b"), ..none }, "dustgate; detail=awaited"),
            (
                CacheStatus { fwd: Some(Fwd::Stale), fwd_status: Some(304), stored: true, ..none },
                "dustgate; fwd=stale; fwd-status=304; stored",
            ),
            (
                CacheStatus { fwd: Some(Fwd::Bypass), detail: Some("authorization"), ..none },
                "dustgate; fwd=bypass; detail=authorization",
            ),
        ] {
            assert_eq!(status.value("dustgate"), want);
        }
        assert_eq!(none.value("my \"gate\""), "\"my \\\"gate\\\"\"");
    }

    #[test]
    fn behind_others() {
        let mut headers = HeaderMap::new();
        headers.append("cache-status", HeaderValue::from_static("origin; hit"));
        CacheStatus { hit: true, ..CacheStatus::default() }.append(&mut headers, "dustgate");
        let all: Vec<_> = headers.get_all("cache-status").iter().collect();
        assert_eq!(all, ["origin; hit", "dustgate; hit"]);
    }
}
