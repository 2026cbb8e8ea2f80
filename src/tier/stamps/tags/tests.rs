use super::*;
use crate::key::KeyHash;
use crate::policy::RouteId;
use crate::record::{Tag, Tags};
use crate::tier::stamps::table::Table;
use crate::tier::stamps::{Covered, Stamps};

const DAY_MS: WallMs = 24 * 60 * 60 * 1000;
const LIFE: Duration = Duration::from_hours(720);

fn tags(texts: &[&str]) -> Tags {
    texts.iter().filter_map(|text| Tag::new(text)).collect()
}

fn of<'a>(key: &'a str, tags: &'a Tags) -> Named<'a> {
    Named { url: KeyHash::of(key), key, route: RouteId::of("r"), tags }
}

fn name(within: Within, text: &str) -> TagName {
    TagName { within, tag: Tag::new(text).unwrap().hash() }
}

fn anywhere(text: &str) -> TagName {
    name(Within::ANYWHERE, text)
}

fn purge(tagged: &mut Tagged, name: TagName, number: Number, until: WallMs) {
    tagged.apply(Scope::Tag(name), Force::Hard, One::stored(number, until));
}

/// The number of the newest hard stamp over a tag of a host.
fn hard(tagged: &Tagged, host: &str, tag: &str) -> Number {
    let (key, tags) = (format!("https://{host}/a"), tags(&["other", tag]));
    tagged.over(of(&key, &tags))[0]
}

#[test]
fn a_tag_is_purged_on_all_hosts_on_one_or_at_one_origin() {
    let mut tagged = Tagged::new(LIFE);
    purge(&mut tagged, anywhere("all"), 5, DAY_MS);
    purge(&mut tagged, name(Within::of("a.test"), "host"), 6, DAY_MS);
    purge(&mut tagged, name(Within::of("https://a.test"), "origin"), 7, DAY_MS);
    for (host, tag, number) in [
        ("a.test", "all", 5),
        ("b.test", "all", 5),
        ("a.test", "host", 6),
        ("a.test:8443", "host", 6),
        ("b.test", "host", 0),
        ("a.test", "origin", 7),
        ("a.test:8443", "origin", 0),
        ("a.test", "none", 0),
    ] {
        assert_eq!(hard(&tagged, host, tag), number, "{host} {tag}");
    }
    let http = tags(&["origin"]);
    assert_eq!(tagged.over(of("http://a.test/a", &http)), [0, 0], "another origin");
}

#[test]
fn the_highest_number_wins_and_forces_are_apart() {
    let mut tagged = Tagged::new(LIFE);
    for (force, number) in [(Force::Hard, 9), (Force::Hard, 4), (Force::Soft, 12), (Force::Soft, 11)] {
        tagged.apply(Scope::Tag(anywhere("t")), force, One::stored(number, DAY_MS));
    }
    let tags = tags(&["t"]);
    assert_eq!(tagged.over(of("http://h/a", &tags)), [9, 12]);
}

