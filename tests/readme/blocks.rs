//! Fenced blocks of a Markdown page.

use std::fmt::Write as _;

/// What a block is, by its info string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Console,
    Fleet,
    Acl,
    Log,
    Toml,
    Json,
    Sh,
}

/// A block, and the line that it begins on.
#[derive(Debug)]
pub struct Block {
    pub kind: Kind,
    pub line: usize,
    pub text: String,
}

pub fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// All of them. Panics at one that is not of a known kind or has no end: nothing is skipped.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (at, text) in page.lines().enumerate() {
        match (text.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(""), Some(_)) => found.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block { kind: kind(info, at + 1), line: at + 1, text: String::new() });
            }
            (Some(info), Some(_)) => panic!("README.md:{}: ```{info} inside a block", at + 1),
            (None, Some(block)) => _ = writeln!(block.text, "{text}"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    found
}

fn kind(info: &str, line: usize) -> Kind {
    match info {
        "console" => Kind::Console,
        "fleet" => Kind::Fleet,
        "acl" => Kind::Acl,
        "log" => Kind::Log,
        "toml" => Kind::Toml,
        "json" => Kind::Json,
        "sh" => Kind::Sh,
        other => panic!("README.md:{line}: no test knows what to do with ```{other}"),
    }
}

impl Block {
    /// Each command, and what is shown of its output.
    pub fn commands(&self) -> Vec<(String, String)> {
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in self.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), String::new()));
            } else {
                let (_, shown) =
                    commands.last_mut().unwrap_or_else(|| panic!("README.md:{}: no command", self.line));
                let _ = writeln!(shown, "{line}");
            }
        }
        commands
    }
}

#[test]
fn every_block_is_found() {
    let page = "a\n```console\n$ one\n1\n\n2\n$ two\n```\nb\n```toml\n[a]\n```\n";
    let found = blocks(page);
    assert_eq!((found[0].kind, found[0].line, found[1].kind), (Kind::Console, 2, Kind::Toml));
    let commands = found[0].commands();
    assert_eq!(commands, [("one".into(), "1\n\n2\n".into()), ("two".into(), String::new())]);
}

#[test]
#[should_panic(expected = "README.md:1: no test knows what to do with ```yaml")]
fn an_unknown_kind_is_an_error() {
    blocks("```yaml\n```\n");
}
