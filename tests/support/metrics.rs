//! The metrics page, read as strictly as its format is written (text format 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

/// One reading of the page.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Families by name: type and series.
    pub families: BTreeMap<String, Family>,
}

/// What is under one HELP and TYPE.
#[derive(Debug, Clone, Default)]
pub struct Family {
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// Reads the page; fails the test at the first line that is not in the format.
    pub fn parse(page: &str) -> Self {
        assert!(page.ends_with('\n'), "the last line has no end");
        let mut metrics = Self::default();
        let mut current = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line:?}"));
                assert!(is_name(name) && !help.is_empty(), "{line:?}");
                let known = metrics
                    .families
                    .insert(name.to_owned(), Family { help: help.to_owned(), ..Family::default() });
                assert!(known.is_none(), "two families: {line:?}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line:?}"));
                assert_eq!(name, current, "TYPE is not behind its HELP: {line:?}");
                assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind), "{line:?}");
                kind.clone_into(&mut metrics.families.get_mut(name).unwrap().kind);
            } else if !line.is_empty() && !line.starts_with('#') {
                let sample = Sample::parse(line);
                let family =
                    metrics.families.get_mut(&current).unwrap_or_else(|| panic!("no family: {line:?}"));
                assert!(!family.kind.is_empty(), "no type: {line:?}");
                assert!(family.owns(&current, &sample.name), "in the wrong family: {line:?}");
                family.samples.push(sample);
            }
        }
        for (name, family) in &metrics.families {
            let mut seen = BTreeSet::new();
            for sample in &family.samples {
                assert!(
                    seen.insert(format!("{}{:?}", sample.name, sample.labels)),
                    "twice: {name} {sample:?}"
                );
            }
        }
        metrics
    }

    /// The sum of a family's series that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let base =
            name.strip_suffix("_count").filter(|base| self.families.contains_key(*base)).unwrap_or(name);
        let Some(family) = self.families.get(base) else { return 0.0 };
        let has = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(n, v)| sample.labels.get(*n).is_some_and(|l| l == v))
        };
        family.samples.iter().filter(has).map(|sample| sample.value).sum()
    }
}

impl Family {
    fn owns(&self, family: &str, sample: &str) -> bool {
        match sample.strip_prefix(family) {
            Some("") => self.kind != "histogram",
            Some("_bucket") => self.kind == "histogram",
            Some("_sum" | "_count") => self.kind == "histogram" || self.kind == "summary",
            _ => false,
        }
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line:?}"));
        let (name, mut rest) = line.split_at(end);
        assert!(is_name(name), "{line:?}");
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while let Some((label, after)) = rest.split_once("=\"") {
                if rest.starts_with('}') {
                    break;
                }
                assert!(is_name(label) && !label.contains(':'), "{line:?}");
                let (value, after) = quoted(after).unwrap_or_else(|| panic!("no end of a value: {line:?}"));
                assert!(labels.insert(label.to_owned(), value).is_none(), "a label twice: {line:?}");
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("no end of the labels: {line:?}"));
        }
        let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().unwrap_or_else(|_| panic!("no number: {line:?}")),
        };
        Self { name: name.to_owned(), labels, value }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// A value up to its closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}
