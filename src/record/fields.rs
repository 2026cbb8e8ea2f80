//! The fields of a stored response, in one allocation.
//!
//! A field that was parsed is a slice of the connection's read buffer, and keeps all of it. A map of fields
//! is some five times as long as their text. So what is kept is neither: it is their text, copied once, each
//! name replaced by a short code (`names`).

mod block;
mod names;

use std::cell::RefCell;
use std::fmt::{self, Debug};

use block::Block;
use bytes::{Buf as _, Bytes};
use http::header::IntoHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines of a response's fields, as judged by policy: those of a map, or stored ones.
pub trait Lines {
    /// The values of a field, in order.
    fn lines<'a>(&'a self, field: &HeaderName) -> impl Iterator<Item = &'a [u8]>;

    /// The first value of a field.
    fn first<'a>(&'a self, field: &HeaderName) -> Option<&'a [u8]> {
        let mut lines = self.lines(field);
        lines.next()
    }

    /// Returns whether there is such a field.
    fn has(&self, field: &HeaderName) -> bool {
        self.first(field).is_some()
    }
}

/// Fields of a stored response, in their order. Cheap to clone: clones share the text.
///
/// The block begins with the count of lines. Each line is the code of its name, or 0 and the name itself,
/// then the value. Numbers take seven bits a byte, and a text has its length before it. Behind the last line
/// there may be a *tail*: the bytes of a small body, so that both are one allocation.
#[derive(Clone, Default)]
pub struct Fields {
    block: Block,
}

/// The name of a stored field.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// One that many responses have.
    Known(&'static HeaderName),
    /// One that is written out. It is valid, and in lower case.
    Spelled(&'a str),
}

/// The code of a name that is written out.
const SPELLED: usize = 0;

thread_local! {
    /// Where a block is put together, so that it is allocated once and in its exact length.
    static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lines with the place of each value in the block.
struct Walk<'a> {
    block: &'a [u8],
    at: usize,
    left: usize,
}

// === impl Fields ===

impl Fields {
    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.walk().left
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name and value of each line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Name<'_>, &[u8])> {
        let block = &self.block[..];
        self.walk().map(move |(name, from, to)| (name, &block[from..to]))
    }

    /// The first value of a field, as a map has it.
    pub fn value(&self, field: &HeaderName) -> Option<HeaderValue> {
        let value = self.first(field)?;
        Some(HeaderValue::from_bytes(value).expect("a block is made of valid values"))
    }

    /// The fields as a map with room for `more` lines. The values share the block.
    pub fn to_map(&self, more: usize) -> HeaderMap {
        let (walk, block) = (self.walk(), self.shared());
        let mut map = HeaderMap::with_capacity(walk.left + more);
        for (name, from, to) in walk {
            let value = HeaderValue::from_maybe_shared(block.slice(from..to));
            let value = value.expect("a block is made of valid values");
            match name {
                Name::Known(name) => map.append(name.clone(), value),
                Name::Spelled(_) => map.append(name.to_name(), value),
            };
        }
        map
    }

    /// Changes the fields by way of a map. Not for the path of a hit.
    pub fn edit<T>(&mut self, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
        let mut map = self.to_map(2);
        let result = change(&mut map);
        *self = Self::from(&map);
        result
    }

    /// Puts this value in the place of all that a field has.
    pub fn insert(&mut self, field: impl IntoHeaderName, value: HeaderValue) {
        self.edit(|map| map.insert(field, value));
    }

    /// The same fields with a tail, in one allocation of their own.
    #[must_use]
    pub fn with_tail(&self, tail: &[u8]) -> Self {
        let end = self.end();
        let fields = if end == 0 { &[0][..] } else { &self.block[..end] };
        drafted(|draft| {
            draft.extend_from_slice(fields);
            draft.extend_from_slice(tail);
        })
    }

    /// The same fields in an allocation that has nothing but them.
    #[must_use]
    pub fn without_tail(self) -> Self {
        if self.end() == self.block.len() { self } else { self.with_tail(&[]) }
    }

    /// What lies behind the fields. Shares the block.
    pub fn tail(&self) -> Bytes {
        let mut tail = self.shared();
        tail.advance(self.end());
        tail
    }

    /// The block, for parts of it to share. Its owner has an allocation of its own, for as long as they live.
    fn shared(&self) -> Bytes {
        Bytes::from_owner(self.block.clone())
    }

    /// The bytes of the fields' text.
    pub fn text_len(&self) -> usize {
        self.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }

    /// The length of the block, in bytes.
    pub fn block_len(&self) -> usize {
        self.block.len()
    }

    fn walk(&self) -> Walk<'_> {
        let mut walk = Walk { block: &self.block, at: 0, left: 0 };
        walk.left = if self.block.is_empty() { 0 } else { walk.number() };
        walk
    }

    fn end(&self) -> usize {
        let mut walk = self.walk();
        while walk.next().is_some() {}
        walk.at
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        if map.is_empty() {
            return Self::default();
        }
        drafted(|draft| {
            put(draft, map.len());
            names::with_codes(map.keys(), |codes| {
                // The lines of one name follow each other.
                for (name, value) in map {
                    if let Some(code) = codes.of(name) {
                        put(draft, usize::from(code));
                    } else {
                        put(draft, SPELLED);
                        put_text(draft, name.as_str().as_bytes());
                    }
                    put_text(draft, value.as_bytes());
                }
            });
        })
    }
}

