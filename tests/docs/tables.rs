//! What the pages list is what the code has: settings, metrics, events, rules, words, commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use dustgate::policy::PassReason;
use dustgate::route::ANALYTICS;
use dustgate::telemetry::Metrics;

use super::pages::{Page, code, page, pages, root};

/// A row of a setting without a default.
const NONE: &str = "–";

/// Fails with what has no row, and with the rows of what is not there.
fn check_rows(page: &Page, listed: &BTreeSet<String>, there: &BTreeSet<String>) {
    let missing: Vec<_> = there.difference(listed).collect();
    let extra: Vec<_> = listed.difference(there).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{}: no row has {missing:?}, and rows have {extra:?}, which the code has not",
        page.path
    );
}

#[test]
fn every_setting_has_a_row_with_its_default() {
    let mut wanted = BTreeMap::new();
    let mut table = String::new();
    for line in std::fs::read_to_string(root().join("config/reference.toml")).unwrap().lines() {
        if line.starts_with('[') {
            let name = line.split(']').next().unwrap().trim_start_matches('[');
            table = name.replace("upstreams.example", "upstreams.NAME");
        }
        let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            let (value, comment) = value.split_once(" #").unwrap_or((value, ""));
            let has_none = line.starts_with('#') || comment.trim().starts_with("required");
            let value = if has_none { NONE.to_owned() } else { value.trim().replace("_000", "000") };
            wanted.insert(format!("{table}.{key}"), value);
        }
    }
    let page = page("docs/configuration.md");
    let rows = page.rows().filter(|row| row.len() == 3);
    let settings =
        rows.filter_map(|row| code(row[0]).first().map(|name| ((*name).to_owned(), row[1].to_owned())));
    let listed: BTreeMap<_, _> =
        settings.map(|(name, default)| (name, default.trim_matches('`').to_owned())).collect();
    let rows = |settings: &BTreeMap<String, String>| -> BTreeSet<String> {
        settings.iter().map(|(name, default)| format!("{name} = {default}")).collect()
    };
    check_rows(&page, &rows(&listed), &rows(&wanted));
}

#[test]
fn the_ready_list_of_cookies_is_on_the_page() {
    let caching = page("docs/caching.md");
    let rows = caching.rows_below("### Ignored cookies");
    let listed: BTreeSet<_> = rows.iter().skip(1).flat_map(|row| code(row[1])).map(str::to_owned).collect();
    check_rows(&caching, &listed, &ANALYTICS.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn every_metric_has_a_row_and_every_name_is_a_metric() {
    let rendered = Metrics::new("test").render();
    let types = rendered.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<String> = types.map(str::to_owned).collect();
    let operating = page("docs/operating.md");
    let rows = operating.rows_below("## Metrics");
    let listed = rows.iter().flat_map(|row| code(row[0])).map(str::to_owned).collect::<BTreeSet<_>>();
    check_rows(&operating, &listed, &there);
    for page in pages() {
        for name in words(&page.text, "dustgate_") {
            assert!(there.contains(&name), "{}: {name} is not a metric", page.path);
        }
    }
}

#[test]
fn every_event_and_every_field_of_the_log_has_a_row() {
    let mut events = BTreeSet::new();
    for (_, text) in sources() {
        for before in [".info(", ".warn(", ".error(", "Level::Info,", "Level::Warn,", "Level::Error,"] {
            events.extend(quoted_behind(&text, before));
        }
    }
    let operating = page("docs/operating.md");
    let rows = operating.rows_below("## Log");
    let at = rows.iter().position(|row| row[0] == "event").unwrap();
    let listed: BTreeSet<_> = rows[at + 1..].iter().flat_map(|row| code(row[0])).map(str::to_owned).collect();
    check_rows(&operating, &listed, &events);

    let line = std::fs::read_to_string(root().join("src/telemetry/access.rs")).unwrap();
    let mut fields = BTreeSet::new();
    for how in ["text", "plain", "ms", "flag", "maybe", "quoted", "raw"] {
        fields.extend(quoted_behind(&line, &format!("line.{how}(")));
    }
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(operating.text.contains(&format!("`{field}`")), "{field} is not explained");
    }
}

#[test]
fn every_reason_not_to_store_has_a_row_with_the_setting_that_would_change_it() {
    let caching = page("docs/caching.md");
    let mut rows = caching.rows_below("## Why is it not stored");
    rows.retain(|row| !code(row[0]).is_empty());
    let listed = rows.iter().map(|row| code(row[0])[0].to_owned()).collect();
    let there = PassReason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    check_rows(&caching, &listed, &there);
    for (row, reason) in rows.iter().zip(PassReason::ALL) {
        assert_eq!(code(row[0])[0], reason.as_str(), "in the order of the code");
        let named = |text: &str| text.split([' ', '=', '`', ',', ';']).next().map(str::to_owned);
        let setting = code(row[2]).first().and_then(|setting| named(setting));
        assert_eq!(setting, reason.setting().and_then(named), "{}", reason.as_str());
    }
}

#[test]
fn every_reason_not_to_store_is_in_the_tree() {
    let tree = page("docs/why-not-cached.md");
    let rows = tree.rows_below("## `detail`: it was not stored");
    let listed = rows.iter().flat_map(|row| code(row[0])).map(str::to_owned).collect();
    let there = PassReason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    check_rows(&tree, &listed, &there);
    // A reason that a setting changes leads to that setting.
    for reason in PassReason::ALL {
        let setting = reason.setting().and_then(|text| text.split([' ', ',']).next());
        let row = rows.iter().find(|row| code(row[0]).contains(&reason.as_str())).unwrap();
        let leads = setting.is_none_or(|setting| row[2].contains(setting));
        assert!(leads, "{}: {setting:?} is not in {:?}", reason.as_str(), row[2]);
    }
}

/// The names of all settings, with their sections.
fn settings() -> BTreeSet<String> {
    let page = page("docs/configuration.md");
    let rows = page.rows().filter(|row| row.len() == 3);
    rows.filter_map(|row| code(row[0]).first().map(|name| (*name).to_owned())).collect()
}

#[test]
fn settings_that_are_named_with_their_section_are_there() {
    let settings = settings();
    let sections = ["server.", "admin.", "dust.", "bodies.", "memory.", "log.", "upstreams.", "routes."];
    // Elsewhere a page may show how one is added.
    for page in pages().iter().filter(|page| page.path.starts_with("docs/")) {
        for word in page.codes() {
            let name =
                word.split([' ', '=']).next().unwrap_or_default().replace("upstreams.X.", "upstreams.NAME.");
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphabetic() || b"._".contains(&byte));
            let is_file =
                name.rsplit_once('.').is_some_and(|(_, last)| ["rs", "md", "sqlite", "toml"].contains(&last));
            if is_name && !is_file && sections.iter().any(|section| name.starts_with(section)) {
                let is_there = settings.contains(&name)
                    || settings.iter().any(|one| one.starts_with(&format!("{name}.")));
                assert!(is_there, "{}: {word} is no setting", page.path);
            }
        }
    }
}

