//! The documentation, run: what it says is what happens.
//!
//! Read are the pages at the root and all of `docs`. A fenced block says what it is. `console`: each
//! `$ command` is run, in order, against a demo of the page's own on free ports with a fast origin. `log`:
//! lines that this demo wrote meanwhile. `fleet`: the same as `console` against three instances with
//! `config/fleet.toml` on a Redis whose user is made by the `acl` block. `toml`: settings. `recipe`: the same as
//! `console` against an instance with the `toml` block above. `nginx`, `haproxy`: a file that this program
//! accepts. `json`: what an entry of a store holds. `sh`: how to begin, or to test. `text`: a layout, shown and
//! not run. Anything else is an error.
//!
//! Tables are compared with the code: settings, metrics, events, names in the stores, rules, words.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "docs/alike.rs"]
mod alike;
#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/demo.rs"]
mod demo;
#[path = "docs/fleet.rs"]
mod fleet;
#[path = "docs/formats.rs"]
mod formats;
#[path = "docs/neighbours.rs"]
mod neighbours;
#[path = "docs/origin.rs"]
mod origin;
#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/recipes.rs"]
mod recipes;
#[path = "docs/tables.rs"]
mod tables;

use std::process::Command;

use dustgate::config;

use blocks::{Kind, blocks, blocks_of};
use demo::Demo;
use fleet::Fleet;
use pages::{page, pages, root};

/// What the README may have, so that it is read.
const MOST_LINES: usize = 200;

