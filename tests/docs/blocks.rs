//! Fenced blocks of a Markdown page.

use std::fmt::Write as _;

use super::pages::Page;

/// What a block is, by its info string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Console,
    Fleet,
    /// As a console, against an instance that serves with the settings above.
    Recipe,
    Acl,
    Log,
    Toml,
    Json,
    Sh,
    /// A file of another program, which checks it.
    Nginx,
    Haproxy,
    /// Shown and not run: the layout of something.
    Text,
}

/// A block, and the line that it begins on.
#[derive(Debug)]
pub struct Block {
    pub kind: Kind,
    /// The page and the line, as an editor opens it.
    pub place: String,
    pub text: String,
}

/// All blocks of a page. Panics at one that is not of a known kind or has no end: nothing is skipped.
pub fn blocks(page: &Page) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (at, text) in page.text.lines().enumerate() {
        let place = format!("{}:{}", page.path, at + 1);
        match (text.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(""), Some(_)) => found.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block { kind: kind(info, &place), place, text: String::new() });
            }
            (Some(info), Some(_)) => panic!("{place}: ```{info} inside a block"),
            (None, Some(block)) => _ = writeln!(block.text, "{text}"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block has no end", page.path);
    found
}

/// The blocks of one kind.
pub fn blocks_of(page: &Page, kind: Kind) -> Vec<Block> {
    blocks(page).into_iter().filter(|block| block.kind == kind).collect()
}

fn kind(info: &str, place: &str) -> Kind {
    match info {
        "console" => Kind::Console,
        "fleet" => Kind::Fleet,
        "recipe" => Kind::Recipe,
        "acl" => Kind::Acl,
        "log" => Kind::Log,
        "toml" => Kind::Toml,
        "json" => Kind::Json,
        "sh" => Kind::Sh,
        "nginx" => Kind::Nginx,
        "haproxy" => Kind::Haproxy,
        // What needs another project to run is only shown.
        "text" | "elixir" => Kind::Text,
        other => panic!("{place}: no test knows what to do with ```{other}"),
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
                let (_, shown) = commands.last_mut().unwrap_or_else(|| panic!("{}: no command", self.place));
                let _ = writeln!(shown, "{line}");
            }
        }
        commands
    }
}

fn page(text: &str) -> Page {
    Page { path: "p.md".to_owned(), text: text.to_owned() }
}

#[test]
fn every_block_is_found() {
    let found = blocks(&page("a\n```console\n$ one\n1\n\n2\n$ two\n```\nb\n```toml\n[a]\n```\n"));
    assert_eq!((found[0].kind, &*found[0].place, found[1].kind), (Kind::Console, "p.md:2", Kind::Toml));
    let commands = found[0].commands();
    assert_eq!(commands, [("one".into(), "1\n\n2\n".into()), ("two".into(), String::new())]);
}

#[test]
#[should_panic(expected = "p.md:1: no test knows what to do with ```yaml")]
fn an_unknown_kind_is_an_error() {
    blocks(&page("```yaml\n```\n"));
}
