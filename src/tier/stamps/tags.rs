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
//! Above the bound for tags, and for one host above an eighth of it, a purge by tag covers its whole bucket at once. Above that for buckets, a bucket
//! is all tags of its place.
//!
//! An instance that begins finds the stamps that live. Of those that have ended it finds, for each bucket, a
//! stamp that says that there was one ([`Scope::Rest`]), written after it. As all stamps of tags live equally
//! long, those that have ended have lower numbers than those that live. So they had at most the number of
//! the oldest that lives for some time yet, and at most that of their bucket's last.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Stamp;
use super::life::SLACK;
use super::named::Named;
use super::scope::{Bucket, Force, Scope, TagName, Within};
use super::table::One;
use crate::clock::{WallMs, millis};
use crate::dust::Number;

/// How long a tag has a stamp of its own. All have the same life, since a later one may not end before an
/// earlier one.
pub const LIVES: Duration = Duration::from_hours(4);
/// By how much longer an older stamp may live than a newer one, in ms.
pub const SKEW_MS: u64 = 300_000;
/// The most stamps of tags: what a table of 2^18 lines takes. One from which lines are taken away may grow to
/// twice as many, and no further.
pub const TAGS: usize = 7 << 15;
/// The most stamps of tags that are meant on one host, or at one origin.
const OF_HOST: usize = TAGS / 8;
/// The most buckets.
pub const PLACES: usize = 7 << 14;

/// The newest stamps over one tag, or one bucket: their numbers, hard and soft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Line {
    numbers: [Number; 2],
    /// When the last of them ends, on the store's clock.
    until: WallMs,
}

/// How many lines a place has.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    tags: usize,
    all: usize,
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
    /// The places that have any, and how many: of tags, and of all.
    places: HashMap<Within, Count>,
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
            places: HashMap::new(),
            keeps_ms: millis(max_life + SLACK),
        }
    }

    /// The numbers of the newest stamps over a response's tags, hard and soft.
    pub(super) fn over(&self, named: Named<'_>) -> [Number; 2] {
        let mut over = [0, 0];
        if named.tags.is_empty() || self.places.is_empty() {
            return over;
        }
        for within in named.places().filter(|place| self.places.contains_key(place)) {
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
                let line = self.here.entry(name).or_insert_with(|| {
                    self.places.entry(name.within).or_default().all += 1;
                    Line::default()
                });
                line.merge(force, one.number, one.until);
            }
            Scope::Tag(name) => {
                let stands = |line: &mut Line| force == Force::Hard && line.newest() <= one.number;
                if self.here.get_mut(&name).is_some_and(stands) {
                    self.here.remove(&name);
                    leave(&mut self.places, name.within, false);
                }
                let known = self.buckets.get(&name.bucket()).is_some_and(|line| line.has(force, one.number));
                if known && !self.tags.contains_key(&name) {
                    return;
                }
                if self.tags.len() >= TAGS && !self.tags.contains_key(&name) {
                    self.drop_oldest();
                }
                let line = self.tags.entry(name).or_insert_with(|| {
                    let count = self.places.entry(name.within).or_default();
                    (count.tags, count.all) = (count.tags + 1, count.all + 1);
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
            self.stored.entry(stored).or_default().merge(force, one.number, one.until);
        }
    }

    /// Covers a bucket: what has one of its tags and is older than that number.
    fn cover(&mut self, bucket: Bucket, force: Force, number: Number, until: WallMs) {
        let bucket = if self.buckets.len() >= PLACES && !self.buckets.contains_key(&bucket) {
            Bucket::whole(bucket.within)
        } else {
            bucket
        };
        let line = self.buckets.entry(bucket).or_insert_with(|| {
            self.places.entry(bucket.within).or_default().all += 1;
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
        self.stored.retain(|_, line| line.until > now);
        let places = &mut self.places;
        self.buckets.retain(|bucket, line| {
            let stays = line.until > now || line.newest() > oldest;
            if !stays {
                leave(places, bucket.within, false);
            }
            stays
        });
        self.here.retain(|name, line| {
            let stays = line.until > now || line.newest() > oldest || owed.contains(name);
            if !stays {
                leave(places, name.within, false);
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
            leave(&mut self.places, name.within, true);
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
        let has_share = name.within == Within::ANYWHERE
            || self.places.get(&name.within).is_none_or(|count| count.tags < OF_HOST);
        self.tags.contains_key(&name) || (has_share && self.tags.len() < most.min(TAGS / 8 * 7))
    }

    /// The bucket that a tag is remembered by: all of its place, if there are too many. `None` if there are
    /// too many places even so.
    pub(super) fn bucket(&self, name: TagName) -> Option<Bucket> {
        let has = |bucket: &Bucket| self.stored.contains_key(&(bucket.within, bucket.at, true));
        let (bucket, whole) = (name.bucket(), Bucket::whole(name.within));
        if has(&bucket) || self.stored.len() < PLACES {
            Some(bucket)
        } else {
            (has(&whole) || self.stored.len() < PLACES * 2).then_some(whole)
        }
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

fn leave(places: &mut HashMap<Within, Count>, place: Within, tag: bool) {
    if let Some(count) = places.get_mut(&place) {
        count.all -= 1;
        count.tags -= usize::from(tag);
        if count.all == 0 {
            places.remove(&place);
        }
    }
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
