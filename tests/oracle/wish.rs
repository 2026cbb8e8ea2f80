//! What clients ask for.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::page::{PAGES, Page, Validator};
use crate::range::Spec;
use crate::world::World;

/// A request, and how it is read.
#[derive(Debug, Clone)]
pub struct Wish {
    pub page: usize,
    pub head: bool,
    pub http10: bool,
    pub variant: Option<char>,
    pub ranges: Vec<Spec>,
    pub if_range: Option<String>,
    pub if_none_match: Option<String>,
    /// Reads as slowly as that, in ms a piece.
    pub pause: u64,
    /// Leaves after so many bytes.
    pub leaves: Option<usize>,
}

impl Wish {
    pub fn of(world: &World, rng: &mut Rng) -> Self {
        let number = if rng.usize(..5) < 3 { world.focus() } else { rng.usize(..PAGES) };
        let page = &world.pages[number];
        let variant = page.varies.then(|| ['a', 'b', 'c'][rng.usize(..3)]);
        let now = world.version(number);
        let known = page.body(variant, now.saturating_sub(usize::from(rng.usize(..4) == 0)));
        let len = page.len(page.body(variant, now));
        let unsaid = page.validator == Validator::None && world.skips("head");
        let head = rng.usize(..12) == 0 && !unsaid;
        let ranges = match rng.usize(..10) {
            _ if head && rng.usize(..3) > 0 => Vec::new(),
            0..=4 => Vec::new(),
            5 => several(rng, len),
            _ => vec![one(rng, len)],
        };
        let strong = page.tag(known).or_else(|| page.modified(known));
        Self {
            page: number,
            head,
            http10: rng.usize(..6) == 0,
            variant,
            if_range: strong.filter(|_| !ranges.is_empty() && rng.usize(..4) == 0),
            ranges,
            if_none_match: page.tag(known).filter(|_| rng.usize(..12) == 0),
            pause: if rng.usize(..8) == 0 { rng.u64(3..40) } else { 0 },
            leaves: (rng.usize(..12) == 0).then(|| rng.usize(..len.max(1) + 100)),
        }
    }

    pub fn text(&self, page: &Page) -> String {
        let version = if self.http10 { "1.0" } else { "1.1" };
        let method = if self.head { "HEAD" } else { "GET" };
        let mut text = format!("{method} {} HTTP/{version}\r\nHost: oracle.test\r\n", page.path());
        let mut field = |name: &str, value: &str| {
            let _ = write!(text, "{name}: {value}\r\n");
        };
        if let Some(variant) = self.variant {
            field("X-Variant", &variant.to_string());
        }
        if !self.ranges.is_empty() {
            let ranges: Vec<_> = self.ranges.iter().map(|range| range.text()).collect();
            field("Range", &format!("bytes={}", ranges.join(",")));
        }
        if let Some(tag) = &self.if_range {
            field("If-Range", tag);
        }
        if let Some(tag) = &self.if_none_match {
            field("If-None-Match", tag);
        }
        text.push_str("\r\n");
        text
    }
}

/// Ranges that often touch, overlap, and end at cuts.
fn one(rng: &mut Rng, len: usize) -> Spec {
    let len = len.max(1);
    let mut at = || match rng.usize(..4) {
        0 => rng.usize(..len),
        1 => len / 4 * rng.usize(..4),
        2 => (256 << 10) * rng.usize(..8),
        _ => len * rng.usize(..9) / 8,
    };
    let (one, two) = (at(), at());
    match rng.usize(..8) {
        0 => Spec::From(one),
        1 => Spec::Last(two),
        2 => Spec::Between(one, one),
        _ => Spec::Between(one.min(two), one.max(two).saturating_sub(usize::from(one != two))),
    }
}

fn several(rng: &mut Rng, len: usize) -> Vec<Spec> {
    let mut cuts: Vec<_> = (0..rng.usize(2..5) * 2).map(|_| rng.usize(..len.max(1) + 2)).collect();
    if rng.usize(..4) > 0 {
        cuts.sort_unstable();
        cuts.dedup();
    }
    let pairs = cuts.chunks_exact(2).map(|pair| Spec::Between(pair[0].min(pair[1]), pair[0].max(pair[1])));
    pairs.collect()
}
