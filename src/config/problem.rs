//! Problems of the settings, and the place of each.

use std::fmt::{self, Display, Write as _};

use toml_edit::{ImDocument, Item, TableLike};

use crate::secret::{MASK, is_secret, masked_url};

/// One error, or in the list of warnings, one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, or `environment`; `None` if nothing was written anywhere.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The setting, such as `server.listen` or `routes.products.default_ttl`; the variable's
    /// name if it was set by one. Empty for what concerns the whole.
    pub key: String,
    /// The value as it was written, secrets as `***`; empty if there is none.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The path of a setting. An index in a list is a segment of digits.
pub(super) type Path = Vec<String>;

/// Where each setting was written: the file and the environment.
pub(super) struct Places {
    file: Option<(String, ImDocument<String>)>,
    /// Paths that the environment set: variable, value.
    env: Vec<(Path, String, String)>,
}

/// Problems, one for each setting: the first problem of a setting often causes the others.
pub(super) struct Problems<'a> {
    places: &'a Places,
    found: Vec<(Path, Problem)>,
}

/// The longest value that is shown, in characters.
const MAX_SHOWN: usize = 80;

/// `a.b.0` as a path.
pub(super) fn path(dotted: &str) -> Path {
    dotted.split('.').map(str::to_owned).collect()
}

// === impl Problem ===

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Problem {}

// === impl Places ===

impl Places {
    /// Parses a file's text, to find the lines of settings in it.
    pub(super) fn new(file: Option<(String, String)>) -> Result<Self, Problem> {
        let file = match file {
            None => None,
            Some((name, text)) => match ImDocument::parse(text.clone()) {
                Ok(document) => Some((name, document)),
                Err(error) => {
                    return Err(Problem {
                        line: error.span().map(|span| line_at(&text, span.start)),
                        file: Some(name),
                        key: String::new(),
                        value: String::new(),
                        reason: not_toml(error.message()),
                    });
                }
            },
        };
        Ok(Self { file, env: Vec::new() })
    }

    pub(super) fn set_by(&mut self, path: Path, variable: String, value: String) {
        self.env.push((path, variable, value));
    }

    /// Returns whether that setting was written anywhere.
    pub(super) fn has(&self, path: &[String]) -> bool {
        self.env.iter().any(|(set, ..)| set.starts_with(path)) || self.item(path).is_some()
    }

    /// A problem of a setting, with the place where it was written.
    pub(super) fn problem(&self, path: &[String], reason: String) -> Problem {
        if let Some((_, variable, value)) = self.env.iter().rev().find(|(set, ..)| path.starts_with(set)) {
            return Problem {
                file: Some("environment".to_owned()),
                line: None,
                key: variable.clone(),
                value: shown(path, &format!("{:?}", masked_url(value))),
                reason,
            };
        }
        let path = self.as_written(path);
        let mut problem = Problem {
            file: self.file.as_ref().map(|(name, _)| name.clone()),
            line: None,
            key: self.name(path),
            value: String::new(),
            reason,
        };
        // A setting that is missing has the line of the nearest table that is there.
        for end in (1..=path.len()).rev() {
            let Some((start, item)) = self.item(&path[..end]) else { continue };
            problem.line = start.map(|start| line_at(self.text(), start));
            let member = path.get(end).and_then(|index| Some(item.as_array()?.get(index.parse().ok()?)));
            if let Some(Some(member)) = member {
                problem.line = member.span().map(|span| line_at(self.text(), span.start)).or(problem.line);
                problem.value = shown(path, &text_of(member));
            } else if end == path.len() {
                problem.value =
                    item.as_value().filter(|value| !value.is_inline_table()).map(text_of).unwrap_or_default();
                problem.value = shown(path, &problem.value);
            }
            break;
        }
        problem
    }

    /// A list of one may be written without brackets: then its member has no place of its own.
    fn as_written<'p>(&self, path: &'p [String]) -> &'p [String] {
        let Some((last, list)) = path.split_last() else { return path };
        let alone = self
            .item(list)
            .is_some_and(|(_, item)| item.is_value() && !item.is_array() && !item.is_inline_table());
        if alone && last.bytes().all(|byte| byte.is_ascii_digit()) { list } else { path }
    }

    /// The path as it is written; a route has its name in it instead of its index.
    fn name(&self, path: &[String]) -> String {
        let mut name = String::new();
        let mut item = self.file.as_ref().map(|(_, document)| document.as_item());
        for segment in path {
            let index: Option<usize> = segment.parse().ok();
            let known =
                item.and_then(|item| item.as_array_of_tables()).zip(index).map(|(tables, at)| tables.get(at));
            if let Some(table) = known {
                let called = table.and_then(|table| table.get("name")).and_then(Item::as_str);
                match called.filter(|called| !called.is_empty()) {
                    Some(called) => _ = write!(name, ".{called}"),
                    None => _ = write!(name, "[{segment}]"),
                }
                // Tables in lists hold no lists of tables.
                item = None;
                continue;
            }
            item = item.and_then(|item| item.as_table_like()).and_then(|table| table.get(segment));
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(segment);
        }
        name
    }

    fn text(&self) -> &str {
        self.file.as_ref().map_or("", |(_, document)| document.raw())
    }

    /// Where a setting's key begins in the text, and the setting.
    fn item(&self, path: &[String]) -> Option<(Option<usize>, &Item)> {
        let mut item = self.file.as_ref()?.1.as_item();
        let mut start = None;
        let mut segments = path.iter();
        while let Some(segment) = segments.next() {
            if let Some(tables) = item.as_array_of_tables() {
                let table = tables.get(segment.parse().ok()?)?;
                start = table.span().map(|span| span.start);
                let Some(next) = segments.next() else {
                    return Some((start, item));
                };
                (start, item) = within(table, next)?;
            } else {
                (start, item) = within(item.as_table_like()?, segment)?;
            }
        }
        Some((start, item))
    }
}

