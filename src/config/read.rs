//! Merges file and environment over the defaults of the parts, and reports each setting that is wrong.
//! Each setting is read by itself first, so that one mistake hides no other.

use figment::error::{Actual, Error, Kind};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Settings;
use super::env::{Variable, only};
use super::problem::{Path, Problem, Problems, akin, did_you_mean};
use super::section::{Dust, Route, Section as _, part};
use crate::units::{Listen, one_of};
use crate::{admin, body, proxy, telemetry, tier, upstream};

const SECTIONS: [&str; 9] =
    ["server", "admin", "purge", "dust", "bodies", "memory", "log", "upstreams", "routes"];

/// One source of settings, checked.
struct Layer(&'static str, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.1.clone()))
    }
}

/// The table in a file's text. If it does not parse, that is a problem.
pub(super) fn file(name: &str, text: &str) -> Result<Dict, Problem> {
    let data = Toml::string(text).data().map_err(|error| Problem {
        file: Some(name.to_owned()),
        line: None,
        key: String::new(),
        value: String::new(),
        reason: error.kind.to_string(),
    })?;
    Ok(data.into_values().next().unwrap_or_default())
}

/// The settings of file and environment together. A wrong one is left at its default, and reported.
pub(super) fn settings(file: Dict, variables: &[Variable], problems: &mut Problems<'_>) -> Settings {
    let file = clean(file, problems);
    let mut sum = Figment::from(Layer("file", file));
    for variable in variables {
        if let Some(value) = read(variable, problems) {
            sum = sum.merge(Layer("environment", only(&variable.path, value)));
        }
    }
    let sum = sum.extract().map_err(Box::new).and_then(all);
    sum.unwrap_or_else(|error| {
        // Each setting could be read, but all together can't: file and environment contradict each other.
        for error in *error {
            let (path, reason) = told(&[], &error);
            problems.add(&path, reason);
        }
        Settings::default()
    })
}

/// All sections. Lists and tables without a name are not looked into: [`clean`] leaves none.
fn all(mut sum: Dict) -> Result<Settings, Box<Error>> {
    let mut take = |section: &str| match sum.remove(section) {
        Some(Value::Dict(_, table)) => table,
        _ => Dict::new(),
    };
    let mut settings = Settings {
        server: in_section("server", part(take("server")))?,
        admin: in_section("admin", part(take("admin")))?,
        purge: in_section("purge", part(take("purge")))?,
        dust: in_section("dust", Dust::read(take("dust")))?,
        bodies: in_section("bodies", part(take("bodies")))?,
        memory: in_section("memory", part(take("memory")))?,
        log: in_section("log", part(take("log")))?,
        ..Settings::default()
    };
    for (name, value) in take("upstreams") {
        let upstream =
            in_section("upstreams", in_section(&name, part(value.into_dict().unwrap_or_default())))?;
        settings.upstreams.insert(name, upstream);
    }
    for (index, value) in sum.remove("routes").and_then(Value::into_array).into_iter().flatten().enumerate() {
        let route = Route::read(value.into_dict().unwrap_or_default());
        settings.routes.push(in_section("routes", in_section(&index.to_string(), route))?);
    }
    Ok(settings)
}

fn in_section<T>(name: &str, read: Result<T, Box<Error>>) -> Result<T, Box<Error>> {
    read.map_err(|mut error| {
        error.path.insert(0, name.to_owned());
        error
    })
}

