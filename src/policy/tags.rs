//! Which tags a response has, from the fields that its route reads them from.

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use sfv::{BareItem, List, ListEntry, Parser};

use super::Rules;
use crate::record::{Lines, MAX_TAGS, Tag, Tags};

/// Whether clients get the fields that tags are read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagFields {
    /// No: they tell how the origin's data hang together, and may be long.
    #[default]
    Strip,
    /// Yes: for another cache in front of this one.
    Pass,
}

/// How the tags in a field are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    /// Between spaces: Surrogate-Key, xkey.
    Spaces,
    /// Between commas: Cache-Tag, Edge-Cache-Tag.
    Commas,
    /// Either: fields that are not known here.
    Both,
    /// A list of strings (RFC 9875 §2).
    Strings,
}

/// The tags of a response, each once. `None` if they can't all be kept: there are more than [`MAX_TAGS`], or
/// one is too long or can't be written down. A purge of the one that is left out would miss the response.
pub fn tags(headers: &impl Lines, rules: &Rules) -> Option<Tags> {
    let mut tags = Tags::new();
    for field in &rules.tag_headers {
        let kept = match Syntax::of(field) {
            Syntax::Strings => strings(headers, field).iter().all(|text| add(&mut tags, text)),
            syntax => headers.lines(field).all(|line| {
                let line = text(line);
                line.split(|letter| syntax.parts(letter)).all(|text| text.is_empty() || add(&mut tags, text))
            }),
        };
        if !kept {
            return None;
        }
    }
    Some(tags)
}

/// The tags that a request to purge names in a field, however many.
pub fn named_tags(headers: &impl Lines, field: &HeaderName) -> Vec<String> {
    match Syntax::of(field) {
        Syntax::Strings => strings(headers, field),
        syntax => {
            let each = headers.lines(field).map(text).flat_map(|line| {
                line.split(|letter| syntax.parts(letter)).map(str::to_owned).collect::<Vec<_>>()
            });
            each.filter(|text| !text.is_empty()).collect()
        }
    }
}

/// The tags of a record that a response has validated: its own, and those of the response. A tag that the
/// response no longer names stays, for its fields may be named by only some of the responses. `None` as in
/// [`tags`].
pub(super) fn validated(own: &Tags, headers: &HeaderMap, rules: &Rules) -> Option<Tags> {
    let mut merged = own.clone();
    tags(headers, rules)?.iter().all(|tag| push(&mut merged, tag.clone())).then_some(merged)
}

/// Takes the fields of tags off a response to a client, unless the route passes them on.
pub fn strip_tags(headers: &mut HeaderMap, rules: &Rules) {
    if rules.tag_fields == TagFields::Strip {
        for field in &rules.tag_headers {
            headers.remove(field);
        }
    }
}

/// The groups that the answer to an unsafe request invalidates (RFC 9875 §3). One that no record can have is
/// left out.
pub fn invalidated_groups(headers: &HeaderMap) -> Vec<Tag> {
    let groups = strings(headers, &HeaderName::from_static("cache-group-invalidation"));
    let mut tags: Vec<Tag> = groups.iter().filter_map(|group| Tag::new(group)).collect();
    tags.sort_unstable_by_key(Tag::hash);
    tags.dedup();
    tags
}

/// The strings in a list (RFC 9651 §3.1), without their parameters. None of them if the field is not such a
/// list (§4.2): it is then ignored.
fn strings(headers: &impl Lines, field: &HeaderName) -> Vec<String> {
    let mut whole = Vec::new();
    for line in headers.lines(field) {
        if !whole.is_empty() {
            whole.extend_from_slice(b", ");
        }
        whole.extend_from_slice(line);
    }
    let Ok(list) = Parser::new(&whole).parse::<List>() else { return Vec::new() };
    let string = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(text) => Some(text.as_str().to_owned()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    list.iter().map(string).collect::<Option<_>>().unwrap_or_default()
}

fn add(tags: &mut Tags, text: &str) -> bool {
    Tag::new(text).is_some_and(|tag| push(tags, tag))
}

/// Adds a tag unless it is there. Returns whether it is there now.
fn push(tags: &mut Tags, tag: Tag) -> bool {
    if tags.contains(&tag) {
        return true;
    }
    let fits = tags.len() < MAX_TAGS;
    if fits {
        tags.push(tag);
    }
    fits
}

/// A field's value as text. Bytes that are not UTF-8 are read as Latin-1.
fn text(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line.iter().map(|&byte| char::from(byte)).collect(),
    }
}

