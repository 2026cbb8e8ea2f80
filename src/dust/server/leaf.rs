//! The form of a value in a Dust server: one text with JSON in it.
//!
//! The server knows no time to live, so the text carries it: an object gets one more member, `dustgate`, in
//! front of its own. Another client's single flight decodes it and finds the members that it knows. Text that
//! is no object is wrapped in one. What another client has put is taken as it stands.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::WallMs;

/// How a text begins that carries more than itself.
const HEAD: &str = "{\"dustgate\":";

/// A value as it lies in the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// What was written.
    pub text: String,
    /// When it expires, on the server's clock.
    pub until: Option<WallMs>,
    /// The epoch of its number: see `numbers`.
    pub epoch: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<WallMs>,
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

// === impl Leaf ===

impl Leaf {
    /// Reads what lies in the server.
    pub(super) fn read(raw: &str) -> Self {
        Self::with_header(raw).unwrap_or_else(|| Self { text: raw.to_owned(), until: None, epoch: 0 })
    }

    fn with_header(raw: &str) -> Option<Self> {
        let rest = raw.strip_prefix(HEAD)?;
        let mut headers = serde_json::Deserializer::from_str(rest).into_iter::<Header>();
        let Header { until, epoch, text } = headers.next()?.ok()?;
        let after = &rest[headers.byte_offset()..];
        let text = match (text, after) {
            (Some(text), "}") => text,
            (None, after) => format!("{{{}", after.strip_prefix(',')?),
            (Some(_), _) => return None,
        };
        Some(Self { text, until, epoch })
    }

    /// The text for the server.
    pub(super) fn written(text: &str, until: Option<WallMs>, epoch: u64) -> String {
        let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
        if is_json && until.is_none() && epoch == 0 && !text.starts_with(HEAD) {
            return text.to_owned();
        }
        let is_object = is_json && text.starts_with("{\"") && !text.starts_with(HEAD);
        let header = Header { until, epoch, text: (!is_object).then(|| text.to_owned()) };
        // Numbers and text always serialise.
        let header = serde_json::to_string(&header).unwrap_or_default();
        if is_object { format!("{HEAD}{header},{}", &text[1..]) } else { format!("{HEAD}{header}}}") }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_comes_back(text: String, until: Option<u64>, epoch in 0_u64..9) {
            let written = Leaf::written(&text, until, epoch);
            proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
            proptest::prop_assert_eq!(Leaf::read(&written), Leaf { text, until, epoch });
        }

        #[test]
        fn any_raw_text_is_read(raw: String) {
            Leaf::read(&raw);
            Leaf::read(&format!("{HEAD}{raw}"));
        }
    }

    #[test]
    fn an_object_keeps_its_members() {
        let written = Leaf::written("{\"v\":1}", Some(7), 0);
        assert_eq!(written, "{\"dustgate\":{\"until\":7},\"v\":1}");
        assert_eq!(Leaf::written("{\"v\":1}", None, 0), "{\"v\":1}");
        assert_eq!(
            Leaf::written("\"id\"", Some(7), 2),
            "{\"dustgate\":{\"until\":7,\"epoch\":2,\"text\":\"\\\"id\\\"\"}}"
        );
    }

    #[test]
    fn texts_that_look_like_it_come_back_too() {
        for text in [
            "{\"dustgate\":1}",
            "{\"dustgate\":{\"until\":1},\"v\":1}",
            "{}",
            "",
            "{\"",
            " {\"a\":1}",
            "null",
        ] {
            for until in [None, Some(7)] {
                let leaf = Leaf { text: text.into(), until, epoch: 0 };
                assert_eq!(Leaf::read(&Leaf::written(text, until, 0)), leaf, "{text}");
            }
        }
    }

    #[test]
    fn what_others_put_is_taken_as_it_stands() {
        for raw in [
            "{\"s3\":\"b/k1\"}",
            "\"x\"",
            "{\"dustgate\":{\"until\":\"x\"}}",
            "{\"dustgate\":{}}",
            "{\"dustgate\":7}",
        ] {
            assert_eq!(Leaf::read(raw), Leaf { text: raw.into(), until: None, epoch: 0 });
        }
    }
}