/// A variable's value: the first of its possible meanings that its setting takes.
fn read(variable: &Variable, problems: &mut Problems<'_>) -> Option<Value> {
    let path = &variable.path;
    match path[0].as_str() {
        "routes" => {
            problems.add(path, "routes come from the file; the environment may set everything else");
            return None;
        }
        "upstreams" if path.len() < 3 => {
            problems.add(path, "no such setting; DUSTGATE_UPSTREAMS__NAME__URL sets an upstream's url");
            return None;
        }
        section if !SECTIONS.contains(&section) => {
            problems.add(path, no_such(section, &SECTIONS));
            return None;
        }
        _ if path.len() < 2 || path.iter().any(String::is_empty) => {
            problems.add(path, "no such setting");
            return None;
        }
        _ => {}
    }
    let root = if path[0] == "upstreams" { 2 } else { 1 };
    let mut first = None;
    for value in variable.readings() {
        match probe(&path[0], only(&path[root..], value.clone())) {
            Ok(()) => return Some(value),
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    if let Some(error) = first {
        problems.add(path, told(&path[..root], &error).1);
    }
    None
}

/// Removes from a file's table each setting that can't be read, and reports it.
fn clean(file: Dict, problems: &mut Problems<'_>) -> Dict {
    let mut kept = Dict::new();
    for (section, value) in file {
        let at = vec![section.clone()];
        let value = match (section.as_str(), value) {
            ("routes", Value::Array(tag, entries)) => {
                let entries = entries.into_iter().enumerate().map(|(index, entry)| {
                    let at = vec!["routes".to_owned(), index.to_string()];
                    if let Value::Dict(_, entry) = entry {
                        return Value::from(clean_table("routes", &at, entry, problems));
                    }
                    problems.add(&at, "must be a table");
                    Value::from(Dict::new())
                });
                Value::Array(tag, entries.collect())
            }
            ("routes", _) => {
                problems.add(&at, "a list of tables: each route begins with [[routes]]");
                continue;
            }
            ("upstreams", Value::Dict(tag, named)) => {
                let mut tables = Dict::new();
                for (name, table) in named {
                    let at = vec!["upstreams".to_owned(), name.clone()];
                    if let Value::Dict(tag, table) = table {
                        tables.insert(name, Value::Dict(tag, clean_table("upstreams", &at, table, problems)));
                    } else {
                        problems.add(&at, "must be a table: [upstreams.NAME]");
                    }
                }
                Value::Dict(tag, tables)
            }
            (known, Value::Dict(tag, table)) if SECTIONS.contains(&known) => {
                Value::Dict(tag, clean_table(known, &at, table, problems))
            }
            (known, _) if SECTIONS.contains(&known) => {
                problems.add(&at, format!("must be a table: [{known}]"));
                continue;
            }
            (unknown, value) => {
                // A table is more likely a section whose name is wrong than a setting of a section.
                let table = matches!(value, Value::Dict(..) | Value::Array(..));
                let meant = table && did_you_mean(unknown, SECTIONS).is_some();
                let misplaced = if meant { None } else { misplaced(unknown) };
                problems.add(&at, misplaced.unwrap_or_else(|| no_such(unknown, &SECTIONS)));
                continue;
            }
        };
        kept.insert(section, value);
    }
    kept
}

fn clean_table(section: &str, at: &[String], table: Dict, problems: &mut Problems<'_>) -> Dict {
    if probe(section, table.clone()).is_ok() {
        return table;
    }
    let mut kept = Dict::new();
    for (key, value) in table {
        if let Some(value) = clean_value(section, at, std::slice::from_ref(&key), value, problems) {
            kept.insert(key, value);
        }
    }
    kept
}

fn clean_value(
    section: &str,
    at: &[String],
    keys: &[String],
    value: Value,
    problems: &mut Problems<'_>,
) -> Option<Value> {
    let Err(error) = probe(section, only(keys, value.clone())) else { return Some(value) };
    let mut broken = false;
    let kept = match value {
        // Settings in an unknown section are not reported one by one.
        _ if matches!(error.kind, Kind::UnknownField(..)) && error.path.len() <= keys.len() => None,
        Value::Dict(tag, table) => {
            let mut kept = Dict::new();
            for (key, value) in table {
                let keys: Vec<_> = keys.iter().cloned().chain([key.clone()]).collect();
                match clean_value(section, at, &keys, value, problems) {
                    Some(value) => _ = kept.insert(key, value),
                    None => broken = true,
                }
            }
            Some(Value::Dict(tag, kept))
        }
        // A setting that takes no list is wrong once, however many members there are.
        Value::Array(..) if probe(section, only(keys, Value::from(Vec::<Value>::new()))).is_err() => {
            let (path, reason) = told(at, &error);
            problems.add(&path, format!("{reason}, and not a list"));
            return None;
        }
        Value::Array(_, members) => {
            for (index, member) in members.into_iter().enumerate() {
                if let Err(error) = probe(section, only(keys, Value::from(vec![member]))) {
                    let path = at.iter().chain(keys).cloned().chain([index.to_string()]).collect::<Path>();
                    problems.add(&path, told(at, &error).1);
                    broken = true;
                }
            }
            None
        }
        _ => None,
    };
    if broken {
        return kept.filter(|value| probe(section, only(keys, value.clone())).is_ok());
    }
    let (path, reason) = told(at, &error);
    problems.add(&path, reason + &members(section, keys, &error));
    None
}

/// The settings of a table, where something else stands in its place.
fn members(section: &str, keys: &[String], error: &Error) -> String {
    if !matches!(&error.kind, Kind::InvalidType(_, expected) if expected.starts_with("struct ")) {
        return String::new();
    }
    let within: Vec<_> = keys.iter().cloned().chain([String::new()]).collect();
    match probe(section, only(&within, Value::from(0))).map_err(|error| error.kind) {
        Err(Kind::UnknownField(_, names)) => format!(": {{ {} = … }}", names.join(" = …, ")),
        _ => String::new(),
    }
}

/// Reads a table with that setting as that section (for lists, as an entry of it), to see if it fits.
fn probe(section: &str, table: Dict) -> Result<(), Box<Error>> {
    match section {
        "server" => part::<proxy::Server>(table).map(drop),
        "admin" => part::<admin::Settings>(table).map(drop),
        "purge" => part::<admin::Purges>(table).map(drop),
        "dust" => Dust::read(table).map(drop),
        "bodies" => part::<body::Settings>(table).map(drop),
        "memory" => part::<tier::Memory>(table).map(drop),
        "log" => part::<telemetry::log::Settings>(table).map(drop),
        "upstreams" => part::<upstream::Settings>(table).map(drop),
        _ => Route::read(table).map(drop),
    }
}

/// An error below `at`, for people: which setting, and what about it.
fn told(at: &[String], error: &Error) -> (Path, String) {
    let mut path: Path = at.iter().chain(&error.path).cloned().collect();
    let reason = match &error.kind {
        Kind::UnknownField(name, names) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            // Deeper tables have names of their own.
            let misplaced = if path.len() == at.len() + 1 { misplaced(name) } else { None };
            misplaced.unwrap_or_else(|| no_such(name, names))
        }
        Kind::UnknownVariant(_, names) => one_of(names),
        // A port alone.
        Kind::InvalidType(actual, _) if is_listen(&path) => Listen::meant(&match actual {
            Actual::Unsigned(port) => port.to_string(),
            Actual::Signed(port) => port.to_string(),
            _ => String::new(),
        }),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("{} is meant", in_words(expected))
        }
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "too large or too small a number".to_owned(),
        other => other.to_string(),
    };
    (path, reason)
}