fn within<'a>(table: &'a dyn TableLike, name: &str) -> Option<(Option<usize>, &'a Item)> {
    let (key, item) = table.get_key_value(name)?;
    let span = key.span().or_else(|| item.span());
    Some((span.map(|span| span.start), item))
}

/// What is wrong with a text that is no TOML, and how that looks.
fn not_toml(message: &str) -> String {
    let message = match message.trim() {
        text if text.starts_with("duplicate key") => return format!("not TOML: {text}: it is set twice"),
        "invalid basic string" | "invalid literal string" => "a text without its closing quotation mark",
        other => other,
    };
    let message = message.replace('\n', "; ");
    format!(
        "not TOML: {message}; sections are written [name], settings name = value, and text in quotation marks"
    )
}

fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
}

/// A value as it was written, but for passwords in it.
fn text_of(value: &toml_edit::Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    mask(&mut value);
    value.to_string()
}

/// Masks the texts in a value, each within its quotation marks.
fn mask(value: &mut toml_edit::Value) {
    match value {
        toml_edit::Value::String(text) => {
            let masked = masked_url(text.value());
            if masked != *text.value() {
                let decor = text.decor().clone();
                *text = toml_edit::Formatted::new(masked);
                *text.decor_mut() = decor;
            }
        }
        toml_edit::Value::Array(members) => members.iter_mut().for_each(mask),
        toml_edit::Value::InlineTable(table) => {
            for (name, value) in table.iter_mut() {
                if is_secret(name.get()) { *value = MASK.into() } else { mask(value) }
            }
        }
        _ => {}
    }
}

/// A value as it is shown: masked if it is a secret, and cut if it is long.
fn shown(path: &[String], value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    if path.iter().any(|segment| is_secret(segment)) {
        return MASK.to_owned();
    }
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

// === impl Problems ===

impl<'a> Problems<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self { places, found: Vec::new() }
    }

    pub(super) fn places(&self) -> &'a Places {
        self.places
    }

    /// Adds a problem, unless that setting or a table around it has one.
    pub(super) fn add(&mut self, path: &[String], reason: impl Into<String>) {
        if !self.has(path) {
            self.found.push((path.to_vec(), self.places.problem(path, reason.into())));
        }
    }

    /// Adds a problem that is about no setting.
    pub(super) fn note(&mut self, problem: Problem) {
        self.found.push((vec![problem.key.clone()], problem));
    }

    pub(super) fn has(&self, path: &[String]) -> bool {
        self.found.iter().any(|(known, _)| path.starts_with(known))
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Returns whether a setting in that table has a problem.
    pub(super) fn within(&self, table: &[String]) -> bool {
        self.found.iter().any(|(known, _)| known.starts_with(table))
    }

    /// All problems, in the order of the file.
    pub(super) fn into_list(self) -> Vec<Problem> {
        let mut list: Vec<_> = self.found.into_iter().map(|(_, problem)| problem).collect();
        list.sort_by_key(|problem| (problem.line.is_none(), problem.line));
        list
    }
}

/// The most similar of some names, if one is similar enough.
pub(super) fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |other: &&str| distance(name, other);
    let best = names.into_iter().min_by_key(near)?;
    (distance(name, best) <= (name.len() / 3).max(1) + 1).then_some(best)
}

/// The names that have all words of this one in them, as `default_ttl` has `ttl`; else those whose words it has.
pub(super) fn akin<'a>(name: &str, names: &[&'a str]) -> Vec<&'a str> {
    let fold = |text: &str| format!("_{}_", text.to_ascii_lowercase().replace('-', "_"));
    let own = fold(name);
    let longer: Vec<_> = names.iter().copied().filter(|other| fold(other).contains(&own)).collect();
    if longer.is_empty() {
        return names.iter().copied().filter(|other| own.contains(&fold(other))).collect();
    }
    longer
}

/// The number of letters that differ (Levenshtein). `-` and `_` count as the same.
fn distance(one: &str, other: &str) -> usize {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_").into_bytes();
    let (one, other) = (fold(one), fold(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
