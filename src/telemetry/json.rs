//! Writes one JSON object a line, field by field, into a buffer that is used again.

use std::io::Write as _;

use super::printable::is_unprintable;

/// An object that is being written. Finish it with [`Object::end`].
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

// === impl Object ===

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        string(self.out, value);
    }

    /// A text, if there is one.
    pub(super) fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A value that prints as a JSON number or as true or false.
    pub(super) fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        let _ = write!(self.out, "{value}");
    }

    /// A value that prints without a character that JSON would escape: addresses, hexadecimal digits.
    pub(super) fn quoted(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        let _ = write!(self.out, "\"{value}\"");
    }

    /// True; false is left out.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.plain(name, true);
        }
    }

    /// A duration, in milliseconds with three decimal places.
    pub(super) fn ms(&mut self, name: &str, value: std::time::Duration) {
        let us = value.as_micros();
        self.name(name);
        let _ = write!(self.out, "{}.{:03}", us / 1000, us % 1000);
    }

    /// Writes a name; the caller writes the value.
    pub(super) fn raw(&mut self, name: &str) -> &mut Vec<u8> {
        self.name(name);
        self.out
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// A JSON string.
pub(super) fn string(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    escaped(out, value);
    out.push(b'"');
}

/// The bytes that stay as they are. Those that are missing are written as a code, or begin a character that may be.
const STAYS: [bool; 256] = {
    let mut stays = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        stays[byte] = false;
        byte += 1;
    }
    // DEL, C1, and the marks of direction: a log is read on terminals.
    let others = [b'"', b'\\', 0x7f, 0xc2, 0xd8, 0xe2];
    let mut nth = 0;
    while nth < others.len() {
        stays[others[nth] as usize] = false;
        nth += 1;
    }
    stays
};

/// The inside of a JSON string.
pub(super) fn escaped(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if STAYS[usize::from(byte)] {
            continue;
        }
        let char = value[at..].chars().next().unwrap_or_default();
        if !matches!(char, '"' | '\\') && !is_unprintable(char) {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + char.len_utf8();
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', byte]),
            '\n' => out.extend_from_slice(b"\\n"),
            _ => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_comes_back() {
        for value in [
            "",
            "plain",
            "\"\\\u{0}\u{1f}\u{7f}\n\t",
            "ünï€😀",
            "a\"",
            "\\",
            "\u{9b}Â\u{a0}\u{202e}‘ض\u{61c}",
        ] {
            let mut out = Vec::new();
            string(&mut out, value);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), value);
            let out = String::from_utf8(out).unwrap();
            assert!(!out.contains(is_unprintable), "{out:?}");
        }
    }

    #[test]
    fn an_object_parses() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "b");
        object.maybe("none", None);
        object.plain("n", 7);
        object.flag("off", false);
        object.flag("on", true);
        object.ms("ms", std::time::Duration::from_micros(1_234_005));
        object.quoted("hex", format_args!("{:04x}", 255));
        object.end();
        assert_eq!(out, b"{\"a\":\"b\",\"n\":7,\"on\":true,\"ms\":1234.005,\"hex\":\"00ff\"}\n");
    }
}
