//! The committed lists: what fails, what those cases find that only look, and what differs from it.

use std::collections::BTreeMap;

use crate::suite::{Case, Edition, Results, here};

/// The part of the suite that asks for a field that is not spoken: Surrogate-Control. What became
/// its successor, CDN-Cache-Control (RFC 9213), is.
pub const NOT_SPOKEN: &str = "surrogate-control";

/// Cases that fail in one edition.
pub struct Expected(BTreeMap<String, Vec<String>>);

/// What the cases of kind `check` find in one edition: whether the answer to their question is yes.
pub struct Choices(BTreeMap<String, Vec<String>>);

// === impl Expected ===

impl Expected {
    /// Those of an edition.
    pub fn of(edition: Edition) -> Self {
        Self(lines("expected.txt", edition))
    }

    /// The same without these, should they be cases of the edition.
    pub fn but(mut self, ids: &[&str]) -> Self {
        self.0.retain(|id, _| !ids.contains(&id.as_str()));
        self
    }

    /// Their names.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A line for each case that is not as expected. Those that only look (`check`) count neither
    /// way.
    pub fn surprises(&self, cases: &[Case], results: &Results) -> Vec<String> {
        let counted = || cases.iter().filter(|case| case.kind != "check" && case.section != NOT_SPOKEN);
        let mut surprises: Vec<String> = counted()
            .filter_map(|case| {
                let expected = self.0.contains_key(&case.id);
                match results.get(&case.id) {
                    None => Some(format!("was not run: {}", case.id)),
                    Some(None) if expected => Some(format!("passes now, and is listed: {}", case.id)),
                    Some(Some(why)) if !expected => Some(format!("fails: {} ({why})", case.id)),
                    Some(_) => None,
                }
            })
            .collect();
        let unknown = self.ids().filter(|id| !counted().any(|case| case.id == *id));
        surprises.extend(unknown.map(|id| format!("is listed, and no case of this edition: {id}")));
        surprises
    }
}

// === impl Choices ===

impl Choices {
    /// Those of an edition.
    pub fn of(edition: Edition) -> Self {
        Self(lines("choices.txt", edition))
    }

    /// A line for each case whose answer is not the listed one.
    pub fn surprises(&self, cases: &[Case], results: &Results) -> Vec<String> {
        let looks = || cases.iter().filter(|case| case.kind == "check");
        let mut surprises: Vec<String> = looks()
            .filter_map(|case| {
                let now = if results.get(&case.id)?.is_none() { "yes" } else { "no" };
                match self.0.get(&case.id).map(|words| words[0].as_str()) {
                    Some(listed) if listed == now => None,
                    Some(_) => Some(format!("the answer is {now} now: {}", case.id)),
                    None => Some(format!("no word of why the answer is {now}: {}", case.id)),
                }
            })
            .collect();
        let unknown = self.0.keys().filter(|id| !looks().any(|case| case.id == **id));
        surprises.extend(unknown.map(|id| format!("is listed, and does not only look: {id}")));
        surprises
    }
}

/// The lines of a list that are of an edition, by their case: an edition, other words, the case, the
/// reason.
fn lines(file: &str, edition: Edition) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(here().join(file)).unwrap();
    let read = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned).peekable();
        let counts = match words.next()?.as_str() {
            "both" => true,
            "npm" => edition == Edition::Npm,
            "new" => edition == Edition::New,
            other => panic!("{other} is no edition"),
        };
        let before = words.next_if(|word| word == "yes" || word == "no");
        let id = words.next()?;
        assert!(words.next().is_some(), "no reason for {id}");
        counts.then(|| (id, before.into_iter().collect()))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(read).collect()
}
