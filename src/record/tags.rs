//! Tags: texts that an origin gives a response, and by which it is purged.

use thin_vec::ThinVec;

use crate::key::KeyHash;

/// The most tags of a record.
pub const MAX_TAGS: usize = 64;
/// The longest of them, in bytes.
pub const MAX_TAG: usize = 128;

/// The tags of a record. Few records have any, and a `ThinVec` of none is one word.
pub type Tags = ThinVec<Tag>;

/// One tag: its text, and the hash by which stamps name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    hash: u64,
    text: Box<str>,
}

// === impl Tag ===

impl Tag {
    /// A tag with this text. `None` if the text is empty, longer than [`MAX_TAG`], or has control characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_TAG).contains(&text.len()) && !text.contains(char::is_control);
        fits.then(|| Self { hash: KeyHash::of(text).short(), text: text.into() })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its hash: the same on every instance.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_a_text_that_can_be_written_and_kept() {
        let longest = "x".repeat(MAX_TAG);
        for text in ["a", "product:7", "größe", &longest] {
            assert_eq!(Tag::new(text).map(|tag| tag.text().to_owned()).as_deref(), Some(text));
        }
        for text in ["", "a\nb", &format!("{longest}x")] {
            assert_eq!(Tag::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn its_hash_is_that_of_its_text_and_never_changes() {
        let hash = |text| Tag::new(text).map(|tag| tag.hash());
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("A"));
        // It is in the store's keys, which other versions read.
        assert_eq!(hash("a"), Some(0xca97_8112_ca1b_bdca));
    }

    #[test]
    fn it_takes_no_more_room_than_its_text_would() {
        assert!(size_of::<Tag>() <= size_of::<String>());
    }
}
