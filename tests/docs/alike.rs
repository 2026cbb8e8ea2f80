//! Whether output is what is shown, but for what differs from run to run.
//!
//! `…` in what is shown stands for anything within its line. Beside that only these differ: what
//! follows one of [`VARYING`], times of day, durations in ms, and `instance#fence`.

/// Which characters something is made of.
type Made = fn(char) -> bool;

/// What varies: it follows this, and is made of such characters.
const VARYING: &[(&str, Made)] = &[
    ("date: ", |_| true),
    ("age: ", digit),
    ("Age: ", digit),
    ("age ", digit),
    ("ttl=", signed),
    ("→ ", digit),
    ("kept until ", |_| true),
    ("stamp above ", digit),
    ("\"number\":", digit),
    ("\"ms\":", digit),
    ("\"confirmed\":[\"", |c| c != '"'),
];

/// Whether all lines are alike; if not, the first pair that is not.
pub fn lines(shown: &str, said: &str) -> Result<(), String> {
    let said = said.replace('\r', "");
    let (mut shown, mut said) = (shown.trim_end().lines(), said.trim_end().lines());
    loop {
        match (shown.next(), said.next()) {
            (None, None) => return Ok(()),
            (Some(one), Some(other)) if line(one, other) => {}
            (one, other) => {
                let end = "(the end)";
                return Err(format!("shown: {}\nsaid:  {}", one.unwrap_or(end), other.unwrap_or(end)));
            }
        }
    }
}

/// Whether two lines are alike.
pub fn line(shown: &str, said: &str) -> bool {
    let (shown, said) = (plain(shown), plain(said));
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A line without what varies.
fn plain(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (before, varies) in VARYING {
        let parts: Vec<&str> = line.split(before).collect();
        let kept = parts
            .iter()
            .enumerate()
            .map(|(nth, part)| if nth == 0 { part } else { part.trim_start_matches(*varies) });
        line = kept.collect::<Vec<_>>().join(&format!("{before}~"));
    }
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> &str {
    let numbers = |text: &str, between: &[char]| {
        text.contains(digit) && text.chars().all(|c| digit(c) || between.contains(&c))
    };
    if word.len() == 12 && numbers(word, &[':', '.']) {
        "(time)"
    } else if word.strip_suffix("ms").is_some_and(|text| numbers(text, &[])) {
        "(duration)"
    } else if word.split_once('#').is_some_and(|(_, fence)| numbers(fence, &[])) {
        "(fence)"
    } else {
        word
    }
}

fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn signed(c: char) -> bool {
    c == '-' || digit(c)
}

#[test]
fn only_what_varies_may_differ() {
    for (shown, said, same) in [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK", true),
        ("HTTP/1.1 200 OK", "HTTP/1.1 500 OK", false),
        ("fetch 1 of /a", "fetch 2 of /a", false),
        ("date: Mon", "date: Tue", true),
        ("cache-status: dustgate; hit; ttl=57", "cache-status: dustgate; hit; ttl=-1", true),
        ("cache-status: dustgate; hit; ttl=57", "cache-status: dustgate; fwd=stale; ttl=57", false),
        ("x, age 19 s → 41 s left; y", "x, age 0 s → 59 s left; y", true),
        ("{\"number\":24,\"ms\":0}", "{\"number\":7,\"ms\":12}", true),
        ("21:32:10.937 GET h/a 200 2004ms vm-1#2 d", "01:02:03.004 GET h/a 200 41ms x#99 d", true),
        ("21:32:10.937 GET h/a 200 2004ms vm-1#2 d", "01:02:03.004 GET h/a 404 41ms x#99 d", false),
        ("a … c", "a b b c", true),
        ("a … c", "a b b d", false),
    ] {
        assert_eq!(line(shown, said), same, "{shown} / {said}");
    }
    assert!(lines("a\n\nb\n", "a\r\n\r\nb\r\n").is_ok());
    assert!(lines("a\n", "a\nb\n").is_err());
}
