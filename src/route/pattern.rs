//! Patterns of hosts and paths.

use std::cmp::Reverse;
use std::fmt::{self, Display};

use crate::key::target::{self, Refusal, Scheme};

/// `name`, `*.name` (one label or more in front), either with `:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Lower case; without the `*.`.
    pub name: String,
    /// Whether one label or more must come before the name (`*.`).
    pub below: bool,
    /// `None`: any port.
    pub port: Option<u16>,
}

/// `/exact`, or `/below/*`: everything below that slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// A canonical path; ends with the slash if `below`.
    pub text: String,
    /// Whether every path below it matches.
    pub below: bool,
}

/// Why a pattern is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPattern {
    /// `*` as a host.
    EveryHost,
    /// Not a name, `*.name` or address.
    Host,
    /// A path that does not begin with a slash.
    NoSlash,
    /// A path with `?` or `#` in it.
    NoPath,
    /// A path that no request can have.
    Path(Refusal),
}

// === impl HostPattern ===

impl HostPattern {
    /// Parses a pattern of hosts.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text == "*" {
            return Err(BadPattern::EveryHost);
        }
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        // With this scheme 443 is kept, and only 80 is dropped as the default: it is looked for separately.
        let host = target::host(name, Scheme::Http).map_err(|_| BadPattern::Host)?;
        let eighty =
            name.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(80u16) && !name.ends_with(']'));
        let port = host.port.or(eighty.then_some(80));
        Ok(Self { name: host.name().to_owned(), below, port })
    }

    /// Returns whether a host and port match.
    pub fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let name = if self.below {
            host.strip_suffix(self.name.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
        } else {
            host == self.name
        };
        name && (self.port.is_none() || self.port == port)
    }

    /// Less is more specific: a name, then the longest `*.`; with a port before without.
    pub(super) fn rank(&self) -> (bool, Reverse<usize>, bool) {
        (self.below, Reverse(if self.below { self.name.len() } else { 0 }), self.port.is_none())
    }
}

impl Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

// === impl PathPattern ===

impl PathPattern {
    /// Parses a pattern of paths, and brings it to the canonical form of requests' paths.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if !text.starts_with('/') {
            return Err(BadPattern::NoSlash);
        }
        if text.contains(['?', '#']) {
            return Err(BadPattern::NoPath);
        }
        let below = text.ends_with("/*");
        let text = if below { &text[..text.len() - 1] } else { text };
        let text = target::canonical_path(text).map_err(BadPattern::Path)?;
        Ok(Self { text, below })
    }

    /// Returns whether a canonical path matches.
    pub fn matches(&self, path: &str) -> bool {
        if self.below { path.starts_with(&self.text) } else { path == self.text }
    }

    /// Less is more specific: an exact path, then the longest prefix.
    pub(super) fn rank(&self) -> (bool, Reverse<usize>) {
        (self.below, Reverse(if self.below { self.text.len() } else { 0 }))
    }
}

impl Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.below { "*" } else { "" })
    }
}

// === impl BadPattern ===

impl Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryHost => f.write_str("leave `host` out to match every host"),
            Self::Host => f.write_str("a host is a name or \"*.name\", perhaps with a port"),
            Self::NoSlash => f.write_str("a path begins with \"/\"; \"/*\" is every path"),
            Self::NoPath => f.write_str("a path has no \"?\" or \"#\" in it"),
            Self::Path(refusal) => write!(f, "no request can have this path: {refusal}"),
        }
    }
}

impl std::error::Error for BadPattern {}
