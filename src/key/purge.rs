//! What a purge names: the responses that are to go.

use std::collections::HashSet;

/// One thing to purge.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purge {
    /// One URL, in all its variants, and whatever else its key consists of.
    Url(String),
    /// What has a tag: on all hosts, or on one.
    Tag {
        /// The tag.
        tag: String,
        /// The host, if it is not to be purged on others.
        host: Option<String>,
    },
    /// What is below a URL that ends in a slash: `https://host/path/`.
    Prefix(String),
    /// What is of a host.
    Host(String),
    /// What a route takes.
    Route(String),
    /// Everything that is stored.
    All,
}

/// The most things that are purged in one go.
pub const MOST: usize = 1_000;
/// How much of what was purged the log says, in bytes.
const MOST_SAID: usize = 1_024;

// === impl Purge ===

impl Purge {
    /// What the log says of it. The path of a URL is enough: values of a query may be secret.
    fn said(&self) -> &str {
        match self {
            Self::Url(url) => url.split('?').next().unwrap_or_default(),
            Self::Tag { tag, .. } => tag,
            Self::Prefix(text) | Self::Host(text) | Self::Route(text) => text,
            Self::All => "everything",
        }
    }
}

/// Leaves each thing once, where it comes first.
pub fn leave_once(what: &mut Vec<Purge>) {
    let mut seen = HashSet::with_capacity(what.len());
    what.retain(|one| seen.insert(one.clone()));
}

/// What the log says of things to purge.
pub fn said(what: &[Purge]) -> String {
    let mut said = String::new();
    for one in what {
        if said.len() > MOST_SAID {
            said.push_str(" …");
            break;
        }
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(one.said());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_is_purged_without_queries_and_not_at_any_length() {
        let url = |url: &str| Purge::Url(url.into());
        assert_eq!(said(&[url("http://h/a?secret"), Purge::Host("h".into())]), "http://h/a h");
        let many = vec![url("http://h/a"); 1_000];
        assert!(said(&many).len() < MOST_SAID + 32 && said(&many).ends_with(" …"));
    }
}