/// The length above which a draft's buffer is given back.
const MOST_DRAFT: usize = 16 * 1024;

/// Fields of the block that `write` puts together.
fn drafted(write: impl FnOnce(&mut Vec<u8>)) -> Fields {
    DRAFT.with_borrow_mut(|draft| {
        draft.clear();
        write(draft);
        let fields = Fields { block: Block::of(draft) };
        draft.shrink_to(MOST_DRAFT);
        fields
    })
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self::from(&map)
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, lines: T) {
        self.edit(|map| {
            for (name, value) in lines {
                map.append(name, value);
            }
        });
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: T) -> Self {
        let mut fields = Self::default();
        fields.extend(lines);
        fields
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let lines = self.iter().map(|(name, value)| (name.as_str(), value));
        lines.eq(other.iter().map(|(name, value)| (name.as_str(), value)))
    }
}

impl Eq for Fields {}

impl Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value)));
        f.debug_map().entries(lines).finish()
    }
}

impl Lines for Fields {
    fn lines<'a>(&'a self, field: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(name, _)| name.is(field)).map(|(_, value)| value)
    }
}

impl Lines for HeaderMap {
    fn lines<'a>(&'a self, field: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(field).iter().map(HeaderValue::as_bytes)
    }

    fn first<'a>(&'a self, field: &HeaderName) -> Option<&'a [u8]> {
        self.get(field).map(HeaderValue::as_bytes)
    }
}

// === impl Name ===

impl<'a> Name<'a> {
    /// Its text, in lower case.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Spelled(text) => text,
        }
    }

    /// Returns whether it is this one.
    pub fn is(self, field: &HeaderName) -> bool {
        match self {
            Self::Known(name) => name == field,
            Self::Spelled(text) => field.as_str() == text,
        }
    }

    /// The name as a map has it.
    pub fn to_name(self) -> HeaderName {
        match self {
            Self::Known(name) => name.clone(),
            Self::Spelled(text) => {
                HeaderName::from_lowercase(text.as_bytes()).expect("a block is made of valid names")
            }
        }
    }
}

// === impl Walk ===

impl Walk<'_> {
    fn number(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.block[self.at];
            self.at += 1;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> (usize, usize) {
        let len = self.number();
        let from = self.at;
        self.at += len;
        (from, self.at)
    }
}

impl<'a> Iterator for Walk<'a> {
    /// The name, and where the value begins and ends.
    type Item = (Name<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match self.number() {
            SPELLED => {
                let (from, to) = self.text();
                let text = std::str::from_utf8(&self.block[from..to]);
                Name::Spelled(text.expect("a block is made of valid names"))
            }
            code => Name::Known(names::name(code)),
        };
        let (from, to) = self.text();
        Some((name, from, to))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

fn put(draft: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        draft.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    draft.push(u8::try_from(number).unwrap_or(0));
}

fn put_text(draft: &mut Vec<u8>, text: &[u8]) {
    put(draft, text.len());
    draft.extend_from_slice(text);
}

#[cfg(test)]
mod tests;
