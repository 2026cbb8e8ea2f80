//! The paths that a source file names, as full paths from the crate's root.

/// The code of a file: without comments, and without the tests that stand at its end.
pub fn code(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut code = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let begins_tests = line.starts_with("#[cfg(test)]")
            && lines.get(number + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if begins_tests {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push((number + 1, *line));
        }
    }
    code
}

/// Every path below `crate`, `super` or `self` that stands in the code of the module `at`, with the line
/// that it begins in: `super::b::{C, d::E}` in `a::x` names `a::b::C` and `a::b::d::E`.
pub fn named(text: &str, at: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut joined = String::new();
    let mut starts = Vec::new();
    for (number, line) in code(text) {
        starts.push((joined.len(), number));
        // A comment behind code; an address in a string is cut, and names nothing.
        joined.push_str(line.split(" //").next().unwrap_or_default());
        joined.push('\n');
    }
    let line_of = |place: usize| {
        let at = starts.partition_point(|(start, _)| *start <= place);
        at.checked_sub(1).map_or(0, |at| starts[at].1)
    };
    let mut found = Vec::new();
    let mut place = 0;
    while let Some(next) = next_root(&joined[place..]) {
        let begin = place + next;
        let mut paths = Vec::new();
        let rest = tree(&joined[begin..], &mut Vec::new(), &mut paths);
        for path in paths {
            if let Some(full) = resolve(&path, at) {
                found.push((line_of(begin), full));
            }
        }
        place = joined.len() - rest.len();
    }
    found
}

/// Where the next path begins that starts at a known place.
fn next_root(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let roots = ["crate::", "super::", "self::"];
        let at = roots.iter().filter_map(|root| text[from..].find(root)).min()? + from;
        let before = text[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Reads one path, or a tree of them in braces; returns the text behind it.
fn tree<'a>(text: &'a str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = before.len();
    let mut text = text.trim_start();
    loop {
        if let Some(mut inside) = text.strip_prefix('{') {
            loop {
                inside = inside.trim_start().trim_start_matches(',').trim_start();
                if let Some(rest) = inside.strip_prefix('}') {
                    before.truncate(depth);
                    return rest;
                }
                let rest = tree(inside, &mut before.clone(), found);
                if rest.len() == inside.len() {
                    // No path: code in braces behind a path. Nothing more of it is read here.
                    before.truncate(depth);
                    return rest;
                }
                inside = rest;
            }
        }
        let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if word.is_empty() {
            break;
        }
        text = &text[word.len()..];
        before.push(word);
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    if before.len() > depth {
        found.push(before.clone());
    }
    before.truncate(depth);
    if let Some(rest) = text.strip_prefix(" as ") {
        return rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    text
}

/// The full path: without `crate`, and with what `super` and `self` stand for.
fn resolve(path: &[String], at: &[String]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    let (base, rest) = match path.first().map(String::as_str)? {
        "crate" => (&at[..0], &path[1..]),
        "self" => (at, &path[1..]),
        "super" => (&at[..at.len().checked_sub(ups)?], &path[ups..]),
        _ => return None,
    };
    Some(base.iter().chain(rest).cloned().collect())
}

#[test]
fn paths_are_found_in_braces_on_several_lines_and_from_where_they_stand() {
    let at = ["proxy", "fill", "judge"].map(str::to_owned);
    let names = |text: &str| -> Vec<String> {
        named(text, &at).into_iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect()
    };
    assert_eq!(
        names("use crate::{clock::{Clock, Dice}, dust,\n    key};\nuse super::store::Body;"),
        ["1 clock::Clock", "1 clock::Dice", "1 dust", "1 key", "3 proxy::fill::store::Body"]
    );
    assert_eq!(names("fn f(a: super::super::past::Past) {\n}"), ["1 proxy::past::Past"]);
    assert_eq!(names("let a = self::b::c(1); // super::d"), ["1 proxy::fill::judge::b::c"]);
    assert_eq!(names("/// crate::key\nuse std::fmt;"), Vec::<String>::new());
    assert_eq!(names("use crate::key::Key as Name;\ncrate::record::of()"), ["1 key::Key", "2 record::of"]);
}
