//! The tags that are owed a stamp, within a bound. Pure.
//!
//! Answers of origins name them, so no request is refused for their number. Instead, all tags of a place are owed
//! one stamp, then all of a host, and in the end all there are. What is covered too much costs a fetch.

use std::collections::BTreeMap;

use super::super::scope::{Bucket, Scope, TagName, Within};
use crate::dust::Number;

/// The most tags that are owed a stamp of their own.
const TAGS: usize = 1 << 14;
/// How many of them are of one host.
const OF_HOST: usize = 1 << 10;
/// The most debts before hosts are owed one for all of their places.
const PLACES: usize = TAGS * 2;
/// The places of one host that are owed one each.
const PLACES_OF_HOST: usize = 64;
/// The most debts before one stands for all.
const HOSTS: usize = TAGS * 3;

/// Tags, and all tags of places, that are owed a stamp: the number that covers them here meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct OwedTags(BTreeMap<Scope, Number>);

// === impl OwedTags ===

impl OwedTags {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each, and its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Scope, Number)> {
        self.0.iter().map(|(tags, number)| (*tags, *number))
    }

    /// The scope to owe a stamp for these tags: themselves, or more.
    pub(super) fn room_for(&self, tags: Scope) -> Scope {
        let within = match tags {
            Scope::Tag(TagName { within, .. }) | Scope::Bucket(Bucket { within, .. }) => within,
            other => return other,
        };
        let (place, host) = (Scope::tags_of(within), Scope::tags_of(within.host()));
        let has = |scope| self.0.contains_key(&scope);
        let (of_tags, of_places) = (self.tags_of(within.host()), self.places_of(within.host()));
        if has(tags) || (tags != place && self.len() < TAGS && of_tags < OF_HOST) {
            tags
        } else if has(place) || (self.len() < PLACES && of_places < PLACES_OF_HOST) {
            place
        } else if has(host) || self.len() < HOSTS {
            host
        } else {
            Scope::tags_of(Within::ANYWHERE)
        }
    }

    /// Notes that tags are owed a stamp. What lies in them is not owed one of its own any more.
    pub(super) fn owe(&mut self, tags: Scope, number: Number) {
        if let Scope::Bucket(Bucket { within, .. }) = tags
            && !self.0.contains_key(&tags)
        {
            self.0.extract_if(tags_in(within), |_, _| true).for_each(drop);
            self.0.extract_if(places_in(within), |_, _| true).for_each(drop);
        }
        let owed = self.0.entry(tags).or_insert(number);
        *owed = number.max(*owed);
    }

    /// Notes that the stamp was written, unless it was owed again meanwhile.
    pub(super) fn paid(&mut self, tags: Scope, owed: Number) {
        if self.0.get(&tags) == Some(&owed) {
            self.0.remove(&tags);
        }
    }

    fn tags_of(&self, host: Within) -> usize {
        self.0.range(tags_in(host)).count()
    }

    fn places_of(&self, host: Within) -> usize {
        self.0.range(places_in(host)).count()
    }
}

fn tags_in(within: Within) -> std::ops::RangeInclusive<Scope> {
    let (first, last) = within.all_in();
    Scope::Tag(TagName { within: first, tag: 0 })..=Scope::Tag(TagName { within: last, tag: u64::MAX })
}

fn places_in(within: Within) -> std::ops::RangeInclusive<Scope> {
    let (first, last) = within.all_in();
    Scope::Bucket(Bucket { within: first, at: 0 })..=Scope::Bucket(Bucket { within: last, at: u16::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owe(owed: &mut OwedTags, tags: Scope, number: Number) -> Scope {
        let tags = owed.room_for(tags);
        owed.owe(tags, number);
        tags
    }

    fn tag(place: &str, tag: u64) -> Scope {
        Scope::Tag(TagName { within: Within::of(place), tag })
    }

    fn whole(place: &str) -> Scope {
        Scope::tags_of(Within::of(place))
    }

    #[test]
    fn beyond_its_share_a_place_owes_one_stamp_for_all_of_its_tags() {
        let mut owed = OwedTags::default();
        for n in 0..OF_HOST as u64 {
            assert_eq!(owe(&mut owed, tag("https://a", n), n), tag("https://a", n));
        }
        assert_eq!(owe(&mut owed, tag("https://b", 7), 1), tag("https://b", 7), "others have theirs");
        assert_eq!(owe(&mut owed, tag("https://a", 7), 2_000), tag("https://a", 7), "it is owed already");
        assert_eq!(owe(&mut owed, tag("https://a", 9_999), 2_001), whole("https://a"));
        assert_eq!(owed.len(), 2, "the one stands for its tags");
    }

    #[test]
    fn beyond_its_share_of_places_a_host_owes_one_stamp_for_all_of_them() {
        let mut owed = OwedTags::default();
        for port in 1..=PLACES_OF_HOST {
            let place = format!("https://a:{port}");
            assert_eq!(owe(&mut owed, whole(&place), 1), whole(&place));
        }
        assert_eq!(owe(&mut owed, whole("https://b:1"), 2), whole("https://b:1"));
        assert_eq!(owe(&mut owed, whole("https://a:999"), 3), whole("a"));
        assert_eq!(owed.iter().collect::<Vec<_>>().len(), 2, "the host's, and the other's");
    }

    #[test]
    fn with_debts_of_too_many_hosts_one_stands_for_all() {
        let mut owed = OwedTags::default();
        for n in 0..HOSTS {
            assert!(matches!(
                owe(&mut owed, tag(&format!("https://{n}"), 1), 1),
                Scope::Tag(_) | Scope::Bucket(_)
            ));
        }
        assert_eq!(owed.len(), HOSTS);
        assert_eq!(owe(&mut owed, tag("https://x", 1), 2), Scope::tags_of(Within::ANYWHERE));
        assert_eq!(owed.iter().collect::<Vec<_>>(), [(Scope::tags_of(Within::ANYWHERE), 2)]);
    }

    #[test]
    fn what_was_owed_again_meanwhile_is_not_paid() {
        let mut owed = OwedTags::default();
        owe(&mut owed, tag("h", 1), 5);
        owe(&mut owed, tag("h", 1), 6);
        owed.paid(tag("h", 1), 5);
        assert_eq!(owed.len(), 1);
        owed.paid(tag("h", 1), 6);
        assert_eq!(owed.len(), 0);
    }
}