#[test]
fn a_million_tags_in_a_day_are_held_within_the_bound_and_none_is_lost() {
    let mut tagged = Tagged::new(LIFE);
    let (many, lives) = (1_000_000, millis(LIVES));
    let at = |n: u64| n * DAY_MS / many;
    let mut most = (0, 0);
    for n in 1..=many {
        let tag = TagName { within: Within::ANYWHERE, tag: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        purge(&mut tagged, tag, n, at(n) + lives);
        if n % 4096 == 0 {
            tagged.forget(at(n), Number::MAX, &HashSet::new());
        }
        most = (most.0.max(tagged.len().0), most.1.max(tagged.len().1));
        assert!(tagged.tags.capacity() <= TAGS * 2, "the table never grows beyond what is stated");
    }
    assert!(most.0 < 180_000 && most.1 <= 16_384, "{most:?}");
    for n in 1..=many {
        let tag = TagName { within: Within::ANYWHERE, tag: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        assert!(tagged.over_tag(tag)[0] >= n, "{n}");
    }
    // What was asked for in the last hours is told apart tag by tag.
    let other = tagged.over_tag(anywhere("other"))[0];
    assert!(at(other) <= DAY_MS - lives, "{other}");
}

#[test]
fn however_many_tags_are_purged_at_once_they_stay_within_the_bound() {
    let mut tagged = Tagged::new(LIFE);
    let many = TAGS as u64 * 2;
    for n in 1..=many {
        let tag = TagName { within: Within::of("a.test"), tag: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        purge(&mut tagged, tag, n, DAY_MS);
        assert!(tagged.tags.capacity() <= TAGS * 2);
    }
    for n in 1..=many {
        let tag = TagName { within: Within::of("a.test"), tag: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        assert!(tagged.over_tag(tag)[0] >= n, "{n}");
    }
    // Never another host's, nor those of the fleet.
    for n in 0..10_000 {
        assert_eq!(hard(&tagged, "b.test", &n.to_string()), 0);
    }
}

#[test]
fn a_stamp_that_has_ended_covers_by_its_bucket_and_only_what_is_older() {
    let mut tagged = Tagged::new(LIFE);
    purge(&mut tagged, anywhere("t"), 5, DAY_MS);
    tagged.forget(DAY_MS, Number::MAX, &HashSet::new());
    assert_eq!((tagged.len(), hard(&tagged, "h", "t")), ((0, 1), 5));
    let end = DAY_MS + millis(LIFE + SLACK);
    tagged.forget(end - 1, Number::MAX, &HashSet::new());
    assert_eq!(hard(&tagged, "h", "t"), 5, "a record from before it may still be there");
    tagged.forget(end, 4, &HashSet::new());
    assert_eq!(hard(&tagged, "h", "t"), 5, "a fill from before it is under way");
    tagged.forget(end, 5, &HashSet::new());
    assert_eq!((tagged.len(), tagged.places.is_empty()), ((0, 0), true));
}

#[test]
fn an_instance_that_begins_covers_what_has_ended_and_no_more_than_that() {
    let mut tagged = Tagged::new(LIFE);
    let (ended, lives) = (anywhere("ended"), anywhere("lives"));
    // The first was purged at 5 and has ended; the second was purged at 8 and lives. A tag of the first one's
    // bucket was purged at 9.
    tagged.apply(Scope::Rest(ended.bucket()), Force::Hard, One::stored(10, DAY_MS));
    tagged.apply(Scope::Rest(lives.bucket()), Force::Hard, One::stored(9, DAY_MS));
    purge(&mut tagged, lives, 8, DAY_MS);
    tagged.cover_the_rest(Some(8));
    assert_eq!(hard(&tagged, "h", "ended"), 8, "above 5, and no higher than the oldest that lives");
    assert_eq!(hard(&tagged, "h", "lives"), 8);
    assert_eq!(hard(&tagged, "h", "other"), 0);
    let mut alone = Tagged::new(LIFE);
    alone.apply(Scope::Rest(ended.bucket()), Force::Soft, One::stored(10, DAY_MS));
    alone.cover_the_rest(None);
    let tags = tags(&["ended"]);
    assert_eq!(alone.over(of("http://h/a", &tags)), [0, 10]);
}

#[test]
fn too_many_buckets_are_one_for_each_place() {
    let mut tagged = Tagged::new(LIFE);
    for n in 0..PLACES as u64 + 100 {
        let bucket = TagName { within: Within(1 + n / 1000), tag: n << 50 }.bucket();
        tagged.cover(bucket, Force::Hard, n + 1, DAY_MS);
    }
    assert!(tagged.buckets.len() <= PLACES + 200, "{}", tagged.buckets.len());
    let last = PLACES as u64 + 99;
    assert_eq!(tagged.over_tag(TagName { within: Within(1 + last / 1000), tag: 77 })[0], last + 1);
    assert_eq!(tagged.over_tag(TagName { within: Within(1), tag: 77 << 40 })[0], 1, "others stay apart");
}

#[test]
fn a_kind_without_new_stamps_is_not_looked_at_again() {
    let mut table = Table::new(LIFE);
    let tags = tags(&["t"]);
    let named = of("https://h/a/b", &tags);
    let area = super::super::Area::below("https://h/a/").unwrap();
    table.apply(Scope::Tag(anywhere("t")), Force::Hard, One::stored(5, DAY_MS), 1);
    table.apply(Scope::Area(area), Force::Soft, One::stored(6, DAY_MS), 2);
    table.apply(Scope::Url(KeyHash::of("http://other/")), Force::Hard, One::stored(7, DAY_MS), 3);
    let covers = |checked| table.covers(named, 1, 1, checked);
    assert_eq!([covers(0), covers(1), covers(2)], [Covered::Hard, Covered::Soft, Covered::No]);
}

#[test]
fn a_response_whose_tags_are_not_known_is_covered_by_its_areas_alone() {
    let stamps = Stamps::new("t", LIFE);
    stamps.apply(Scope::Tag(anywhere("t")), Force::Hard, 5);
    let (none, some) = (tags(&[]), tags(&["t"]));
    assert_eq!(stamps.covers(of("http://h/a", &none), 1, 1), Covered::No);
    assert_eq!(stamps.covers(of("http://h/a", &some), 1, 1), Covered::Hard);
    assert!(stamps.forbids(of("http://h/a", &some), 4));
    assert!(!stamps.forbids(of("http://h/a", &some), 5));
    stamps.apply(Scope::Area(super::super::Area::Route(RouteId::of("r"))), Force::Hard, 6);
    assert_eq!(stamps.stood(of("http://h/a", &none)).hard, 6);
}

#[test]
fn one_host_takes_no_more_than_its_share_of_stamps() {
    let mut tagged = Tagged::new(LIFE);
    let (a, b) = (Within::of("a"), Within::of("b"));
    for n in 0..OF_HOST as u64 {
        purge(&mut tagged, TagName { within: a, tag: n }, n + 1, DAY_MS);
    }
    let has = |within| tagged.has_place(TagName { within, tag: u64::MAX }, usize::MAX);
    assert_eq!([has(a), has(b), has(Within::ANYWHERE)], [false, true, true]);
    assert_eq!([has(Within::of("https://a:8443")), has(Within::of("a:81"))], [false; 2], "its ports too");
    assert!(tagged.has_place(TagName { within: a, tag: 0 }, usize::MAX), "it has a stamp already");
    tagged.forget(DAY_MS, Number::MAX, &HashSet::new());
    assert!(tagged.has_place(TagName { within: a, tag: u64::MAX }, usize::MAX), "they have ended");
}

#[test]
fn one_host_takes_no_more_than_its_share_of_buckets_whatever_its_ports() {
    let mut tagged = Tagged::new(LIFE);
    let at = |port: usize, n: usize| TagName {
        within: Within::of(&format!("https://a:{}", 1 + port)),
        tag: (n as u64) << 50,
    };
    let stamp = |tagged: &mut Tagged, bucket| {
        tagged.apply(Scope::Bucket(bucket), Force::Hard, One::stored(1, DAY_MS));
    };
    for n in 0..BUCKETS_OF_HOST {
        let name = at(n % 7, n);
        assert_eq!(tagged.bucket(name, false), Some(name.bucket()));
        stamp(&mut tagged, name.bucket());
    }
    for port in 0..PLACES_OF_HOST {
        let place = Bucket::whole(at(port, 0).within);
        assert_eq!(tagged.bucket(at(port, 16_383), false), Some(place));
        stamp(&mut tagged, place);
    }
    let host = Bucket::whole(Within::of("a"));
    assert_eq!(tagged.bucket(at(900, 1), false), Some(host));
    assert_eq!(tagged.whole(at(900, 1).within, false), Some(host));
    stamp(&mut tagged, host);
    assert_eq!(hard(&tagged, "a:901", "any"), 1, "it covers all that the other would");
    assert_eq!(hard(&tagged, "b", "any"), 0);
    let other = TagName { within: Within::of("https://b"), tag: 7 };
    assert_eq!(tagged.bucket(other, false), Some(other.bucket()), "others have theirs");
    tagged.forget(DAY_MS, Number::MAX, &HashSet::new());
    assert_eq!(tagged.bucket(at(900, 1), false), Some(at(900, 1).bucket()), "they have ended");
}

#[test]
fn what_is_covered_until_its_stamp_is_in_the_store_is_bounded() {
    let mut tagged = Tagged::new(LIFE);
    let name = |n: usize| TagName { within: Within::of("https://a"), tag: (n as u64) << 40 };
    for n in 0..HERE + 100 {
        tagged.apply(Scope::Tag(name(n)), Force::Hard, One::here(5, DAY_MS));
    }
    assert_eq!(tagged.here.len(), HERE);
    assert!((0..HERE + 100).all(|n| tagged.over_tag(name(n))[0] == 5));
    assert_eq!(hard(&tagged, "b", "any"), 0);
}