#[test]
fn the_console_says_what_the_pages_say() {
    let mut wrong = Vec::new();
    for page in pages() {
        let shown = blocks_of(&page, Kind::Console);
        if shown.is_empty() {
            assert!(blocks_of(&page, Kind::Log).is_empty(), "{}: a log of nothing", page.path);
            continue;
        }
        let demo = Demo::start();
        for block in shown {
            for (command, shown) in block.commands() {
                let said = demo.run(&command);
                if let Err(why) = alike::lines(&shown, &said) {
                    wrong.push(format!("{}: $ {command}\n{why}\n--- it said:\n{said}", block.place));
                }
            }
        }
        let (log, code) = demo.end();
        for block in blocks_of(&page, Kind::Log) {
            for line in block.text.lines() {
                if !log.lines().any(|said| alike::line(line, said)) {
                    wrong.push(format!("{}: not in the log: {line}\n--- it said:\n{log}", block.place));
                }
            }
        }
        assert_eq!(code, Some(0), "SIGTERM drains");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}

#[test]
fn a_fleet_says_what_the_pages_say() {
    let acls: Vec<_> = pages().iter().flat_map(|page| blocks_of(page, Kind::Acl)).collect();
    let [acl] = &*acls else { panic!("one user") };
    for page in pages() {
        let shown = blocks_of(&page, Kind::Fleet);
        if shown.is_empty() {
            continue;
        }
        let fleet = Fleet::start(&acl.text);
        for block in shown {
            for (command, shown) in block.commands() {
                let said = fleet.run(&command);
                if let Err(why) = alike::lines(&shown, &said) {
                    panic!("{}: $ {command}\n{why}\n--- it said:\n{said}", block.place);
                }
            }
        }
        formats::check_names_in_redis(&fleet.keys(), "fleet");
    }
}

#[test]
fn settings_are_read() {
    let env = [
        ("ADMIN_TOKEN", "0123456789abcdef"),
        ("ORIGIN_TOKEN", "Bearer 0123456789abcdef"),
        ("REDIS_URL", "redis://redis.internal:6379"),
        ("DUST_URL", "redis://redis.internal:6379"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for block in pages().iter().flat_map(|page| blocks_of(page, Kind::Toml)) {
        // What an example leaves out, as any file would have it.
        let mut text = block.text.clone();
        if text.contains("\"catalog\"") && !text.contains("[upstreams.catalog]") {
            text += "\n[upstreams.catalog]\nurl = \"https://origin.example.com\"\n";
        }
        if !text.contains("[[routes]]") {
            text += "\n[[routes]]\nname = \"all\"\nupstream = \"https://origin.example.com\"\n";
        }
        match config::load_text(Some((block.place, text)), env.clone()) {
            Ok(settings) => assert!(settings.warnings().is_empty(), "{:?}", settings.warnings()),
            Err(problems) => {
                panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

#[test]
fn commands_that_are_shown_are_there() {
    for block in pages().iter().flat_map(|page| blocks_of(page, Kind::Sh)) {
        for line in block.text.lines().filter(|line| !line.is_empty()) {
            let line = line.split(" #").next().unwrap().trim_end();
            // Variables before a command change what it does, and not whether it is there.
            let is_variable = |word: &&str| word.contains('=') && !word.starts_with('-');
            let words = line.split(' ').skip_while(is_variable);
            let words: Vec<_> = words.take_while(|word| *word != ">").collect();
            assert!(is_there(&words), "{}: {line}", block.place);
        }
    }
}

fn is_there(words: &[&str]) -> bool {
    match words {
        ["sudo", rest @ ..] => is_there(rest),
        ["cargo", "run", "--release", "--", args @ ..] | ["dustgate", args @ ..] => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dustgate"));
            let command = command.current_dir(root()).args(args);
            // What only looks is done; what serves is asked what it would do.
            let command = if args[0] == "check" { command } else { command.arg("--help") };
            command.output().unwrap().status.success()
        }
        ["cargo", "fmt" | "clippy" | "doc" | "test" | "nextest" | "build" | "check", rest @ ..] => {
            rest.windows(2).all(|pair| match pair {
                ["--test", suite] => [format!("{suite}.rs"), format!("{suite}/main.rs")]
                    .iter()
                    .any(|file| root().join("tests").join(file).exists()),
                ["--manifest-path", path] => root().join(path).exists(),
                _ => true,
            })
        }
        // What compose makes of its files is tests/compose.rs' to check.
        ["docker", "compose", "up", "--build", "--wait"] => true,
        // Of the system: the files of the repository that it is given are there.
        ["apt" | "curl" | "docker" | "install" | "journalctl" | "kubectl" | "systemctl", args @ ..] => {
            args.iter().filter(|arg| arg.starts_with("config/")).all(|file| root().join(file).exists())
        }
        // What HAProxy makes of its file is tests/fleet/balanced.rs' to check.
        ["haproxy", "-f", file] => root().join(file).exists(),
        // A program of the repository.
        [program, ..] => program.contains('/') && root().join(program).exists(),
        [] => false,
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    for page in &pages {
        let dir = std::path::Path::new(&page.path).parent().unwrap();
        for link in page.links().iter().filter(|link| !link.starts_with("https://")) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if target.is_empty() { page.path.clone().into() } else { dir.join(target) };
            let Ok(path) = root().join(path).canonicalize() else {
                wrong.push(format!("{}: {link} is not there", page.path));
                continue;
            };
            let path = path.strip_prefix(root().canonicalize().unwrap()).unwrap().to_owned();
            let linked = pages.iter().find(|page| std::path::Path::new(&page.path) == path);
            let has = |page: &pages::Page| page.anchors().iter().any(|there| there == anchor);
            if !anchor.is_empty() && !linked.is_some_and(has) {
                wrong.push(format!("{}: {link} has no such heading", page.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_that_are_named_are_there() {
    let mut wrong = Vec::new();
    for page in pages() {
        for word in page.codes() {
            let is_path = ["src/", "tests/", "config/", "docs/"].iter().any(|dir| word.starts_with(dir));
            let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            if is_path && is_plain && !root().join(&word).exists() {
                wrong.push(format!("{}: {word}", page.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_page_is_linked_from_the_index_and_the_readme_is_short() {
    let linked: Vec<_> = page("docs/README.md").links();
    for page in pages() {
        let name = page.path.strip_prefix("docs/").map_or(format!("../{}", page.path), str::to_owned);
        assert!(name == "README.md" || linked.contains(&name), "{} is not in docs/README.md", page.path);
        // And each of its blocks is of a known kind.
        blocks(&page);
    }
    let lines = page("README.md").text.lines().count();
    assert!(lines <= MOST_LINES, "README.md has {lines} lines");
}
