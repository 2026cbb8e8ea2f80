//! What passed, by section and kind, beside the results of other caches that the suite publishes;
//! and whether docs/conformance.md says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::expected::NOT_SPOKEN;
use crate::suite::{Case, Edition, Other, Results};

const KINDS: [&str; 3] = ["required", "optimal", "check"];

/// Passed, and how many there are.
type Count = (usize, usize);
/// The name of a section or a cache, and what passed of each kind.
type Row = (String, [Count; 3]);

/// The score of one cache, and those of others.
pub struct Score {
    edition: Edition,
    sections: Vec<Row>,
    caches: Vec<Row>,
}

// === impl Score ===

impl Score {
    /// Of these results. A case counts as passed if what it depends on passed too.
    pub fn of(edition: Edition, cases: &[Case], others: &[Other], results: &Results) -> Self {
        let passed = results.iter().filter(|(_, why)| why.is_none()).map(|(id, _)| id.as_str()).collect();
        let (mut sections, total) = count(cases, &passed);
        sections.push(("all".to_owned(), total));
        let score = |other: &Other| count(cases, &other.passed.iter().map(String::as_str).collect()).1;
        let mut caches: Vec<Row> =
            others.iter().map(|other| (format!("{} {}", other.name, other.version), score(other))).collect();
        caches.sort_by_key(|(_, total)| std::cmp::Reverse(total[0].0));
        caches.insert(0, ("Dustgate".to_owned(), total));
        Self { edition, sections, caches }
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (what, rows) in [("section", &self.sections), ("cache", &self.caches)] {
            let _ = writeln!(table, "\n| {what} | required | optimal | check |\n|---|---|---|---|");
            for (name, counts) in rows {
                let _ = writeln!(table, "| {name} | {} |", cells(counts).join(" | "));
            }
        }
        table
    }

    /// A line for each row that the page has not, or not so. Its tables have three columns for
    /// the package and three for the repository after it.
    pub fn surprises(&self, page: &str) -> Vec<String> {
        let from = if self.edition == Edition::Npm { 1 } else { 4 };
        let mut surprises = Vec::new();
        for (what, rows) in [("section", &self.sections), ("cache", &self.caches)] {
            let mut written = written(page, what);
            for (name, counts) in rows {
                // A cache's version is the edition's.
                let name = if what == "cache" { name.split(' ').next().unwrap() } else { name };
                let wanted = cells(counts);
                let found = written.remove(name).map(|cells| cells[from..from + 3].to_vec());
                if found.as_deref() != Some(&wanted) {
                    surprises.push(format!("the page, {what} {name}: {}, not {found:?}", wanted.join(" | ")));
                }
            }
            let too_many =
                written.into_iter().filter(|(_, cells)| cells[from] != "–" || cells[from + 1] != "–");
            surprises.extend(
                too_many.map(|(name, _)| format!("the page, {what} {name}: is none of this edition")),
            );
        }
        surprises
    }
}

/// The rows of a table of the page that begins with this word, by their first word.
fn written(page: &str, what: &str) -> BTreeMap<String, Vec<String>> {
    let rows = page.lines().skip_while(|line| !line.starts_with(&format!("| {what} |"))).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cells| cells.len() == 7)
        .map(|cells| (cells[0].split(' ').next().unwrap().to_owned(), cells))
        .collect()
}

fn cells(counts: &[Count; 3]) -> [String; 3] {
    counts.map(|(passed, all)| if all == 0 { "–".to_owned() } else { format!("{passed} of {all}") })
}

fn count(cases: &[Case], passed: &BTreeSet<&str>) -> (Vec<Row>, [Count; 3]) {
    let by_id: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    let mut sections: Vec<Row> = Vec::new();
    let mut total = [(0, 0); 3];
    for case in cases {
        if sections.last().is_none_or(|(section, _)| *section != case.section) {
            sections.push((case.section.clone(), [(0, 0); 3]));
        }
        let kind = KINDS.iter().position(|kind| *kind == case.kind).expect("a kind that is known");
        let one = usize::from(holds(case, &by_id, passed));
        let counts = [sections.last_mut().map(|(_, counts)| counts), Some(&mut total)];
        // What is not spoken is shown, and not summed up.
        for counts in counts.into_iter().flatten().take(if case.section == NOT_SPOKEN { 1 } else { 2 }) {
            counts[kind] = (counts[kind].0 + one, counts[kind].1 + 1);
        }
    }
    (sections, total)
}

fn holds(case: &Case, by_id: &BTreeMap<&str, &Case>, passed: &BTreeSet<&str>) -> bool {
    passed.contains(case.id.as_str())
        && case.needs.iter().all(|id| by_id.get(id.as_str()).is_some_and(|need| holds(need, by_id, passed)))
}
