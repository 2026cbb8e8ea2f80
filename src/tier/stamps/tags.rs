//! The stamps over tags, within a bound.
//!
//! A purge by tag can't know what it covers, so it holds for as long as any record may live (30 days). A stamp
//! for each tag that is purged in 30 days would be too many. So a tag has a stamp of its own for [`LIVES`], and
//! then only its *bucket* is remembered: one of 16 384 into which the tags of a place fall by their hash, and
//! the number of the newest stamp of it that has ended. What has a tag of that bucket and is older counts as
//! purged, which costs a fetch where it was not. Tags of another host, or of all, are other places.
//!
//! | what | how many at most | bytes at most |
//! |---|---|---|
//! | stamps of tags | [`TAGS`]: a million in a day is 166 667 in four hours | 41 a line of a table of 2^19, 21 MiB |
//! | buckets, of stamps that have ended | [`PLACES`]; 16 384 for a million tags in a day | 10 MiB |
//! | buckets, as the store has them | twice that | 21 MiB |
//!
//! Above the bound for tags, a purge by tag covers its whole bucket at once. Above that for buckets, a bucket is all
//! tags of its place, and with too many places all tags of its host. One host, with all of its ports, reaches each of
//! these bounds at an eighth.
//!
//! An instance that begins finds the stamps that live. Of those that have ended it finds, for each bucket, a
//! stamp that says that there was one ([`Scope::Rest`]), written after it. As all stamps of tags live equally
//! long, those that have ended have lower numbers than those that live. So they had at most the number of
//! the oldest that lives for some time yet, and at most that of their bucket's last.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

mod places;

use super::Stamp;
use super::life::SLACK;
use super::named::Named;
use super::scope::{Bucket, Force, Scope, TagName, Within};
use super::table::One;
use crate::clock::{WallMs, millis};
use crate::dust::Number;
use places::Places;

/// How long a tag has a stamp of its own. All have the same life, since a later one may not end before an
/// earlier one.
pub const LIVES: Duration = Duration::from_hours(4);
/// By how much longer an older stamp may live than a newer one, in ms.
pub const SKEW_MS: u64 = 300_000;
/// The most stamps of tags: what a table of 2^18 lines takes. One from which lines are taken away may grow to
/// twice as many, and no further.
pub const TAGS: usize = 7 << 15;
/// The most stamps of tags that are meant on one host, whatever its ports and schemes.
const OF_HOST: usize = TAGS / 8;
/// The most buckets.
pub const PLACES: usize = 7 << 14;
/// The most stamps over buckets of one host that the store has.
const BUCKETS_OF_HOST: usize = PLACES / 8;
/// How many over all tags of a place it has beside them.
const PLACES_OF_HOST: usize = 256;
/// The most tags that are covered here until their stamp is in the store.
const HERE: usize = 1 << 14;

/// The newest stamps over one tag, or one bucket: their numbers, hard and soft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Line {
    numbers: [Number; 2],
    /// When the last of them ends, on the store's clock.
    until: WallMs,
}

/// A stamp over a bucket as the store has it, and whether it is one of those that say what has ended.
type InStore = (Within, u16, bool);

/// The stamps over tags.
#[derive(Debug)]
pub(super) struct Tagged {
    tags: HashMap<TagName, Line>,
    /// Tags that are covered here until their stamp is in the store.
    here: HashMap<TagName, Line>,
    /// What is covered, but not by a stamp of its own.
    buckets: HashMap<Bucket, Line>,
    /// Stamps over buckets as the store has them.
    stored: HashMap<InStore, Line>,
    places: Places,
    /// How long a bucket is remembered after a stamp in it has ended, in ms.
    keeps_ms: u64,
}

// === impl Tagged ===

impl Tagged {
    /// No stamps. No record is served that is older than `max_life`.
    pub(super) fn new(max_life: Duration) -> Self {
        Self {
            tags: HashMap::new(),
            here: HashMap::new(),
            buckets: HashMap::new(),
            stored: HashMap::new(),
            places: Places::default(),
            keeps_ms: millis(max_life + SLACK),
        }
    }

    /// The numbers of the newest stamps over a response's tags, hard and soft.
    pub(super) fn over(&self, named: Named<'_>) -> [Number; 2] {
        let mut over = [0, 0];
        if named.tags.is_empty() || self.places.is_empty() {
            return over;
        }
        for within in named.places().filter(|place| self.places.has(*place)) {
            for tag in named.tags {
                let [hard, soft] = self.over_tag(TagName { within, tag: tag.hash() });
                over = [hard.max(over[0]), soft.max(over[1])];
            }
        }
        over
    }

    /// The same over one tag at one place.
    pub(super) fn over_tag(&self, name: TagName) -> [Number; 2] {
        let (bucket, whole) = (name.bucket(), Bucket::whole(name.within));
        let lines =
            [self.tags.get(&name), self.here.get(&name), self.buckets.get(&bucket), self.buckets.get(&whole)];
        lines
            .into_iter()
            .flatten()
            .fold([0, 0], |[hard, soft], line| [hard.max(line.numbers[0]), soft.max(line.numbers[1])])
    }

