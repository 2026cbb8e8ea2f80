//! The pages of the documentation, their tables, headings and links.

use std::path::{Path, PathBuf};

/// One page.
#[derive(Debug, Clone)]
pub struct Page {
    /// From the root of the repository.
    pub path: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that the tests read: those at the root, and all of `docs`.
pub fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(PathBuf::from).into();
    let below = std::fs::read_dir(root().join("docs")).unwrap();
    paths.extend(below.map(|entry| Path::new("docs").join(entry.unwrap().file_name())));
    paths.sort();
    paths.into_iter().map(|path| page(path.to_str().unwrap())).collect()
}

/// The page at a path.
pub fn page(path: &str) -> Page {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path: path.to_owned(), text }
}

impl Page {
    /// The text without its fenced blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            fenced ^= is_fence;
            !fenced && !is_fence
        })
    }

    /// The cells of each row of each table.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        let rows = self.prose().filter(|line| line.starts_with('|') && !line.starts_with("|--"));
        rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
    }

    /// The rows of the tables below a heading, up to the next one.
    pub fn rows_below(&self, heading: &str) -> Vec<Vec<&str>> {
        let mut lines = self.prose().skip_while(|line| *line != heading);
        assert!(lines.next().is_some(), "{} has no {heading:?}", self.path);
        let below = lines.take_while(|line| !line.starts_with('#'));
        let rows = below.filter(|line| line.starts_with('|') && !line.starts_with("|--"));
        rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
    }

    /// What each heading is linked by.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// What is written as code within its lines.
    pub fn codes(&self) -> Vec<String> {
        self.prose().flat_map(|line| code(line)).map(str::to_owned).collect()
    }

    /// What it links to, without what is written as code.
    pub fn links(&self) -> Vec<String> {
        let text: String = self.prose().map(|line| uncoded(line) + "\n").collect();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }
}

/// The words in a cell that are written as code.
pub fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn uncoded(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// As the sites that show Markdown make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn a_heading_is_linked_by_its_letters() {
    for (heading, wanted) in [
        ("What is promised", "what-is-promised"),
        ("`lease_ttl`", "lease_ttl"),
        ("HTTP/2 to the origin", "http2-to-the-origin"),
        ("`[server]`: the clients' port", "server-the-clients-port"),
    ] {
        assert_eq!(anchor(heading), wanted);
    }
}

#[test]
fn what_is_code_is_no_link() {
    let page =
        Page { path: String::new(), text: "a [b `c`](d.md) `[x](y)`\n```\n[e](f)\n```\n# G\n".to_owned() };
    assert_eq!((page.links(), page.anchors()), (vec!["d.md".to_owned()], vec!["g".to_owned()]));
}