/// Returns whether a setting is an address to listen on, or one of a list of them.
fn is_listen(path: &[String]) -> bool {
    let is_index = |segment: &str| segment.bytes().all(|byte| byte.is_ascii_digit());
    path.iter().rev().find(|segment| !is_index(segment)).is_some_and(|name| name == "listen")
}

/// What was expected, in words for readers that do not know Rust.
fn in_words(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "path string" => "a string",
        table if table.starts_with("struct ") => "a table",
        other => other,
    }
}

/// What is said of a setting that other sections have.
fn misplaced(name: &str) -> Option<String> {
    let has = |section: &&&str| names_of(section).contains(&name);
    let there = SECTIONS.iter().filter(has).map(|section| match *section {
        "upstreams" => "[upstreams.NAME]".to_owned(),
        "routes" => "[[routes]]".to_owned(),
        section => format!("[{section}]"),
    });
    let there: Vec<_> = there.collect();
    (!there.is_empty()).then(|| format!("no such setting here; it belongs in {}", any_of(&there)))
}

/// The settings of a section, or of its entries: what it says when it is asked for one that can't be.
fn names_of(section: &str) -> &'static [&'static str] {
    match probe(section, only(&[String::new()], Value::from(0))).map_err(|error| error.kind) {
        Err(Kind::UnknownField(_, names)) => names,
        _ => &[],
    }
}

fn no_such(name: &str, names: &[&str]) -> String {
    let near = match did_you_mean(name, names.iter().copied()) {
        Some(near) => vec![near],
        None => akin(name, names),
    };
    if near.is_empty() {
        return format!("no such setting; there are {}", names.join(", "));
    }
    format!("no such setting; did you mean {}?", any_of(&near))
}

/// `a, b or c`.
fn any_of(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
