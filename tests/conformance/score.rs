//! What passed, by section and kind, beside the results of other caches that the suite publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::expected::NOT_SPOKEN;
use crate::suite::{Case, Other, Results};

const KINDS: [&str; 3] = ["required", "optimal", "check"];

/// Passed, and how many there are.
type Count = (usize, usize);

/// The score of one cache.
pub struct Score<'a> {
    cases: &'a [Case],
    sections: Vec<(&'a str, [Count; 3])>,
    total: [Count; 3],
}

// === impl Score ===

impl<'a> Score<'a> {
    /// Of these results. A case counts as passed if what it depends on passed too.
    pub fn of(cases: &'a [Case], results: &Results) -> Self {
        let passed = results.iter().filter(|(_, why)| why.is_none()).map(|(id, _)| id.as_str()).collect();
        let (sections, total) = count(cases, &passed);
        Self { cases, sections, total }
    }

    /// As Markdown.
    pub fn table(&self, others: &[Other]) -> String {
        let mut table = String::from("| section | required | optimal | check |\n|---|---|---|---|\n");
        for (section, counts) in &self.sections {
            row(&mut table, section, counts);
        }
        row(&mut table, "**all**", &self.total);
        table.push_str("\n| cache | required | optimal | check |\n|---|---|---|---|\n");
        row(&mut table, "Dustgate", &self.total);
        let mut rows: Vec<_> = others
            .iter()
            .map(|other| {
                let passed = other.passed.iter().map(String::as_str).collect();
                (format!("{} {}", other.name, other.version), count(self.cases, &passed).1)
            })
            .collect();
        rows.sort_by_key(|(_, total)| std::cmp::Reverse(total[0].0));
        for (name, total) in &rows {
            row(&mut table, name, total);
        }
        table
    }
}

fn count<'a>(cases: &'a [Case], passed: &BTreeSet<&str>) -> (Vec<(&'a str, [Count; 3])>, [Count; 3]) {
    let by_id: BTreeMap<&str, &Case> = cases.iter().map(|case| (case.id.as_str(), case)).collect();
    let mut sections: Vec<(&str, [Count; 3])> = Vec::new();
    let mut total = [(0, 0); 3];
    for case in cases {
        if sections.last().is_none_or(|(section, _)| *section != case.section) {
            sections.push((&case.section, [(0, 0); 3]));
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

fn row(table: &mut String, name: &str, counts: &[Count; 3]) {
    let cell = |(passed, all): Count| if all == 0 { "–".to_owned() } else { format!("{passed} of {all}") };
    let [required, optimal, check] = counts.map(cell);
    let _ = writeln!(table, "| {name} | {required} | {optimal} | {check} |");
}
