//! The README's examples, run: what it says is what happens.
//!
//! A fenced block says what it is. `console`: each `$ command` is run, in order, against one demo
//! on free ports with a fast origin. `fleet`: the same against three instances with
//! `config/fleet.toml` on a Redis whose user is made by the `acl` block. `log`: lines that the demo wrote meanwhile. `toml`: settings.
//! `json`: what a value key holds. `sh`: how to begin. Anything else is an error.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "readme/alike.rs"]
mod alike;
#[path = "readme/blocks.rs"]
mod blocks;
#[path = "readme/demo.rs"]
mod demo;
#[path = "readme/fleet.rs"]
mod fleet;

use std::collections::BTreeSet;
use std::process::Command;

use dustgate::config;
use dustgate::record::codec;

use blocks::{Block, Kind, blocks, readme};
use demo::Demo;
use fleet::Fleet;

fn of(kind: Kind) -> Vec<Block> {
    blocks(&readme()).into_iter().filter(|block| block.kind == kind).collect()
}

#[test]
fn the_console_says_what_the_readme_says() {
    let demo = Demo::start();
    let mut wrong = Vec::new();
    for block in of(Kind::Console) {
        for (command, shown) in block.commands() {
            let said = demo.run(&command);
            if let Err(why) = alike::lines(&shown, &said) {
                wrong.push(format!("README.md:{}: $ {command}\n{why}\n--- it said:\n{said}", block.line));
            }
        }
    }
    let metrics = demo.run("curl -s http://127.0.0.1:8081/metrics");
    let (log, code) = demo.end();
    for block in of(Kind::Log) {
        for line in block.text.lines() {
            if !log.lines().any(|said| alike::line(line, said)) {
                wrong.push(format!("README.md:{}: not in the log: {line}\n--- it said:\n{log}", block.line));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
    assert_eq!(code, Some(0), "SIGTERM drains");
    for name in words(&readme(), "dustgate_") {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} is not a metric");
    }
}

#[test]
fn a_fleet_says_what_the_readme_says() {
    let [acl] = &*of(Kind::Acl) else { panic!("one user") };
    let fleet = Fleet::start(&acl.text);
    for block in of(Kind::Fleet) {
        for (command, shown) in block.commands() {
            let said = fleet.run(&command);
            if let Err(why) = alike::lines(&shown, &said) {
                panic!("README.md:{}: $ {command}\n{why}\n--- it said:\n{said}", block.line);
            }
        }
    }
}

#[test]
fn settings_are_read() {
    let env = [("ADMIN_TOKEN".to_owned(), "0123456789abcdef".to_owned())];
    for block in of(Kind::Toml) {
        // What an example leaves out, as any file would have it.
        let mut text = block.text.clone();
        if text.contains("\"catalog\"") && !text.contains("[upstreams.catalog]") {
            text += "\n[upstreams.catalog]\nurl = \"https://origin.example.com\"\n";
        }
        if !text.contains("[[routes]]") {
            text += "\n[[routes]]\nname = \"all\"\nupstream = \"https://origin.example.com\"\n";
        }
        match config::load_text(Some((format!("README.md:{}", block.line), text)), env.clone()) {
            Ok(settings) => assert!(settings.warnings().is_empty(), "{:?}", settings.warnings()),
            Err(problems) => {
                panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

#[test]
fn records_are_read_and_every_field_is_explained() {
    let readme = readme();
    for block in of(Kind::Json) {
        let pointer = codec::decode(&block.text, &codec::Limits::NONE)
            .unwrap_or_else(|error| panic!("README.md:{}: {error}", block.line));
        let again: serde_json::Value = serde_json::from_str(&codec::encode(&pointer).unwrap()).unwrap();
        let shown: serde_json::Value = serde_json::from_str(&block.text).unwrap();
        assert_eq!(shown, again, "README.md:{}", block.line);
        for field in again.as_object().unwrap().keys() {
            assert!(readme.contains(&format!("\n| `{field}` |")), "{field} is not explained");
        }
    }
}

#[test]
fn the_first_commands_are_commands() {
    for block in of(Kind::Sh) {
        for line in block.text.lines() {
            // tests/run runs this very test.
            let Some(words) = line.strip_prefix("cargo run --release -- ") else {
                // What compose makes of its files is tests/compose.rs' to check.
                assert!(["tests/run", "docker compose up --build --wait"].contains(&line), "{line}");
                continue;
            };
            let mut command = Command::new(env!("CARGO_BIN_EXE_dustgate"));
            let status = command.args(words.split(' ')).arg("--help").output().unwrap().status;
            assert!(status.success(), "{line}");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.starts_with("https://")) {
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target}");
    }
}

/// Words that begin so, each once.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    let found = text.match_indices(prefix).map(|(at, _)| text[at..].chars().take_while(|&c| letter(c)));
    found.map(Iterator::collect).filter(|word: &String| word.len() > prefix.len()).collect()
}
