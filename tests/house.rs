//! The house rules that no compiler keeps: which module may know which, and how files look.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything.
const ALL: &[&str] = &["*"];

/// Which module may know which. Arrows point one way; a module without a line here fails.
///
/// What is absent carries the design: `policy` and `record` know no clock and no I/O, so they are
/// tabled and fuzzed; `flight` knows no HTTP, so it is model-checked and simulated; `proxy` knows
/// no back-end, so a store is one line in `app`.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("drain", &[]),
    ("telemetry", &[]),
    ("key", &[]),
    ("record", &["key"]),
    ("policy", &["key", "record"]),
    ("route", &["key", "policy"]),
    ("dust", &["clock"]),
    ("body", &["clock", "record"]),
    ("flight", &["clock", "dust"]),
    ("catalog", &["clock", "key", "record", "dust", "flight"]),
    ("tier", &["clock", "key", "record", "policy", "dust", "body"]),
    ("upstream", &["clock"]),
    (
        "proxy",
        &[
            "clock",
            "drain",
            "telemetry",
            "key",
            "record",
            "policy",
            "route",
            "dust",
            "body",
            "flight",
            "catalog",
            "tier",
            "upstream",
        ],
    ),
    (
        "node",
        &["clock", "drain", "telemetry", "route", "dust", "body", "flight", "tier", "upstream", "proxy"],
    ),
    ("admin", &["drain", "key", "dust", "tier", "flight"]),
    (
        "config",
        &["key", "policy", "route", "dust", "body", "flight", "tier", "upstream", "admin", "telemetry"],
    ),
    ("demo", &[]),
    ("drill", &["clock", "config"]),
    ("app", ALL),
    ("cli", ALL),
    ("main", ALL),
];

/// What a room leaves to another one: which words its code does not use.
///
/// Entries of keys are the catalog's: their names, form and bounds are written once.
const LEAVES: &[(&str, &[&str])] =
    &[("proxy", &["codec", "dust.entry(", "dust.entries(", "dust.put(", "dust.delete("])];

/// Rooms that nobody but the assembly may enter, so that no arrow goes round through them.
const ASSEMBLY: &[&str] = &["app", "cli", "main"];

/// The most lines of a file.
const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// All Rust files below a directory of the repository, with their text.
fn files(below: &str) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push((path.strip_prefix(root()).expect("it is below").to_owned(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(below), &mut found);
    found.sort();
    assert!(!found.is_empty(), "nothing in {below}");
    found
}

/// The top module that a file of `src` belongs to: `src/dust/hub.rs` to `dust`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").expect("a file of src");
    let first = below.iter().next().and_then(|part| part.to_str()).expect("a name");
    first.trim_end_matches(".rs").to_owned()
}

/// The file without comments, and without what only its tests know.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // A module of tests stands at the end of its file.
        if line.starts_with("#[cfg(test)]")
            && text.lines().nth(number + 1).is_some_and(|next| next.ends_with('{'))
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push((number + 1, line));
        }
    }
    code
}

/// Whether all of a file is tests: what declares it says so. So is the suite that every store
/// runs through.
fn is_test(path: &Path, tests: &[PathBuf]) -> bool {
    let suite = Path::new("src/dust/conformance");
    tests.iter().any(|test| path.starts_with(test) || path.with_extension("") == *test)
        || path.with_extension("").starts_with(suite)
}

/// The modules that are declared under `#[cfg(test)]`, as paths without `.rs`.
fn test_modules(files: &[(PathBuf, String)]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (path, text) in files {
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]") {
            let declared = pair[1].trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            if let Some(name) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                let is_root = path.ends_with("lib.rs") || path.ends_with("main.rs");
                let inside = if is_root { path.with_file_name("") } else { path.with_extension("") };
                found.push(inside.join(name));
            }
        }
    }
    found
}

/// The modules that a line names by `crate::name`, also several in braces.
fn named(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            None => vec![rest],
            // Depth one only: `crate::{a, b::{c, d}}` names a and b.
            Some(inside) => {
                let (mut depth, mut list, mut from) = (0, Vec::new(), 0);
                for (at, letter) in inside.char_indices() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            list.push(&inside[from..at]);
                            from = at + 1;
                        }
                        _ => {}
                    }
                }
                list.push(&inside[from..]);
                list
            }
        };
        for item in list {
            let name: String =
                item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            // Modules are lower case; what is not is an item of the crate's root.
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    let mut lines: BTreeSet<_> = MAY_KNOW.iter().map(|(name, _)| *name).collect();
    let files = files("src");
    let tests = test_modules(&files);
    for (path, text) in &files {
        let module = module(path);
        if module == "lib" {
            continue;
        }
        let Some((name, may)) = MAY_KNOW.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: {module} has no line in the table", path.display()));
            continue;
        };
        lines.remove(name);
        if *may == ALL || is_test(path, &tests) {
            continue;
        }
        for (number, line) in code(text) {
            for known in named(line) {
                if known != module && !may.contains(&known.as_str()) {
                    wrong.push(format!("{}:{number}: {module} → {known}", path.display()));
                }
            }
        }
    }
    for name in lines {
        wrong.push(format!("{name} has a line in the table and no file"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_room_leaves_to_others_what_is_theirs() {
    let mut wrong = Vec::new();
    let files = files("src");
    let tests = test_modules(&files);
    for (room, words) in LEAVES {
        let of_room = files.iter().filter(|(path, _)| module(path) == *room && !is_test(path, &tests));
        for (path, text) in of_room {
            // A call may stand on several lines.
            let code: String = code(text).iter().map(|(_, line)| line.trim()).collect();
            let code = code.replace("dust()", "dust");
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_points_one_way() {
    for (place, (name, may)) in MAY_KNOW.iter().enumerate() {
        for known in may.iter().filter(|known| **known != "*") {
            assert!(!ASSEMBLY.contains(known), "{name} → {known}");
            let at = MAY_KNOW.iter().position(|(other, _)| other == known);
            let at = at.unwrap_or_else(|| panic!("{name} → {known}, which has no line"));
            assert!(at < place, "{name} → {known} points up");
        }
    }
}

#[test]
fn names_in_braces_are_found() {
    assert_eq!(named("use crate::{clock::{Clock, Dice}, dust, Thing};"), ["clock", "dust"]);
    assert_eq!(named("pub(crate) fn f(a: crate::key::Key, b: crate::record::Record)"), ["key", "record"]);
    assert!(named("use super::clock; // no arrow of its own").is_empty());
}

#[test]
fn files_are_small_and_stand_where_they_are_looked_for() {
    let mut wrong = Vec::new();
    for (path, text) in files("src").into_iter().chain(files("tests")) {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            wrong.push(format!("{}: a module is foo.rs, beside foo/", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn code_that_runs_answers_for_its_panics() {
    // In pieces, so that this file does not find itself.
    let never = [".unwrap(", ")"].concat();
    let left = [
        ["to", "do!"].concat(),
        ["unimple", "mented!"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    let mut wrong = Vec::new();
    let files = files("src");
    let tests = test_modules(&files);
    for (path, text) in &files {
        for (number, line) in text.lines().enumerate() {
            if left.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
        if is_test(path, &tests) {
            continue;
        }
        for (number, line) in code(text) {
            if line.contains(&never) {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let sources = files("src");
    // A file of unit tests says what it tests by its name.
    let tests = test_modules(&sources);
    let silent: Vec<_> = sources
        .iter()
        .chain(&files("tests"))
        .filter(|(path, text)| !is_test(path, &tests) && !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
