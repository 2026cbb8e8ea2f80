//! Paths of entries: a list of segments, and its one text form.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The segments that a request names, and their text. The list wins over the text.
pub(super) fn named(request: &Map<String, Value>) -> Result<(Vec<String>, String), Refusal> {
    let segments = match (request.get("path_segments"), request.get("path")) {
        (Some(Value::Array(list)), _) => of_list(list)?,
        (_, Some(Value::String(text))) => parse(text)?,
        _ => return Err(Refusal::of("missing_path")),
    };
    let text = render(&segments);
    Ok((segments, text))
}

fn of_list(list: &[Value]) -> Result<Vec<String>, Refusal> {
    if list.is_empty() {
        return Err(Refusal::of("empty_path"));
    }
    let segment = |value: &Value| match value {
        Value::String(text) if text.is_empty() => Err(Refusal::of("empty_segment")),
        Value::String(text) => Ok(text.clone()),
        _ => Err(Refusal::of("not_a_string")),
    };
    list.iter().map(segment).collect()
}

/// The segments of a path in its text form.
pub(super) fn parse(text: &str) -> Result<Vec<String>, Refusal> {
    if text.is_empty() {
        return Err(Refusal::of("empty_path"));
    }
    text.split('/').map(unescaped).collect()
}

fn unescaped(segment: &str) -> Result<String, Refusal> {
    if segment.is_empty() {
        return Err(Refusal::of("empty_segment"));
    }
    let mut text = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(char) = chars.next() {
        match (char, char == '~') {
            (_, true) => match chars.next() {
                Some('0') => text.push('~'),
                Some('1') => text.push('/'),
                _ => return Err(Refusal::of("invalid_escape")),
            },
            (plain, false) => text.push(plain),
        }
    }
    Ok(text)
}

/// The text form of a path.
pub(super) fn render(segments: &[String]) -> String {
    let escaped = segments.iter().map(|segment| segment.replace('~', "~0").replace('/', "~1"));
    escaped.collect::<Vec<_>>().join("/")
}

/// Returns whether `path` stands below `above`. The server compares without regard to ASCII case.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    let (path, above) = (path.as_bytes(), above.as_bytes());
    path.len() > above.len() + 1
        && path[above.len()] == b'/'
        && path[..above.len()].eq_ignore_ascii_case(above)
}

/// Returns whether a glob names this path: `*` is one segment, a last `**` is one or more.
pub(super) fn matches(glob: &str, path: &str) -> bool {
    let mut path = path.split('/');
    let mut glob = glob.split('/').peekable();
    while let Some(part) = glob.next() {
        let Some(segment) = path.next() else { return false };
        match part {
            "**" if glob.peek().is_none() => return true,
            "*" => {}
            literal => {
                if literal.strip_prefix('\\').filter(|rest| rest.starts_with('*')).unwrap_or(literal)
                    != segment
                {
                    return false;
                }
            }
        }
    }
    path.next().is_none()
}
