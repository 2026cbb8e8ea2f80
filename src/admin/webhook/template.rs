//! What a webhook's request names: texts, with values of its JSON in them. Pure.
//!
//! A path begins with `$`. Then come members, `.name` or `['any name']`, places in lists, `[0]`, and `[*]` for
//! each of a list's. That is the part of JSONPath (RFC 9535) that names things. A text may have one path in it,
//! in braces: `post-{$.post.id}`.

use serde_json::Value;

/// A text that stands for one text, or for one for each value of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    before: String,
    path: Option<Path>,
    after: String,
}

/// A way to values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    At(usize),
    Each,
}

impl Template {
    /// Reads it as written.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a text, or a path such as \"$.ids[*]\", is meant".to_owned());
        }
        if text.starts_with('$') {
            return Ok(Self { before: String::new(), path: Some(Path::parse(text)?), after: String::new() });
        }
        let Some((before, rest)) = text.split_once('{') else {
            let after =
                if text.contains('}') { Err("a } without a {".to_owned()) } else { Ok(String::new()) };
            return Ok(Self { before: text.to_owned(), path: None, after: after? });
        };
        let (path, after) = rest.split_once('}').ok_or("a { without a }")?;
        if [before, after].iter().any(|part| part.contains(['{', '}'])) {
            return Err("one path is in braces, and not several".to_owned());
        }
        Ok(Self { before: before.to_owned(), path: Some(Path::parse(path)?), after: after.to_owned() })
    }

    /// The texts that it stands for in a document, at most `most` of them. What is null, missing or empty
    /// there stands for none.
    ///
    /// # Errors
    /// There are more, or a value is neither text nor number.
    pub(super) fn texts(&self, document: &Value, most: usize) -> Result<Vec<String>, String> {
        let Some(path) = &self.path else { return Ok(vec![self.before.clone()]) };
        let mut texts = Vec::new();
        for value in path.values(document, most)? {
            let text = match value {
                Value::Null => continue,
                Value::String(text) if text.is_empty() => continue,
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Array(_) => return Err(format!("{path} is a list; {path}[*] names each of it")),
                Value::Bool(_) | Value::Object(_) => {
                    return Err(format!("{path} is neither a text nor a number"));
                }
            };
            texts.push(format!("{}{text}{}", self.before, self.after));
        }
        Ok(texts)
    }
}

// === impl Path ===

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |rest: &str| {
            Err(format!(
                "{rest:?} is no step of a path: \".name\", \"['name']\", \"[0]\" or \"[*]\" is meant"
            ))
        };
        let mut rest = text.strip_prefix('$').ok_or("a path begins with $, as in \"$.post.id\"")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(named) = rest.strip_prefix('.') {
                let end = named.find(['.', '[']).unwrap_or(named.len());
                let (name, after) = named.split_at(end);
                let plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
                if name.is_empty() || !name.chars().all(plain) {
                    return wrong(rest);
                }
                steps.push(Step::Member(name.to_owned()));
                rest = after;
                continue;
            }
            let Some((inside, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'))
            else {
                return wrong(rest);
            };
            let quoted = ['\'', '"'].iter().find_map(|&mark| {
                let name = inside.strip_prefix(mark)?.strip_suffix(mark)?;
                (!name.is_empty() && !name.contains(mark)).then(|| name.to_owned())
            });
            steps.push(match (inside, quoted) {
                ("*", _) => Step::Each,
                (_, Some(name)) => Step::Member(name),
                (number, None) => match number.parse() {
                    Ok(at) if number.bytes().all(|byte| byte.is_ascii_digit()) => Step::At(at),
                    _ => return wrong(rest),
                },
            });
            rest = after;
        }
        Ok(Self(steps))
    }

    /// The values that it leads to, in order. A document without such a place has none.
    fn values<'a>(&self, document: &'a Value, most: usize) -> Result<Vec<&'a Value>, String> {
        let mut values = vec![document];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in values {
                match (step, value) {
                    (Step::Member(name), Value::Object(members)) => next.extend(members.get(name)),
                    (Step::At(at), Value::Array(list)) => next.extend(list.get(*at)),
                    (Step::Each, Value::Array(list)) => next.extend(list),
                    _ => {}
                }
                if next.len() > most {
                    return Err(format!("{self} names more than {most} values"));
                }
            }
            values = next;
        }
        Ok(values)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Member(name) => write!(f, ".{name}")?,
                Step::At(at) => write!(f, "[{at}]")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(template: &str, document: &Value) -> Result<Vec<String>, String> {
        Template::parse(template).expect("a template").texts(document, 3)
    }

    #[test]
    fn a_template_stands_for_a_text_for_each_value() {
        let document = json!({
            "ids": [1, "two", 3], "post": {"id": 7, "a b": "x", "empty": "", "none": null},
            "tags": [{"slug": "red"}, {"slug": "green"}, {}],
        });
        for (template, want) in [
            ("home", &["home"][..]),
            ("$.ids[*]", &["1", "two", "3"]),
            ("$.ids[1]", &["two"]),
            ("$.ids[3]", &[]),
            ("post-{$.post.id}", &["post-7"]),
            ("https://h/{$.tags[*].slug}/x", &["https://h/red/x", "https://h/green/x"]),
            ("$['post'][\"a b\"]", &["x"]),
            ("{$.post.empty}", &[]),
            ("{$.post.none}", &[]),
            ("{$.post.nothing.below}", &[]),
            ("{$.ids.name}", &[]),
        ] {
            let want: Vec<String> = want.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(texts(template, &document), Ok(want), "{template}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let document = json!({"list": [1], "object": {}, "flag": true, "many": [1, 2, 3, 4]});
        for (template, told) in [
            ("$.list", "$.list[*] names each"),
            ("$.object", "neither a text nor a number"),
            ("$.flag", "neither"),
            ("$.many[*]", "more than 3"),
            ("$", "neither"),
        ] {
            let error = texts(template, &document).expect_err(template);
            assert!(error.contains(told), "{template}: {error}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        for (wrong, told) in [
            ("", "is meant"),
            ("a{", "without a }"),
            ("a}", "without a {"),
            ("{$.a}{$.b}", "not several"),
            ("{a}", "begins with $"),
            ("post-{}", "begins with $"),
            ("$.", "is no step"),
            ("$..a", "is no step"),
            ("$.a[", "is no step"),
            ("$.a[-1]", "is no step"),
            ("$.a[+1]", "is no step"),
            ("$.a['b]", "is no step"),
            ("$.a[?(@.b)]", "is no step"),
            ("$a", "is no step"),
            ("$.a b", "is no step"),
        ] {
            let error = Template::parse(wrong).expect_err(wrong);
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
