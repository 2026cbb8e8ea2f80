//! The house rules that no compiler keeps: which room may know which, and how files look.
//!
//! Who may know whom stands in two tables, which people read and this test keeps: the modules of the
//! crate in `src/lib.rs`, the rooms of the request's way in `src/proxy.rs`. What is absent there carries
//! the design: `policy` and `record` know no clock and no I/O, so they are tabled and fuzzed; `flight`
//! knows no HTTP, so it is model-checked and simulated; `proxy` knows no back-end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod house {
    pub mod paths;
    pub mod table;
}

use house::paths::{code, named};
use house::table::{self, Room};

/// What a room leaves to another one: which words its code does not use.
///
/// Entries of keys are the catalog's: their names, form and bounds are written once.
const LEAVES: &[(&str, &[&str])] =
    &[("proxy", &["codec", "dust.entry(", "dust.entries(", "dust.put(", "dust.delete("])];

/// Rooms that nobody but the assembly may enter, so that no arrow goes round through them.
const ASSEMBLY: &[&str] = &["app", "cli", "main"];

/// What only tests may know, not even the assembly: it is part of the library so that unit tests and
/// suites share it.
const FOR_TESTS: &str = "testkit";

/// The file of the proxy's rooms that may add behaviour to the state all of them share.
const STATE: &str = "src/proxy/state";

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

/// The module that a file of `src` is: `src/dust/hub.rs` to `dust`, `hub`; the root is none.
fn module(path: &Path) -> Vec<String> {
    let below = path.strip_prefix("src").expect("a file of src").with_extension("");
    let words = below.iter().map(|part| part.to_str().expect("a name").to_owned());
    words.filter(|word| word != "lib").collect()
}

