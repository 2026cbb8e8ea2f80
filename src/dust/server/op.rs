//! The operations that are written, and the name that each carries.
//!
//! An operation's name comes back in its event. So it says what the event leaves out: for how long something
//! lives, or the token of a lease that is released.

use std::sync::Arc;

use serde_json::{Value, json};

use super::gate::Class;
use super::names::rendered;

/// An operation.
#[derive(Debug)]
pub(super) struct Write {
    /// Its key.
    pub key: Arc<str>,
    /// What it does.
    pub kind: Kind,
    /// What it is for.
    pub class: Class,
    /// What its event is to say.
    pub tag: Tag,
    /// The token, in the server, of the lease that it renews or releases.
    pub token: Option<u64>,
    body: Value,
}

/// What an operation does, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It asks for a lease.
    Lease,
    /// It prolongs one.
    Renewal,
    /// It releases one.
    Release,
    /// It writes under a fence.
    Fenced,
    /// It writes without one.
    Free,
}

/// What an operation's name says beside what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tag {
    /// A time to live in ms, or a token.
    pub number: Option<u64>,
    /// The epoch of its number.
    pub epoch: u64,
}

/// The name of an operation, unique to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The name of the line that it went over.
    pub line: String,
    /// Its reference there.
    pub reference: u64,
    /// What it says.
    pub tag: Tag,
}

/// The fence of a write: the path of the lock, and the token.
pub(super) type Fence = (Vec<String>, u64);

// === impl Write ===

impl Write {
    pub(super) fn lease(key: Arc<str>, path: &[String], ttl: u64, holder: &str) -> Self {
        let body = json!({ "op": "lease", "path_segments": path, "ttl_ms": ttl, "holder": holder });
        let tag = Tag { number: Some(ttl), epoch: 0 };
        Self { key, kind: Kind::Lease, class: Class::Lease, tag, token: None, body }
    }

    pub(super) fn renew(key: Arc<str>, path: &[String], token: u64, ttl: u64) -> Self {
        let body = json!({ "op": "renew", "path_segments": path, "token": token, "ttl_ms": ttl });
        let tag = Tag { number: Some(ttl), epoch: 0 };
        Self { key, kind: Kind::Renewal, class: Class::Owed, tag, token: Some(token), body }
    }

    /// `number` is the lease's number, `token` the server's.
    pub(super) fn release(key: Arc<str>, path: &[String], token: u64, number: u64) -> Self {
        let body = json!({ "op": "release", "path_segments": path, "token": token });
        let tag = Tag { number: Some(number), epoch: 0 };
        Self { key, kind: Kind::Release, class: Class::Owed, tag, token: Some(token), body }
    }

    pub(super) fn set(key: Arc<str>, path: &[String], leaf: &str, tag: Tag, fence: Option<Fence>) -> Self {
        let mut body = json!({ "op": "set", "path_segments": path, "value": leaf });
        let kind = fenced(&mut body, fence);
        Self { key, kind, class: Class::Owed, tag, token: None, body }
    }

    /// Writes only where nothing is.
    pub(super) fn set_if_absent(key: Arc<str>, path: &[String], leaf: &str) -> Self {
        let body = json!({ "op": "set", "path_segments": path, "value": leaf, "if_absent": true });
        Self { key, kind: Kind::Free, class: Class::Owed, tag: Tag::default(), token: None, body }
    }

    /// Writes over what was written under this count, and over nothing newer; without a count, as
    /// [`Write::set_if_absent`].
    pub(super) fn set_if(key: Arc<str>, path: &[String], leaf: &str, count: Option<u64>) -> Self {
        let Some(count) = count else { return Self::set_if_absent(key, path, leaf) };
        let body = json!({ "op": "set", "path_segments": path, "value": leaf, "if_match": count });
        Self { key, kind: Kind::Free, class: Class::Owed, tag: Tag::default(), token: None, body }
    }

    pub(super) fn delete(key: Arc<str>, path: &[String], tag: Tag, fence: Option<Fence>) -> Self {
        let mut body = json!({ "op": "delete", "path_segments": path });
        let kind = fenced(&mut body, fence);
        Self { key, kind, class: Class::Owed, tag, token: None, body }
    }

    /// Deletes what was written under this count, and nothing newer.
    pub(super) fn delete_if(key: Arc<str>, path: &[String], count: u64, tag: Tag) -> Self {
        let body = json!({ "op": "delete", "path_segments": path, "if_match": count });
        Self { key, kind: Kind::Free, class: Class::Spare, tag, token: None, body }
    }

    /// The same, to be left out where there is no room for it.
    pub(super) fn spare(self) -> Self {
        Self { class: Class::Spare, ..self }
    }

    /// The holder of the lease that it asks for, if it does.
    pub(super) fn holder(&self) -> Option<Arc<str>> {
        self.body.get("holder").and_then(Value::as_str).map(Into::into)
    }

    /// What is sent, under this name.
    pub(super) fn into_body(self, label: &Label) -> Value {
        let mut body = self.body;
        body["client_op_id"] = label.text().into();
        body
    }
}

/// The server ignores a fence that it can't read, and writes: so its parts have their exact types here.
fn fenced(body: &mut Value, fence: Option<Fence>) -> Kind {
    let Some((path, token)) = fence else { return Kind::Free };
    body["fence"] = json!({ "key": rendered(&path), "token": token });
    Kind::Fenced
}

// === impl Label ===

impl Label {
    pub(super) fn text(&self) -> String {
        let number = self.tag.number.map_or("-".to_owned(), |number| number.to_string());
        format!("dg:{}:{}:{number}:{}", self.line, self.reference, self.tag.epoch)
    }

    /// Reads the name of an operation of an instance.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let [line, reference, number, epoch] =
            <[&str; 4]>::try_from(text.strip_prefix("dg:")?.split(':').collect::<Vec<_>>()).ok()?;
        let number = if number == "-" { None } else { Some(number.parse().ok()?) };
        let tag = Tag { number, epoch: epoch.parse().ok()? };
        Some(Self { line: line.into(), reference: reference.parse().ok()?, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(number: Option<u64>) -> Label {
        Label { line: "l1".into(), reference: 7, tag: Tag { number, epoch: 3 } }
    }

    #[test]
    fn a_name_is_found_again() {
        for label in [label(None), label(Some(30_000))] {
            assert_eq!(Label::parse(&label.text()), Some(label));
        }
        for text in ["", "dg:", "dg:a:1:2", "dg:a:x:-:0", "op_1", "dg:a:1:-:0:0"] {
            assert_eq!(Label::parse(text), None, "{text}");
        }
    }

    #[test]
    fn fences_have_exact_types() {
        let (path, lock) = (vec!["a".to_owned()], vec!["_dust:sf".to_owned(), "a/b~".to_owned()]);
        let write = Write::set("a".into(), &path, "\"x\"", Tag::default(), Some((lock, 7)));
        let body = write.into_body(&label(None)).to_string();
        assert_eq!(
            body,
            r#"{"op":"set","path_segments":["a"],"value":"\"x\"","fence":{"key":"_dust:sf/a~1b~0","token":7},"client_op_id":"dg:l1:7:-:3"}"#
        );
        let write = Write::set_if_absent("a".into(), &["a".into()], "x");
        assert_eq!(write.into_body(&label(None))["if_absent"], json!(true));
    }
}
