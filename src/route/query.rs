//! Which query parameters are in the key, and in which order.

use std::fmt::{self, Display};

/// How a request's query becomes that of the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryRule {
    /// Which parameters stay.
    pub which: Which,
    /// Whether they are sorted by name. Those of one name keep their order.
    pub sort: bool,
}

/// Which parameters stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Which {
    /// All.
    #[default]
    All,
    /// These.
    Include(Vec<NamePattern>),
    /// All but these.
    Exclude(Vec<NamePattern>),
}

/// A parameter's name, or its beginning: `page`, `utm_*`. It is compared with decoded names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    begins: bool,
}

/// How many parameters are sorted without allocating.
const FEW: usize = 24;

// === impl QueryRule ===

impl QueryRule {
    /// Returns whether every query is left as it is.
    pub fn keeps_all(&self) -> bool {
        self.which == Which::All && !self.sort
    }

    /// Appends `?query`, or nothing if there is no query or no parameter stays.
    pub fn write(&self, out: &mut String, query: Option<&str>) {
        self.write_as(out, query, query);
    }

    /// As [`QueryRule::write`], in the client's spelling, which has its `&` and `=` where the canonical query
    /// has them. Names are judged and sorted by the canonical query.
    pub fn write_as(&self, out: &mut String, query: Option<&str>, spelled: Option<&str>) {
        let (Some(query), Some(spelled)) = (query, spelled) else { return };
        if self.keeps_all() {
            out.push('?');
            out.push_str(spelled);
        } else if self.sort {
            self.write_sorted(out, query, spelled);
        } else {
            join(out, self.kept(query, spelled).map(|(_, spelled)| spelled));
        }
    }

    /// The names of parameters that are dropped, each as often as it occurs; for explain.
    pub fn dropped<'a>(&'a self, query: &'a str) -> impl Iterator<Item = &'a str> {
        query.split('&').map(name).filter(|name| !self.keeps(name))
    }

    /// The parameters that stay: each one's name in the canonical form, and as it is spelled.
    fn kept<'a>(&'a self, query: &'a str, spelled: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pieces = query.split('&').map(name).zip(spelled.split('&'));
        pieces.filter(|(name, _)| self.keeps(name))
    }

    fn keeps(&self, name: &str) -> bool {
        match &self.which {
            Which::All => true,
            Which::Include(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            Which::Exclude(patterns) => !patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }

    fn write_sorted(&self, out: &mut String, query: &str, spelled: &str) {
        let mut few = [("", ""); FEW];
        let mut count = 0;
        for piece in self.kept(query, spelled) {
            if count == FEW {
                let mut many: Vec<_> = self.kept(query, spelled).collect();
                many.sort_by_key(|(name, _)| *name);
                return join(out, many.into_iter().map(|(_, spelled)| spelled));
            }
            // A stable insertion sort: mostly at the end.
            let mut at = count;
            while at > 0 && few[at - 1].0 > piece.0 {
                few[at] = few[at - 1];
                at -= 1;
            }
            few[at] = piece;
            count += 1;
        }
        join(out, few[..count].iter().map(|(_, spelled)| *spelled));
    }
}

fn name(piece: &str) -> &str {
    piece.split_once('=').map_or(piece, |(name, _)| name)
}

fn join<'a>(out: &mut String, pieces: impl Iterator<Item = &'a str>) {
    for (at, piece) in pieces.enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(piece);
    }
}

// === impl NamePattern ===

impl NamePattern {
    /// Parses a pattern. A `*` counts only at its end.
    pub fn new(text: &str) -> Self {
        let (text, begins) = text.strip_suffix('*').map_or((text, false), |front| (front, true));
        Self { text: text.to_owned(), begins }
    }

    /// Returns whether a name of a canonical query matches.
    pub fn matches(&self, name: &str) -> bool {
        if !name.contains('%') {
            return if self.begins { name.starts_with(&self.text) } else { name == self.text };
        }
        let mut meant = decoded(name.as_bytes());
        for &wanted in self.text.as_bytes() {
            if meant.next() != Some(wanted) {
                return false;
            }
        }
        self.begins || meant.next().is_none()
    }
}

impl Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.begins { "*" } else { "" })
    }
}

/// The decoded bytes of a canonical name.
fn decoded(name: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = name.iter();
    std::iter::from_fn(move || {
        let byte = *rest.next()?;
        if byte != b'%' {
            return Some(byte);
        }
        // In a canonical query two upper-case hex digits follow.
        let digit = |byte: &u8| if *byte >= b'A' { byte - b'A' + 10 } else { byte.wrapping_sub(b'0') };
        let high = rest.next().map(digit)?;
        let low = rest.next().map(digit)?;
        Some(high << 4 | low & 15)
    })
}
