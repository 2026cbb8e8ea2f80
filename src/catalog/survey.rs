//! A survey: all bodies that the entries name, read as one listing. For a store that allows few calls.
//!
//! The locks are listed first, then all other entries. So a fill that ends in between is found by one of
//! them. What is stored after the survey began is not in it: it judges only what was stored before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Catalog, Reading, reading};
use crate::dust::{Entry, Error, Number, Part, Result, Value};
use crate::flight::Names;
use crate::record::codec::Limits;
use crate::record::{Manifest, Note};

/// What the entries of all keys name, by the hashes of the keys.
#[derive(Debug, Default)]
pub struct Survey {
    leased: HashSet<String>,
    named: HashMap<String, Vec<Manifest>>,
    claimed: HashSet<(String, Number)>,
}

/// An entry by its name.
#[derive(Debug, PartialEq, Eq)]
enum Of<'a> {
    Value(&'a str),
    Verdict(&'a str),
    Claim(&'a str, Number),
    Other,
}

impl Catalog {
    /// Lists what all entries name.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        let root: Arc<str> = self.root.as_str().into();
        for prefix in [Names::of(&root).lock, root.clone()] {
            let mut from: Option<String> = None;
            loop {
                let Part { entries, next } = self.part(&prefix, from.as_deref()).await?;
                let (prefix, limits) = (prefix.clone(), self.limits());
                let broken = |error: tokio::task::JoinError| Error::Broken(error.to_string());
                survey =
                    spawn_blocking(move || survey.with(&prefix, &entries, &limits)).await.map_err(broken)?;
                let Some(next) = next else { break };
                from = Some(next);
            }
        }
        Ok(survey)
    }
}

impl Survey {
    /// Returns the bodies that a key's entries name. `None` if the key is being filled.
    pub fn bodies_of(&self, hash: &str) -> Option<&[Manifest]> {
        let is_leased = self.leased.contains(hash);
        (!is_leased).then(|| self.named.get(hash).map_or(&[][..], Vec::as_slice))
    }

    /// Returns whether a fill of this key goes on that has segments named by this number.
    pub fn is_claimed(&self, hash: &str, number: Number) -> bool {
        self.claimed.contains(&(hash.to_owned(), number))
    }

    /// Adds entries whose names begin with `prefix`. Decoding takes long: not for a task that others wait for.
    fn with(mut self, prefix: &str, entries: &[(String, Entry)], limits: &Limits) -> Self {
        for (name, entry) in entries {
            let Some(name) = name.strip_prefix(prefix) else { continue };
            if matches!(entry.value, Value::Lease { .. }) {
                self.leased.insert(name.to_owned());
                continue;
            }
            let (hash, body) = match Of::name(name) {
                Of::Value(hash) => (hash, Reading::of(entry, limits).record().map(|record| record.body)),
                Of::Verdict(hash) => (hash, growing(entry, limits)),
                Of::Claim(hash, number) => {
                    self.claimed.insert((hash.to_owned(), number));
                    continue;
                }
                Of::Other => continue,
            };
            if let Some(body) = body {
                self.named.entry(hash.to_owned()).or_default().push(body);
            }
        }
        self
    }
}

impl<'a> Of<'a> {
    /// Reads a name without its prefix: see the table of names above.
    fn name(name: &'a str) -> Self {
        let Some((hash, rest)) = name.split_once('!') else { return Self::Value(name) };
        if rest.is_empty() {
            return Self::Verdict(hash);
        }
        let claim = rest.strip_suffix('w').and_then(|number| number.parse().ok());
        claim.map_or(Self::Other, |number| Self::Claim(hash, number))
    }
}

fn growing(entry: &Entry, limits: &Limits) -> Option<Manifest> {
    match reading::note(entry, limits)? {
        Note::Growing { head, .. } => Some(head.body),
        Note::Pass { .. } | Note::Failed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_an_entry_is() {
        for (name, of) in [
            ("9f", Of::Value("9f")),
            ("9f!", Of::Verdict("9f")),
            ("9f!12w", Of::Claim("9f", 12)),
            ("9f!12", Of::Other),
            ("9f!xw", Of::Other),
        ] {
            assert_eq!(Of::name(name), of, "{name}");
        }
    }
}