// === impl Syntax ===

impl Syntax {
    fn of(field: &HeaderName) -> Self {
        match field.as_str() {
            "surrogate-key" | "xkey" => Self::Spaces,
            "cache-tag" | "edge-cache-tag" => Self::Commas,
            "cache-groups" => Self::Strings,
            _ => Self::Both,
        }
    }

    /// Returns whether a character stands between tags. No tag has spaces in it.
    fn parts(self, letter: char) -> bool {
        let space = matches!(letter, ' ' | '\t');
        match self {
            Self::Spaces => space,
            Self::Commas | Self::Both | Self::Strings => space || letter == ',',
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::record::MAX_TAG;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn read(lines: &[(&'static str, &str)]) -> Option<Vec<String>> {
        let found = tags(&headers(lines), &Rules::default())?;
        Some(found.iter().map(|tag| tag.text().to_owned()).collect())
    }

    #[test]
    fn each_field_is_read_as_it_is_defined() {
        for (field, value, want) in [
            ("surrogate-key", "a  b,c\td", &["a", "b,c", "d"][..]),
            ("xkey", "a b", &["a", "b"]),
            ("cache-tag", "a, b,c ,,", &["a", "b", "c"]),
            ("cache-groups", "\"a b\", \"c,d\";x=1", &["a b", "c,d"]),
            ("cache-groups", "\"a\", b", &[]),
            ("cache-groups", "\"a", &[]),
            ("cache-groups", "(\"a\")", &[]),
            ("x-tags", "a", &[]),
            ("surrogate-key", "größe", &["größe"]),
        ] {
            let want: Vec<_> = want.iter().map(|&tag| tag.to_owned()).collect();
            assert_eq!(read(&[(field, value)]), Some(want), "{field}: {value}");
        }
    }

    #[test]
    fn the_tags_of_all_lines_and_fields_are_joined() {
        let lines = [
            ("surrogate-key", "a b"),
            ("surrogate-key", "c a"),
            ("cache-tag", "d,b"),
            ("cache-groups", "\"e\""),
        ];
        assert_eq!(read(&lines), Some(["a", "b", "c", "d", "e"].map(str::to_owned).into()));
    }

    #[test]
    fn tags_that_can_not_all_be_kept_are_none() {
        let many = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(read(&[("xkey", &many(MAX_TAGS))]).map(|tags| tags.len()), Some(MAX_TAGS));
        assert_eq!(read(&[("xkey", &many(MAX_TAGS + 1))]), None);
        assert_eq!(read(&[("xkey", &"x".repeat(MAX_TAG + 1))]), None);
        assert_eq!(read(&[("cache-groups", &format!("\"{}\"", "x".repeat(MAX_TAG + 1)))]), None);
    }

    #[test]
    fn the_groups_that_are_invalidated_are_a_list_of_strings() {
        for (value, want) in [("\"a\", \"b c\", \"a\"", 2), ("a", 0), ("\"a\", 7", 0), ("", 0)] {
            let headers = headers(&[("cache-group-invalidation", value)]);
            assert_eq!(invalidated_groups(&headers).len(), want, "{value}");
        }
    }

    #[test]
    fn a_route_names_its_own_fields() {
        let rules = Rules { tag_headers: vec![HeaderName::from_static("x-tags")], ..Rules::default() };
        let mut headers = headers(&[("x-tags", "a,b c"), ("xkey", "d")]);
        let found = tags(&headers, &rules).unwrap();
        assert_eq!(found.iter().map(Tag::text).collect::<Vec<_>>(), ["a", "b", "c"]);
        strip_tags(&mut headers, &Rules { tag_fields: TagFields::Pass, ..rules.clone() });
        assert_eq!(headers.len(), 2);
        strip_tags(&mut headers, &rules);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["xkey"]);
    }

    #[test]
    fn a_validated_record_keeps_its_tags_and_gets_new_ones() {
        let rules = Rules::default();
        let own = tags(&headers(&[("xkey", "a b")]), &rules).unwrap();
        let merged = validated(&own, &headers(&[("xkey", "b c")]), &rules).unwrap();
        assert_eq!(merged.iter().map(Tag::text).collect::<Vec<_>>(), ["a", "b", "c"]);
        let full: Tags = (0..MAX_TAGS).filter_map(|n| Tag::new(&n.to_string())).collect();
        assert_eq!(validated(&full, &headers(&[("xkey", "other")]), &rules), None);
    }
}