    /// The newest stamp of a scope and force.
    pub(super) fn get(&self, scope: Scope, force: Force) -> One {
        let line = match scope {
            Scope::Tag(name) => self.tags.get(&name),
            _ => in_store(scope).and_then(|stored| self.stored.get(&stored)),
        };
        line.map_or_else(One::default, |line| One::stored(line.numbers[force as usize], line.until))
    }

    /// Merges a stamp in: the highest number wins.
    pub(super) fn apply(&mut self, scope: Scope, force: Force, one: One) {
        match scope {
            Scope::Tag(name) if one.here_only => {
                if self.here.len() >= HERE && !self.here.contains_key(&name) {
                    // Whether it is still owed when this ends is not known.
                    let until = one.until.saturating_add(self.keeps_ms);
                    self.cover(name.bucket(), force, one.number, until);
                    return;
                }
                let line = self.here.entry(name).or_insert_with(|| {
                    self.places.cover(name.within);
                    Line::default()
                });
                line.merge(force, one.number, one.until);
            }
            Scope::Tag(name) => {
                let stands = |line: &mut Line| force == Force::Hard && line.newest() <= one.number;
                if self.here.get_mut(&name).is_some_and(stands) {
                    self.here.remove(&name);
                    self.places.uncover(name.within);
                }
                let known = self.buckets.get(&name.bucket()).is_some_and(|line| line.has(force, one.number));
                if known && !self.tags.contains_key(&name) {
                    return;
                }
                if self.tags.len() >= TAGS && !self.tags.contains_key(&name) {
                    self.drop_oldest();
                }
                let line = self.tags.entry(name).or_insert_with(|| {
                    self.places.cover(name.within);
                    self.places.change(name.within, |share| share.tags += 1);
                    Line::default()
                });
                line.merge(force, one.number, one.until);
            }
            Scope::Bucket(bucket) => {
                if !one.here_only {
                    self.store(scope, force, one);
                }
                self.cover(bucket, force, one.number, one.until);
            }
            Scope::Rest(_) => self.store(scope, force, one),
            Scope::Url(_) | Scope::Area(_) | Scope::All => {}
        }
    }

    fn store(&mut self, scope: Scope, force: Force, one: One) {
        if let Some(stored) = in_store(scope) {
            let line = self.stored.entry(stored).or_insert_with(|| {
                self.places.change(stored.0, |share| share.stored += 1);
                Line::default()
            });
            line.merge(force, one.number, one.until);
        }
    }

    /// Covers a bucket: what has one of its tags and is older than that number.
    fn cover(&mut self, bucket: Bucket, force: Force, number: Number, until: WallMs) {
        let host = bucket.within.host();
        let has = |(bucket, most): &(Bucket, usize)| {
            self.buckets.contains_key(bucket) || self.buckets.len() < *most
        };
        // The last two take more than the store has: what is meant on all hosts is a last resort.
        let each = [
            (bucket, PLACES),
            (Bucket::whole(bucket.within), PLACES / 2 * 3),
            (Bucket::whole(host), PLACES * 3),
        ];
        let room = each.into_iter().find(has);
        let bucket = room.map_or(Bucket::whole(Within::ANYWHERE), |(bucket, _)| bucket);
        let line = self.buckets.entry(bucket).or_insert_with(|| {
            self.places.cover(bucket.within);
            Line::default()
        });
        line.merge(force, number, until);
    }

    /// Covers what stamps have covered that ended before they were heard of. `oldest`: the number of the
    /// oldest stamp of a tag that lives, if one does.
    pub(super) fn cover_the_rest(&mut self, oldest: Option<Number>) {
        let most = oldest.unwrap_or(Number::MAX);
        let rests: Vec<_> = self.stored.iter().map(|(stored, line)| (scope_of(*stored), *line)).collect();
        for (scope, Line { numbers, until }) in rests {
            let Scope::Rest(bucket) = scope else { continue };
            for force in [Force::Hard, Force::Soft] {
                let number = numbers[force as usize].min(most);
                if number > 0 {
                    self.cover(bucket, force, number, until);
                }
            }
        }
    }

    /// Has the buckets of the oldest eighth of the stamps stand for them.
    fn drop_oldest(&mut self) {
        let mut numbers: Vec<Number> = self.tags.values().map(Line::newest).collect();
        let at = numbers.len() / 8;
        let (_, most, _) = numbers.select_nth_unstable(at);
        let most = *most;
        self.end_those(|line| line.newest() <= most);
    }

