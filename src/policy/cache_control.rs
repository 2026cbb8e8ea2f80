//! Cache-Control (RFC 9111 §5.2) and targeted fields (RFC 9213), over bytes.

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::age::delta_seconds;
use super::rules::{Ignore, Rules};
use crate::record::Lines;

/// What a response's directives say. If a directive is repeated, the stricter one counts (RFC 9111 §4.2.1);
/// an invalid number counts as 0, which is stale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds.
    pub s_maxage: Option<u64>,
    /// stale-while-revalidate, seconds (RFC 5861 §3).
    pub while_revalidate: Option<u64>,
    /// stale-if-error, seconds (RFC 5861 §4).
    pub if_error: Option<u64>,
    /// no-store.
    pub no_store: bool,
    /// no-cache without a list of fields, or with one that can't be honoured.
    pub no_cache: bool,
    /// private, likewise.
    pub private: bool,
    /// no-cache or private with a list of fields that can be withheld.
    pub withholds: bool,
    /// must-revalidate.
    pub must_revalidate: bool,
    /// proxy-revalidate.
    pub proxy_revalidate: bool,
    /// public.
    pub public: bool,
    /// immutable (RFC 8246).
    pub immutable: bool,
    /// must-understand.
    pub must_understand: bool,
    /// They come from a targeted field: Cache-Control and Expires do not count.
    pub targeted: bool,
}

/// What a request's directives say, where they are honoured; times in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientDirectives {
    /// max-age: no older than this.
    pub max_age: Option<u64>,
    /// min-fresh: fresh for at least this much longer.
    pub min_fresh: Option<u64>,
    /// max-stale: stale for at most this; `u64::MAX` without a number.
    pub max_stale: Option<u64>,
    /// no-cache: validated first.
    pub no_cache: bool,
    /// no-store: not stored.
    pub no_store: bool,
}

/// One directive of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directive<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Value<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    None,
    /// A token, or the content of a quoted string.
    Text(&'a [u8]),
    /// Not a valid value of a directive.
    Bad,
}

/// Fields that a response cannot do without: a list that names one of them counts as the directive without a
/// list.
const NEEDED: [&str; 13] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "vary",
];

/// The directives of a line. A quote that does not close is an ordinary character, so that no directive
/// behind it is hidden.
pub(super) fn directives(line: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        if rest.is_empty() {
            return None;
        }
        let end = end_of_directive(rest);
        let (directive, tail) = rest.split_at(end);
        rest = tail;
        Some(Directive::parse(directive.trim_ascii()))
    })
}

/// The fields in the lists of a response's no-cache and private: they are withheld from other clients.
pub(super) fn withheld(headers: &HeaderMap, rules: &Rules) -> Vec<HeaderName> {
    let mut fields = Vec::new();
    each(headers, rules, |directive| {
        let listing = is(directive.name, "no-cache") || is(directive.name, "private");
        if let Value::Text(list) = directive.value
            && listing
        {
            fields.extend(members(list).filter_map(|name| HeaderName::from_bytes(name).ok()));
        }
    });
    fields
}

/// Calls `seen` with each directive that counts. Returns whether they come from a targeted field.
fn each(headers: &impl Lines, rules: &Rules, mut seen: impl FnMut(Directive<'_>)) -> bool {
    for field in &rules.targeted {
        let Some(dictionary) = targeted(headers, field) else { continue };
        for (name, entry) in &dictionary {
            let number: [u8; 20];
            let value = match entry {
                ListEntry::Item(item) => match &item.bare_item {
                    BareItem::Boolean(true) => Value::None,
                    BareItem::Boolean(false) => continue,
                    BareItem::Integer(n) => {
                        number = digits(i64::from(*n));
                        if i64::from(*n) < 0 { Value::Bad } else { Value::Text(&number) }
                    }
                    BareItem::String(_) if is_number(name.as_str().as_bytes()) => Value::Bad,
                    BareItem::String(text) => Value::Text(text.as_str().as_bytes()),
                    BareItem::Token(text) => Value::Text(text.as_str().as_bytes()),
                    _ => Value::Bad,
                },
                ListEntry::InnerList(_) => Value::Bad,
            };
            seen(Directive { name: name.as_str().as_bytes(), value });
        }
        return true;
    }
    for line in headers.lines(&header::CACHE_CONTROL) {
        directives(line).for_each(&mut seen);
    }
    false
}

/// The targeted field whose directives count for a response, if one does.
pub(super) fn targeted_field<'a>(headers: &impl Lines, rules: &'a Rules) -> Option<&'a HeaderName> {
    rules.targeted.iter().find(|field| targeted(headers, field).is_some())
}

/// A targeted field that parses and is not empty (RFC 9213 §2.1).
fn targeted(headers: &impl Lines, field: &HeaderName) -> Option<Dictionary> {
    let mut lines = headers.lines(field);
    let mut whole = lines.next()?.to_vec();
    for line in lines {
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(line);
    }
    Parser::new(&whole).parse::<Dictionary>().ok().filter(|dictionary| !dictionary.is_empty())
}

/// The number's absolute value as twenty digits, zeros in front.
fn digits(number: i64) -> [u8; 20] {
    let mut rest = number.unsigned_abs();
    let mut out = [b'0'; 20];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out
}

fn is_number(name: &[u8]) -> bool {
    ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"].iter().any(|known| is(name, known))
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn end_of_directive(rest: &[u8]) -> usize {
    let mut at = 0;
    let mut before = 0;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b',' => return at,
            b'"' if before == b'=' => at = closing_quote(rest, at).unwrap_or(at),
            _ => {}
        }
        if !matches!(byte, b' ' | b'\t') {
            before = byte;
        }
        at += 1;
    }
    at
}