/// Whether all of a file is tests: what declares it says so.
fn is_test(path: &Path, tests: &[PathBuf]) -> bool {
    tests.iter().any(|test| path.starts_with(test) || path.with_extension("") == *test)
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

/// The source files that run, with their modules and text.
fn running() -> Vec<(PathBuf, Vec<String>, String)> {
    let files = files("src");
    let tests = test_modules(&files);
    let running = files.into_iter().filter(|(path, _)| !is_test(path, &tests));
    running.map(|(path, text)| (path.clone(), module(&path), text)).collect()
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a source file is text")
}

/// The arrows between the rooms below a module that its table does not have, and the names in the table
/// that no file has. `below`: how many words of a module's path name the place of the rooms.
fn wrong_arrows(rooms: &[Room], below: &[&str]) -> Vec<String> {
    let depth = below.len();
    let place = |name: &str| rooms.iter().position(|room| room.name == name);
    let shown = shown_by(below);
    let mut wrong = Vec::new();
    let mut without_file: BTreeSet<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
    for (path, module, text) in running() {
        let is_below = module.len() > depth && module.iter().zip(below).all(|(a, b)| a == b);
        if !is_below {
            continue;
        }
        let name = &module[depth];
        let Some(here) = place(name) else {
            wrong.push(format!("{}: {name} has no line in the table", path.display()));
            continue;
        };
        without_file.remove(name.as_str());
        for (number, known) in named(&text, &module) {
            let is_there = known.len() > depth && known.iter().zip(below).all(|(a, b)| a == b);
            let Some(other) = known.get(depth).filter(|_| is_there) else { continue };
            // What the place shows of a room is an arrow to that room.
            let other = shown.get(other).unwrap_or(other);
            if other == name || !other.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let may = match place(other) {
                Some(there) => rooms[here].may_know(other, there < here) && other != FOR_TESTS,
                // A function or a macro of the place itself, or a room that has no line and is told of.
                None => true,
            };
            if !may {
                wrong.push(format!("{}:{number}: {name} → {other}", path.display()));
            }
        }
    }
    wrong.extend(without_file.iter().map(|name| format!("{name} has a line in the table and no file")));
    wrong
}

/// The items that the place itself shows by `pub use`, and the room of each.
fn shown_by(below: &[&str]) -> BTreeMap<String, String> {
    let place =
        if below.is_empty() { "src/lib.rs".to_owned() } else { format!("src/{}.rs", below.join("/")) };
    let at: Vec<String> = below.iter().map(|word| (*word).to_owned()).collect();
    let mut shown = BTreeMap::new();
    for line in text_of(&place).lines() {
        let Some(path) = line.strip_prefix("pub use ") else { continue };
        for (_, path) in named(&format!("use self::{path}"), &at) {
            if let [room, .., item] = &path[below.len()..] {
                shown.insert(item.clone(), room.clone());
            }
        }
    }
    shown
}

/// What in a table does not point one way.
fn wrong_lines(rooms: &[Room]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut above = BTreeSet::new();
    for room in rooms {
        if let table::Knows::Only(names) = &room.knows {
            for known in names {
                if !above.contains(known.as_str()) {
                    wrong.push(format!("{} → {known} does not point up the table", room.name));
                }
                if ASSEMBLY.contains(&known.as_str()) || known == FOR_TESTS {
                    wrong.push(format!("{} → {known}: nobody enters that", room.name));
                }
            }
        }
        above.insert(room.name.as_str());
    }
    wrong
}

#[test]
fn arrows_between_modules_point_one_way() {
    let modules = table::read(&text_of("src/lib.rs"), "module");
    let wrong = [wrong_lines(&modules), wrong_arrows(&modules, &[])].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arrows_between_the_rooms_of_the_proxy_point_one_way() {
    let rooms = table::read(&text_of("src/proxy.rs"), "room");
    let wrong = [wrong_lines(&rooms), wrong_arrows(&rooms, &["proxy"])].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_state_of_the_proxy_has_no_behaviour_of_a_room() {
    // A method would be an arrow that no path shows: neither made in a room, nor called from one.
    let facade = text_of("src/proxy.rs");
    let methods: Vec<String> = facade
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.trim_start_matches("async ").strip_prefix("fn "))
        .map(|rest| format!("proxy.{}(", rest.split(['(', '<']).next().unwrap_or_default()))
        .collect();
    assert!(methods.len() > 5, "{methods:?}");
    let mut wrong = Vec::new();
    for (path, _, text) in running() {
        let is_room = path.starts_with("src/proxy") && path != Path::new("src/proxy/state.rs");
        if !is_room || path.starts_with(STATE) {
            continue;
        }
        for (number, line) in code(&text) {
            let words: Vec<&str> = line.split([' ', '{']).filter(|word| !word.is_empty()).collect();
            let is_impl = line.starts_with("impl")
                && words.last().is_some_and(|of| of.rsplit("::").next() == Some("Proxy"));
            // The listener is where requests come in.
            let calls = methods.iter().any(|method| line.contains(method.as_str()))
                && !path.starts_with("src/proxy/listener");
            if is_impl || calls {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_room_leaves_to_others_what_is_theirs() {
    let mut wrong = Vec::new();
    for (room, words) in LEAVES {
        for (path, module, text) in running() {
            if module.first().is_none_or(|first| first != room) {
                continue;
            }
            // A call may stand on several lines.
            let code: String = code(&text).iter().map(|(_, line)| line.trim()).collect();
            let code = code.replace("dust()", "dust");
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of the proxy on one floor that each of them names.
type Floor = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_circle_goes_through_the_files_of_the_proxy() {
    // Where the ways of two files part, each side is one file or folder of the same floor.
    let mut floors: BTreeMap<Vec<String>, Floor> = BTreeMap::new();
    let all = running();
    let modules: BTreeSet<Vec<String>> = all.iter().map(|(_, module, _)| module.clone()).collect();
    for (_, module, text) in
        all.iter().filter(|(_, module, _)| module.first().is_some_and(|it| it == "proxy"))
    {
        for (_, known) in named(text, module) {
            let shared = module.iter().zip(&known).take_while(|(a, b)| a == b).count();
            let (Some(here), Some(there)) = (module.get(shared), known.get(shared)) else { continue };
            let floor = module[..shared].to_vec();
            if shared > 0 && modules.contains(&[&floor[..], std::slice::from_ref(there)].concat()) {
                floors.entry(floor).or_default().entry(here.clone()).or_default().insert(there.clone());
            }
        }
    }
    let mut wrong = Vec::new();
    for (floor, knows) in &floors {
        for file in knows.keys().filter(|file| reached(knows, file).contains(*file)) {
            wrong.push(format!("{}::{file} comes back to itself", floor.join("::")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file that a way from this one leads to.
fn reached(knows: &Floor, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(file) = next.pop() {
        for other in knows.get(file).into_iter().flatten() {
            if found.insert(other.clone()) {
                next.push(other);
            }
        }
    }
    found
}

#[test]
fn a_way_round_is_found_however_long_it_is() {
    let floor = |arrows: &[(&str, &str)]| {
        let mut floor = Floor::new();
        for (from, to) in arrows {
            floor.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        floor
    };
    assert!(reached(&floor(&[("a", "b"), ("b", "c"), ("c", "a")]), "a").contains("a"));
    assert!(!reached(&floor(&[("a", "b"), ("b", "c"), ("a", "c")]), "a").contains("a"));
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
    for (path, text) in files("src") {
        for (number, line) in text.lines().enumerate() {
            if left.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    for (path, _, text) in running() {
        for (number, line) in code(&text).into_iter().filter(|(_, line)| line.contains(&never)) {
            wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What clients and origins wrote must not move the cursor of a terminal: one file prints for all commands.
#[test]
fn commands_print_in_one_way() {
    for (path, text) in files("src/cli") {
        let prints = code(&text).into_iter().find(|(_, line)| {
            ["print!(", "println!(", "stdout()", "stderr()"].iter().any(|word| line.contains(word))
                && !line.contains("is_terminal()")
        });
        let own = path.ends_with("print.rs") || path.ends_with("manual.rs");
        assert!(prints.is_none() || own, "{}: {prints:?}", path.display());
    }
}

#[test]
fn unsafe_code_stands_in_two_files() {
    let files = files("src").into_iter();
    let with: Vec<_> = files
        .filter(|(_, text)| {
            code(text).iter().any(|(_, line)| line.contains("unsafe_code") || line.contains("unsafe {"))
        })
        .map(|(path, _)| path)
        .collect();
    assert_eq!(with, [Path::new("src/heap.rs"), Path::new("src/proxy/sheets.rs")]);
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    // A file of unit tests says what it tests by its name.
    let sources = running().into_iter().map(|(path, _, text)| (path, text));
    let silent: Vec<_> = sources
        .chain(files("tests"))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// `tests/README.md` has a line for each test program and each crate beside the product, and says of
/// each program which part of `tests/run` it belongs to.
#[test]
fn every_suite_has_its_line_in_the_readme_of_the_tests() {
    let text = |name: &str| fs::read_to_string(root().join("tests").join(name)).expect("it is there");
    let (readme, run) = (text("README.md"), text("run"));
    let listed = |part: &str| -> BTreeSet<String> {
        let list =
            run.lines().find_map(|line| line.strip_prefix(part)?.strip_prefix("=(")?.strip_suffix(')'));
        list.expect("the part has a list").split_whitespace().map(str::to_owned).collect()
    };
    let (fleet, conformance) = (listed("fleet"), listed("conformance"));
    let mut there = BTreeSet::from([("src/**".to_owned(), "unit")]);
    for entry in fs::read_dir(root().join("tests")).expect("it is there").flatten() {
        let path = entry.path();
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let is_program = path.extension().is_some_and(|extension| extension == "rs");
        let part = match name.as_str() {
            "s3server" => continue,
            "fuzz" => "fuzz",
            _ if fleet.contains(&name) => "fleet",
            _ if conformance.contains(&name) => "conformance",
            _ => "unit",
        };
        if is_program || path.join("main.rs").exists() || path.join("Cargo.toml").exists() {
            there.insert((name, part));
        }
    }
    for name in fleet.iter().chain(&conformance) {
        assert!(there.iter().any(|(suite, _)| suite == name), "tests/run names {name}, which is not there");
    }
    let lines = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    // The table of suites is the one with five columns.
    let suites = lines.filter(|(_, rest)| rest.matches('|').count() == 4);
    let told = suites.map(|(name, rest)| (name.to_owned(), rest.split(" | ").next().expect("a column")));
    assert_eq!(told.collect::<BTreeSet<_>>(), there);
}
