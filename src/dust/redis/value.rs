//! The form of an entry in the server: one letter, the number, a blank, and the text or the holder's
//! name.

use std::str;
use std::time::Duration;

use super::super::{Entry, Lease, Number, Value};

/// Writes a lease.
pub(super) fn lease(lease: &Lease) -> String {
    format!("l{} {}", lease.token, lease.holder)
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
    let is_lease = match bytes.first()? {
        b'l' => true,
        b'v' => false,
        _ => return None,
    };
    let (number, text) = str::from_utf8(&bytes[1..]).ok()?.split_once(' ')?;
    Some((is_lease, number.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::super::super::Holder;
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, number: u64, text: String) {
            let _ = (read(&bytes, || None), is_lease(&bytes));
            for kind in ["v", "l", "x"] {
                let mut written = format!("{kind}{number} ").into_bytes();
                written.extend_from_slice(&bytes);
                let _ = (read(&written, || None), is_lease(&written));
            }
            let entry = read(format!("v{number} {text}").as_bytes(), || None);
            proptest::prop_assert_eq!(entry, Entry { value: Value::Text(text.into()), number });
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let entry = read(b"v17 a b\n\0", || None);
        assert_eq!(entry, Entry { value: Value::Text("a b\n\0".into()), number: 17 });
        let written = lease(&Lease { key: "k".into(), token: 9, holder: Holder("h 1".into()) });
        assert_eq!(written, "l9 h 1");
        let rest = Some(Duration::from_secs(1));
        assert_eq!(read(written.as_bytes(), || rest), Entry { value: Value::Lease { rest }, number: 9 });
    }

    #[test]
    fn what_others_wrote_is_absent_and_no_error() {
        for bytes in [&b""[..], b"v", b"v1", b"vx y", b"hello", b"v1 \xff", b"x1 y", b"l1"] {
            assert_eq!(read(bytes, || None).value, Value::Other, "{bytes:?}");
        }
    }
}
