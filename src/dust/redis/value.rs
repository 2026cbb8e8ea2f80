//! The form of an entry in the server: one letter, the number, a blank, and the text or the holder's
//! name.
//!
//! A value that has bytes beside it has the tail of their name, and a blank, before its text. The scripts
//! find the bytes by it. A reader that does not know this form takes the entry for absent.

use std::str;
use std::time::Duration;

use super::super::{Entry, Number, Value};

/// The tail of the name of bytes beside the value at `key`, if they may be called that.
pub(super) fn tail<'a>(key: &str, name: &'a str) -> Option<&'a str> {
    let tail = name.strip_prefix(key)?.strip_prefix('/')?;
    (!tail.is_empty() && !tail.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b')).then_some(tail)
}

/// Reads an entry. What this store has not written gets the number 1, which is below all others.
pub(super) fn read(bytes: &[u8], rest: impl FnOnce() -> Option<Duration>) -> Entry {
    parse(bytes).map_or(Entry { value: Value::Other, number: 1 }, |(is_lease, number, text)| {
        let value = if is_lease { Value::Lease { rest: rest() } } else { Value::Text(text.into()) };
        Entry { value, number }
    })
}

/// Returns whether it is a lease.
pub(super) fn is_lease(bytes: &[u8]) -> bool {
    parse(bytes).is_some_and(|(is_lease, ..)| is_lease)
}

fn parse(bytes: &[u8]) -> Option<(bool, Number, &str)> {
    let kind = *bytes.first()?;
    let (number, text) = str::from_utf8(&bytes[1..]).ok()?.split_once(' ')?;
    let text = match kind {
        b'l' | b'v' => text,
        b'b' => text.split_once(' ')?.1,
        _ => return None,
    };
    Some((kind == b'l', number.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, number: u64, text: String) {
            let _ = (read(&bytes, || None), is_lease(&bytes));
            for kind in ["v", "b", "l", "x"] {
                let mut written = format!("{kind}{number} ").into_bytes();
                written.extend_from_slice(&bytes);
                let _ = (read(&written, || None), is_lease(&written));
            }
            let entry = read(format!("v{number} {text}").as_bytes(), || None);
            proptest::prop_assert_eq!(entry, Entry { value: Value::Text((&*text).into()), number });
            let entry = read(format!("b{number} 1/0 {text}").as_bytes(), || None);
            proptest::prop_assert_eq!(entry, Entry { value: Value::Text(text.into()), number });
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let entry = read(b"v17 a b\n\0", || None);
        assert_eq!(entry, Entry { value: Value::Text("a b\n\0".into()), number: 17 });
        let entry = read(b"b17 9/0 a b", || None);
        assert_eq!(entry, Entry { value: Value::Text("a b".into()), number: 17 });
        let rest = Some(Duration::from_secs(1));
        assert_eq!(read(b"l9 h 1", || rest), Entry { value: Value::Lease { rest }, number: 9 });
    }

    #[test]
    fn bytes_beside_a_value_are_called_after_it() {
        assert_eq!(tail("a/b", "a/b/9/0"), Some("9/0"));
        for name in ["a/b", "a/b/", "a/bc", "a/c/1", "a/b/1 2", "a/b/1\n2", ""] {
            assert_eq!(tail("a/b", name), None, "{name:?}");
        }
    }

    #[test]
    fn what_others_wrote_is_absent_and_no_error() {
        for bytes in [&b""[..], b"v", b"v1", b"vx y", b"hello", b"v1 \xff", b"x1 y", b"l1", b"b1 y"] {
            assert_eq!(read(bytes, || None).value, Value::Other, "{bytes:?}");
        }
    }
}
