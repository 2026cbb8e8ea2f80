//! Text as a terminal may have it: what would move its cursor, change its colours or turn the direction of what
//! stands beside it is written as a code. Log lines and the output of commands hold text of clients and origins.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a terminal does something else with this character than to show it: controls (C0, DEL, C1), marks
/// of direction, and the separators of lines and paragraphs.
pub fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The text with a code for each such character, as JSON and TOML write it in a string: `\u009b`. Ends of lines
/// stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_code = |char: char| char != '\n' && is_unprintable(char);
    if !text.contains(is_code) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_code(char) {
            // Writing into a String cannot fail. None of them is beyond four digits.
            let _ = write!(shown, "\\u{:04x}", u32::from(char));
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_a_code() {
        for (text, shown) in [
            ("plain ünï€😀\n", "plain ünï€😀\n"),
            ("\u{1b}[2J\r\u{7}\t", "\\u001b[2J\\u000d\\u0007\\u0009"),
            ("\u{7f}\u{80}\u{9b}31m\u{9f}\u{a0}", "\\u007f\\u0080\\u009b31m\\u009f\u{a0}"),
            ("a\u{202e}b\u{2069}\u{2028}", "a\\u202eb\\u2069\\u2028"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }
}