fn closing_quote(rest: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match rest.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

// === impl Directive ===

impl<'a> Directive<'a> {
    fn parse(text: &'a [u8]) -> Self {
        let Some(equals) = text.iter().position(|&byte| byte == b'=') else {
            return Self { name: text, value: Value::None };
        };
        let (name, value) = (&text[..equals], &text[equals + 1..]);
        let spaced = name.ends_with(b" ")
            || name.ends_with(b"\t")
            || value.starts_with(b" ")
            || value.starts_with(b"\t");
        let value = match value {
            _ if spaced => Value::Bad,
            [b'"', inside @ .., b'"'] => Value::Text(inside),
            bare => Value::Text(bare),
        };
        Self { name: name.trim_ascii(), value }
    }

    /// Seconds; 0 if there is no number.
    fn seconds(self) -> u64 {
        match self.value {
            Value::Text(text) => delta_seconds(text).unwrap_or(0),
            Value::None | Value::Bad => 0,
        }
    }

    /// Returns whether it lists fields all of which can be withheld.
    fn lists_fields(self) -> bool {
        let Value::Text(list) = self.value else { return false };
        let mut any = false;
        let good = members(list).all(|name| {
            any = true;
            HeaderName::from_bytes(name).is_ok() && !NEEDED.iter().any(|needed| is(name, needed))
        });
        any && good
    }
}

// === impl Directives ===

impl Directives {
    /// The directives of a response, as the origin wrote them.
    pub fn of(headers: &impl Lines, rules: &Rules) -> Self {
        let mut found = Self::default();
        found.targeted = each(headers, rules, |directive| found.add(directive));
        found
    }

    /// Drops the directives that the route ignores.
    #[must_use]
    pub fn overlooking(mut self, ignore: Ignore) -> Self {
        if ignore.max_age {
            self.max_age = None;
        }
        if ignore.s_maxage {
            self.s_maxage = None;
        }
        self.no_cache &= !ignore.no_cache;
        self.must_revalidate &= !ignore.must_revalidate;
        self.proxy_revalidate &= !ignore.must_revalidate;
        self.private &= !ignore.private;
        self.no_store &= !ignore.no_store;
        self
    }

    /// Returns whether they let a shared cache answer a request with Authorization (RFC 9111 §3.5).
    pub fn grant_sharing(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// Returns whether they forbid a stale response, whatever else they say (RFC 9111 §4.2.4).
    pub fn forbid_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate
    }

    /// Returns whether they imply that (RFC 9111 §5.2.2.10): s-maxage does, except for as long as other
    /// directives allow a stale response. An origin that writes both means both.
    pub fn imply_no_stale(&self) -> bool {
        self.s_maxage.is_some()
    }

    fn add(&mut self, directive: Directive<'_>) {
        let name = directive.name;
        let stricter = |now: Option<u64>| Some(now.unwrap_or(u64::MAX).min(directive.seconds()));
        match name.len() {
            6 if is(name, "public") => self.public = true,
            7 if is(name, "max-age") => self.max_age = stricter(self.max_age),
            7 if is(name, "private") => self.add_listing(directive, |all| &mut all.private),
            8 if is(name, "s-maxage") => self.s_maxage = stricter(self.s_maxage),
            8 if is(name, "no-store") => self.no_store = true,
            8 if is(name, "no-cache") => self.add_listing(directive, |all| &mut all.no_cache),
            9 if is(name, "immutable") => self.immutable = true,
            14 if is(name, "stale-if-error") => self.if_error = stricter(self.if_error),
            15 if is(name, "must-revalidate") => self.must_revalidate = true,
            15 if is(name, "must-understand") => self.must_understand = true,
            16 if is(name, "proxy-revalidate") => self.proxy_revalidate = true,
            22 if is(name, "stale-while-revalidate") => {
                self.while_revalidate = stricter(self.while_revalidate);
            }
            _ => {}
        }
    }

    fn add_listing(&mut self, directive: Directive<'_>, flag: impl Fn(&mut Self) -> &mut bool) {
        if directive.lists_fields() {
            self.withholds = true;
        } else {
            *flag(self) = true;
        }
    }
}

// === impl ClientDirectives ===

impl ClientDirectives {
    /// The directives of a request (RFC 9111 §5.2.1); Pragma where there is no Cache-Control (§5.4).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut any = false;
        for line in headers.get_all(header::CACHE_CONTROL) {
            any = true;
            directives(line.as_bytes()).for_each(|directive| found.add(directive));
        }
        if !any && let Some(pragma) = headers.get(header::PRAGMA) {
            found.no_cache = directives(pragma.as_bytes()).any(|directive| is(directive.name, "no-cache"));
        }
        found
    }

    fn add(&mut self, directive: Directive<'_>) {
        let ms = directive.seconds() * 1000;
        let name = directive.name;
        if is(name, "max-age") {
            self.max_age = Some(self.max_age.map_or(ms, |now| now.min(ms)));
        } else if is(name, "min-fresh") {
            self.min_fresh = Some(self.min_fresh.map_or(ms, |now| now.max(ms)));
        } else if is(name, "max-stale") {
            let ms = if directive.value == Value::None { u64::MAX } else { ms };
            self.max_stale = Some(self.max_stale.map_or(ms, |now| now.min(ms)));
        } else if is(name, "no-cache") {
            self.no_cache = true;
        } else if is(name, "no-store") {
            self.no_store = true;
        }
    }
}

/// Returns whether a request says only-if-cached (RFC 9111 §5.2.1.7).
pub(super) fn only_if_cached(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines.any(|line| directives(line.as_bytes()).any(|directive| is(directive.name, "only-if-cached")))
}

#[cfg(test)]
mod tests;