    /// Forgets the stamps that ended before `now`. Their buckets stand for them, until nothing can appear any
    /// more that is older; those above `oldest`, the number that the oldest fill under way here was born
    /// under, stay.
    /// Tags in `owed` stay covered here.
    pub(super) fn forget(&mut self, now: WallMs, oldest: Number, owed: &HashSet<TagName>) {
        self.end_those(|line| line.until <= now);
        let places = &mut self.places;
        self.stored.retain(|(within, ..), line| {
            let stays = line.until > now;
            if !stays {
                places.change(*within, |share| share.stored -= 1);
            }
            stays
        });
        self.buckets.retain(|bucket, line| {
            let stays = line.until > now || line.newest() > oldest;
            if !stays {
                places.uncover(bucket.within);
            }
            stays
        });
        self.here.retain(|name, line| {
            let stays = line.until > now || line.newest() > oldest || owed.contains(name);
            if !stays {
                places.uncover(name.within);
            }
            stays
        });
        // A table that was once full gives its room back.
        if self.tags.capacity() > self.tags.len() * 4 {
            self.tags.shrink_to(self.tags.len() * 2);
        }
    }

    fn end_those(&mut self, ends: impl Fn(&Line) -> bool) {
        let ended: Vec<(TagName, Line)> = self.tags.extract_if(|_, line| ends(line)).collect();
        for (name, line) in ended {
            for force in [Force::Hard, Force::Soft] {
                let number = line.numbers[force as usize];
                if number > 0 {
                    self.cover(name.bucket(), force, number, line.until.saturating_add(self.keeps_ms));
                }
            }
            self.places.uncover(name.within);
            self.places.change(name.within, |share| share.tags -= 1);
        }
    }

    /// Every stamp that the store should have at `now`.
    pub(super) fn known(&self, now: WallMs) -> impl Iterator<Item = Stamp> {
        let tags = self.tags.iter().map(|(name, line)| (Scope::Tag(*name), *line));
        let all = tags.chain(self.stored.iter().map(|(stored, line)| (scope_of(*stored), *line)));
        all.filter(move |(_, line)| line.until > now).flat_map(|(scope, line)| {
            let stamp = move |force| {
                let number = line.numbers[force as usize];
                (number > 0).then_some(Stamp { scope, force, number, until: line.until })
            };
            [Force::Hard, Force::Soft].into_iter().filter_map(stamp)
        })
    }

    /// Returns whether there is room for a stamp of this tag, if there may be `most`. There is none for the
    /// last eighth: a purge at another instance may come at the same time. Nor is there for one host beyond its
    /// share: others need room too.
    pub(super) fn has_place(&self, name: TagName, most: usize) -> bool {
        let has_share = self.places.share(name.within).tags < OF_HOST;
        self.tags.contains_key(&name) || (has_share && self.tags.len() < most.min(TAGS / 8 * 7))
    }

    /// The bucket to stamp for a tag: all of its place or its host, if it has its share already or there are too many.
    /// `rest`: it is to say what has ended. `None` if there are too many hosts even so.
    pub(super) fn bucket(&self, name: TagName, rest: bool) -> Option<Bucket> {
        let bucket = name.bucket();
        let share = self.places.share(name.within).stored;
        let fits = self.has(bucket, rest) || (share < BUCKETS_OF_HOST && self.stored.len() < PLACES);
        if fits { Some(bucket) } else { self.whole(name.within, rest) }
    }

    /// The same for all tags of a place.
    pub(super) fn whole(&self, within: Within, rest: bool) -> Option<Bucket> {
        let (place, host) = (Bucket::whole(within), Bucket::whole(within.host()));
        let share = self.places.share(within).stored;
        let fits = share < BUCKETS_OF_HOST + PLACES_OF_HOST && self.stored.len() < PLACES / 2 * 3;
        if fits || self.has(place, rest) {
            return Some(place);
        }
        (self.has(host, rest) || self.stored.len() < PLACES * 2).then_some(host)
    }

    fn has(&self, Bucket { within, at }: Bucket, rest: bool) -> bool {
        self.stored.contains_key(&(within, at, rest))
    }

    /// How many stamps there are, and buckets.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.tags.len(), self.buckets.len() + self.stored.len())
    }
}

fn in_store(scope: Scope) -> Option<InStore> {
    match scope {
        Scope::Bucket(Bucket { within, at }) => Some((within, at, false)),
        Scope::Rest(Bucket { within, at }) => Some((within, at, true)),
        Scope::Url(_) | Scope::Area(_) | Scope::Tag(_) | Scope::All => None,
    }
}

fn scope_of((within, at, rest): InStore) -> Scope {
    let bucket = Bucket { within, at };
    if rest { Scope::Rest(bucket) } else { Scope::Bucket(bucket) }
}

// === impl Line ===

impl Line {
    fn merge(&mut self, force: Force, number: Number, until: WallMs) {
        let here = &mut self.numbers[force as usize];
        *here = number.max(*here);
        self.until = until.max(self.until);
    }

    fn newest(&self) -> Number {
        self.numbers[0].max(self.numbers[1])
    }

    /// Returns whether a stamp of that force and number covers no more than this.
    fn has(&self, force: Force, number: Number) -> bool {
        let [hard, soft] = self.numbers;
        number <= hard || (force == Force::Soft && number <= soft)
    }
}

#[cfg(test)]
mod tests;