#[test]
fn what_others_call_otherwise_is_a_setting_or_a_command_here() {
    let settings = settings();
    let coming = page("docs/coming-from.md");
    for from in ["## From nginx", "## From Varnish", "## From Souin, alone or in Caddy"] {
        let rows = coming.rows_below(from);
        assert!(rows.len() > 20, "{from}");
        for word in rows.iter().skip(1).flat_map(|row| code(row[1])) {
            let name = word.split([' ', '=']).next().unwrap_or_default();
            let ends = |one: &String| one == name || one.ends_with(&format!(".{name}"));
            let holds = |one: &String| one.contains(&format!(".{name}."));
            let is_there = name == "dustgate" || settings.iter().any(|one| ends(one) || holds(one));
            assert!(is_there, "{from}: {word}");
        }
    }
}

#[test]
fn every_command_has_a_row() {
    let help = Command::new(env!("CARGO_BIN_EXE_dustgate")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let there: BTreeSet<_> =
        commands.map_while(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned)).collect();
    let operating = page("docs/operating.md");
    let rows = operating.rows_below("## Commands");
    let named = rows.iter().filter_map(|row| code(row[0]).first()?.split(' ').nth(1).map(str::to_owned));
    check_rows(&operating, &named.collect(), &there);
}

#[test]
fn every_rule_that_code_cites_is_written_down() {
    let design = page("docs/design.md");
    let rules: BTreeSet<_> = design.rows().map(|row| row[0].to_owned()).collect();
    for (letter, last) in [('S', 18), ('F', 11)] {
        for number in 1..=last {
            assert!(rules.contains(&format!("{letter}{number}")), "{letter}{number}");
        }
    }
    for (path, text) in sources() {
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
                let number = word.strip_prefix(['S', 'F']).filter(|number| number.parse::<u8>().is_ok());
                assert!(number.is_none() || rules.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn every_word_of_the_crate_is_in_the_glossary() {
    let glossary = page("docs/glossary.md");
    let words: BTreeSet<_> =
        glossary.rows().flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>()).collect();
    let page = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let list = page.lines().skip_while(|line| *line != "//! # Words").skip(1);
    let list = list.take_while(|line| !line.starts_with("//! # "));
    let mut count = 0;
    // `- *one*, *other*: what they are; *third*: what that is.`
    for line in list {
        for word in line.split('*').skip(1).step_by(2) {
            count += 1;
            let word = word.strip_suffix('s').filter(|one| words.contains(*one)).unwrap_or(word);
            assert!(words.contains(word), "{word} is not in the glossary");
        }
    }
    assert!(count > 10, "{count} words");
}

#[test]
fn every_room_has_a_row() {
    let contributing = page("CONTRIBUTING.md");
    let rows = contributing.rows_below("## How the house is laid out");
    let rooms: BTreeSet<_> = rows.iter().flat_map(|row| code(row[0])).collect();
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in declared {
        assert!(rooms.contains(module), "{module} has no row in CONTRIBUTING.md");
    }
}

/// The product's own files, without what only their tests know.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "testkit");
            if path.is_dir() && !is_test {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                found.push((path, code));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    found
}

/// Words in quotation marks that something stands before, as the first of several arguments.
fn quoted_behind(text: &str, before: &str) -> BTreeSet<String> {
    let behind = text.match_indices(before).map(|(at, _)| text[at + before.len()..].trim_start());
    let quoted = behind.filter_map(|rest| rest.strip_prefix('"')?.split_once('"'));
    let several = quoted.filter(|(_, rest)| rest.starts_with([',', ')']));
    let words = several.map(|(word, _)| word.to_owned());
    words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect()
}

/// Words that begin so, each once.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    let found = text.match_indices(prefix).map(|(at, _)| text[at..].chars().take_while(|&c| letter(c)));
    found.map(Iterator::collect).filter(|word: &String| word.len() > prefix.len()).collect()
}
