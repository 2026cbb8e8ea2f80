//! The committed list of what fails, and what differs from it.

use std::collections::BTreeSet;

use crate::suite::{Case, Edition, Results, here};

/// The part of the suite that asks for a field that is not spoken: Surrogate-Control. What became
/// its successor, CDN-Cache-Control (RFC 9213), is.
pub const NOT_SPOKEN: &str = "surrogate-control";

/// Cases that fail in one edition.
pub struct Expected(BTreeSet<String>);

// === impl Expected ===

impl Expected {
    /// Those of an edition.
    pub fn of(edition: Edition) -> Self {
        let text = std::fs::read_to_string(here().join("expected.txt")).unwrap();
        let named = |line: &str| {
            let mut words = line.split_whitespace();
            let (editions, id) = (words.next()?, words.next()?);
            assert!(words.next().is_some(), "no reason for {id}");
            let counts = match editions {
                "both" => true,
                "npm" => edition == Edition::Npm,
                "new" => edition == Edition::New,
                other => panic!("{other} is no edition"),
            };
            counts.then(|| id.to_owned())
        };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(named).collect())
    }

    /// A line for each case that is not as expected. Those that only look (`check`) count neither
    /// way.
    pub fn surprises(&self, cases: &[Case], results: &Results) -> Vec<String> {
        let counted = || cases.iter().filter(|case| case.kind != "check" && case.section != NOT_SPOKEN);
        let mut surprises: Vec<String> = counted()
            .filter_map(|case| {
                let expected = self.0.contains(&case.id);
                match results.get(&case.id) {
                    None => Some(format!("was not run: {}", case.id)),
                    Some(None) if expected => Some(format!("passes now, and is listed: {}", case.id)),
                    Some(Some(why)) if !expected => Some(format!("fails: {} ({why})", case.id)),
                    Some(_) => None,
                }
            })
            .collect();
        let unknown = self.0.iter().filter(|id| !counted().any(|case| case.id == **id));
        surprises.extend(unknown.map(|id| format!("is listed, and no case of this edition: {id}")));
        surprises
    }
}
