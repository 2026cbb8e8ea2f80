//! The stamps in memory: the newest of each URL, area and tag, and the newest over everything.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::named::Named;
use super::scope::{Area, Covered, TagName, Wanted, Within};
use super::tags::Tagged;
use super::{Force, Scope, Stamp};
use crate::clock::WallMs;
use crate::dust::Number;
use crate::key::KeyHash;

/// Indexed by [`Force`].
type Both = [One; 2];

/// The newest stamp of one scope and force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct One {
    /// The number of the stamp; 0 if there is none.
    pub(super) number: Number,
    /// When it expires, on the store's clock.
    pub(super) until: WallMs,
    /// Whether it is not in the store, or is there under another number.
    pub(super) here_only: bool,
    /// When the one in the store expires, under whatever number; 0 if it has had none.
    pub(super) stored: WallMs,
}

/// As many as live in the store. No stamp is dropped for lack of room, and none covers another URL.
#[derive(Debug)]
pub(super) struct Table {
    by_url: HashMap<KeyHash, Both>,
    areas: HashMap<Area, Both>,
    /// How many of them each host has.
    by_host: HashMap<Within, usize>,
    /// The depths of the prefixes among them, as a set of bits.
    depths: u64,
    pub(super) tags: Tagged,
    all: Both,
    /// The count of applied stamps when there was last one of a URL, of an area, and of a tag.
    changed: [u64; 3],
}

/// The place of each kind in [`Table::changed`].
const URLS: usize = 0;
const AREAS: usize = 1;
const TAGS: usize = 2;

/// The most areas that have stamps at a time. The last eighth is for routes, hosts and origins.
pub(super) const MOST_AREAS: usize = 1 << 16;
/// How many areas of a host have stamps of their own. Above that its prefixes stand for its origins, and its ports
/// for its name.
pub(super) const OF_HOST: usize = 1 << 12;

// === impl Table ===

impl Table {
    /// No stamps. No record is served that is older than `max_life`.
    pub(super) fn new(max_life: Duration) -> Self {
        Self {
            by_url: HashMap::new(),
            areas: HashMap::new(),
            by_host: HashMap::new(),
            depths: 0,
            tags: Tagged::new(max_life),
            all: Both::default(),
            changed: [0; 3],
        }
    }

    /// The numbers of the newest stamps over a URL, hard and soft.
    pub(super) fn over_url(&self, url: KeyHash) -> [Number; 2] {
        newer(numbers(&self.all), self.by_url.get(&url))
    }

    /// The count of applied stamps when one over more than a URL was last applied.
    pub(super) fn wide(&self) -> u64 {
        self.changed[AREAS].max(self.changed[TAGS])
    }

    /// The same over a URL and the areas that it lies in: all but its tags.
    pub(super) fn over_place(&self, named: Named<'_>) -> [Number; 2] {
        self.in_areas(named, self.over_url(named.url))
    }

    fn in_areas(&self, named: Named<'_>, over: [Number; 2]) -> [Number; 2] {
        if self.areas.is_empty() {
            return over;
        }
        named.areas(self.depths).fold(over, |over, area| newer(over, self.areas.get(&area)))
    }

    /// How the stamps cover a record that those which were applied up to the count `checked` do not. A kind of
    /// which no stamp has come since is not looked at.
    pub(super) fn covers(&self, named: Named<'_>, born: Number, token: Number, checked: u64) -> Covered {
        let mut over = numbers(&self.all);
        if self.changed[URLS] > checked {
            over = newer(over, self.by_url.get(&named.url));
        }
        if self.changed[AREAS] > checked {
            over = self.in_areas(named, over);
        }
        if self.changed[TAGS] > checked {
            let [hard, soft] = self.tags.over(named);
            over = [over[0].max(hard), over[1].max(soft)];
        }
        Covered::by(over, born, token)
    }

    /// The newest stamp of a scope and force.
    pub(super) fn get(&self, scope: Scope, force: Force) -> One {
        match scope {
            Scope::All => self.all[force as usize],
            Scope::Url(url) => self.by_url.get(&url).copied().unwrap_or_default()[force as usize],
            Scope::Area(area) => self.areas.get(&area).copied().unwrap_or_default()[force as usize],
            Scope::Tag(_) | Scope::Bucket(_) | Scope::Rest(_) => self.tags.get(scope, force),
        }
    }

    /// The numbers of the newest stamps that cover at least all of a scope, hard and soft.
    pub(super) fn does(&self, scope: Scope) -> [Number; 2] {
        let over = numbers(&self.all);
        let of = match scope {
            Scope::Url(url) => return self.over_url(url),
            Scope::Tag(name) => self.tags.over_tag(name),
            scope => [Force::Hard, Force::Soft].map(|force| self.get(scope, force).number),
        };
        [over[0].max(of[0]), over[1].max(of[1])]
    }

    /// Merges a stamp in: the highest number wins. `count`: how many were applied, with this one.
    pub(super) fn apply(&mut self, scope: Scope, force: Force, one: One, count: u64) {
        let kind = match scope {
            Scope::All => {
                self.all[force as usize].merge(one);
                let all = self.all;
                self.by_url.retain(|_, both| both.shed(&all));
                self.areas.retain(|_, both| both.shed(&all));
                self.count_by_host();
                return;
            }
            _ if one.is_superseded(force, &self.all) => return,
            Scope::Url(url) => {
                self.by_url.entry(url).or_default()[force as usize].merge(one);
                URLS
            }
            Scope::Area(area) => {
                if let Area::Prefix(_, depth, _) = area {
                    self.depths |= 1 << depth;
                }
                let both = self.areas.entry(area).or_insert_with(|| {
                    if let Some(host) = area.of_host() {
                        *self.by_host.entry(host).or_default() += 1;
                    }
                    Both::default()
                });
                both[force as usize].merge(one);
                AREAS
            }
            Scope::Tag(_) | Scope::Bucket(_) => {
                self.tags.apply(scope, force, one);
                TAGS
            }
            Scope::Rest(_) => {
                // It covers nothing that its tags' stamps do not.
                self.tags.apply(scope, force, one);
                return;
            }
        };
        self.changed[kind] = count;
    }

    /// Covers what stamps over tags have covered that ended before they were heard of, as in
    /// [`Tagged::cover_the_rest`].
    pub(super) fn cover_the_rest(&mut self, oldest: Option<Number>, count: u64) {
        self.tags.cover_the_rest(oldest);
        self.changed[TAGS] = count;
    }

    /// Every stamp that the store should have at `now`, ordered by number: the order of a hash table differs
    /// in every run.
    pub(super) fn known(&self, now: WallMs) -> Vec<Stamp> {
        let all = [(Scope::All, &self.all)].into_iter();
        let urls = self.by_url.iter().map(|(url, both)| (Scope::Url(*url), both));
        let areas = self.areas.iter().map(|(area, both)| (Scope::Area(*area), both));
        let mut known: Vec<Stamp> = all
            .chain(urls)
            .chain(areas)
            .flat_map(|(scope, both)| {
                let of = |force| (scope, force, both[force as usize]);
                [of(Force::Hard), of(Force::Soft)]
            })
            .filter(|(_, _, one)| one.number > 0 && one.until > now && !one.here_only)
            .map(|(scope, force, One { number, until, .. })| Stamp { scope, force, number, until })
            .chain(self.tags.known(now))
            .collect();
        known.sort_unstable_by_key(|stamp| stamp.number);
        known
    }

    /// Forgets the stamps that expired before `now`, except those of URLs in `still`, which cover something
    /// here, and those above `oldest`, the number that the oldest fill under way here was born under. Areas
    /// have stamps for as long as any record may live. Tags in `owed` stay covered here.
    pub(super) fn forget(
        &mut self,
        now: WallMs,
        oldest: Number,
        still: &HashSet<KeyHash>,
        owed: &HashSet<TagName>,
    ) {
        let ends = |both: &mut Both| {
            let lives = |one: &One| one.until > now || one.number > oldest;
            for one in both.iter_mut().filter(|one| !lives(one)) {
                *one = One::default();
            }
            both.iter().all(|one| one.number == 0)
        };
        self.by_url.retain(|url, both| still.contains(url) || !ends(both));
        self.areas.retain(|_, both| !ends(both));
        self.depths = self.areas.keys().fold(0, |depths, area| match area {
            Area::Prefix(_, depth, _) => depths | 1 << depth,
            Area::Route(_) | Area::Host(..) => depths,
        });
        self.count_by_host();
        self.tags.forget(now, oldest, owed);
    }

    fn count_by_host(&mut self) {
        self.by_host.clear();
        for host in self.areas.keys().filter_map(|area| area.of_host()) {
            *self.by_host.entry(host).or_default() += 1;
        }
    }

    /// The area to stamp for one that is to be purged: itself, or the coarser one of its host if the host has its
    /// share of areas already, or few more have room. `None`: there is no room for that either.
    pub(super) fn room_for(&self, wanted: Wanted) -> Option<Area> {
        let Wanted { area, coarser } = wanted;
        let has = |area: &Area| self.areas.contains_key(area);
        let of_host = area.of_host().and_then(|host| self.by_host.get(&host)).copied().unwrap_or_default();
        let Some(coarser) = coarser.filter(|_| !has(&area)) else {
            return (has(&area) || self.areas.len() < MOST_AREAS).then_some(area);
        };
        if self.areas.len() < MOST_AREAS / 8 * 7 && of_host < OF_HOST {
            return Some(area);
        }
        (has(&coarser) || self.areas.len() < MOST_AREAS).then_some(coarser)
    }

    /// How many areas have stamps.
    pub(super) fn count_areas(&self) -> usize {
        self.areas.len()
    }

    /// How many URLs have stamps.
    pub(super) fn len(&self) -> usize {
        self.by_url.len()
    }

    /// Returns whether the store has stamps of this URL at `now`.
    pub(super) fn is_stored(&self, url: KeyHash, now: WallMs) -> bool {
        self.by_url.get(&url).is_some_and(|both| both.iter().any(|one| one.stored > now))
    }

    /// How many URLs have stamps in the store at `now`. Visits all of them.
    pub(super) fn count_stored(&self, now: WallMs) -> usize {
        self.by_url.values().filter(|both| both.iter().any(|one| one.stored > now)).count()
    }
}

// === impl One ===

impl One {
    /// A stamp that the store has.
    pub(super) fn stored(number: Number, until: WallMs) -> Self {
        Self { number, until, here_only: false, stored: until }
    }

    /// A stamp that the store does not have.
    pub(super) fn here(number: Number, until: WallMs) -> Self {
        Self { number, until, here_only: true, stored: 0 }
    }

    fn merge(&mut self, other: Self) {
        let stored = self.stored.max(other.stored);
        if other.number >= self.number {
            // A later write may end sooner: it still covers what the earlier one covered.
            let here_only = other.here_only && (self.here_only || other.number > self.number);
            *self = Self { here_only, ..other };
        }
        self.stored = stored;
    }

    /// Returns whether a stamp over everything covers all that this one does.
    fn is_superseded(&self, force: Force, all: &Both) -> bool {
        let hard = self.number <= all[Force::Hard as usize].number;
        hard || (force == Force::Soft && self.number <= all[Force::Soft as usize].number)
    }
}

fn numbers(both: &Both) -> [Number; 2] {
    both.map(|one| one.number)
}

/// The higher numbers of the two.
fn newer(over: [Number; 2], both: Option<&Both>) -> [Number; 2] {
    both.map_or(over, |[hard, soft]| [over[0].max(hard.number), over[1].max(soft.number)])
}

trait Shed {
    /// Drops the stamps that `all` supersedes. Returns whether one is left.
    fn shed(&mut self, all: &Both) -> bool;
}

impl Shed for Both {
    fn shed(&mut self, all: &Both) -> bool {
        for force in [Force::Hard, Force::Soft] {
            let one = &mut self[force as usize];
            if one.is_superseded(force, all) {
                *one = One::default();
            }
        }
        self.iter().any(|one| one.number > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: u64) -> Scope {
        Scope::Url(hash(n))
    }

    fn hash(n: u64) -> KeyHash {
        KeyHash::of(&format!("http://h/{n}"))
    }

    fn one(number: Number, until: WallMs) -> One {
        One::stored(number, until)
    }

    #[test]
    fn however_many_urls_are_purged_no_other_is_covered() {
        let mut table = Table::new(Duration::from_hours(720));
        for n in 1..=70_000 {
            table.apply(url(n), Force::Hard, one(n, 100), 1);
        }
        assert_eq!(table.over_url(hash(70_001)), [0, 0]);
        assert_eq!(table.over_url(hash(1)), [1, 0]);
        assert_eq!(table.len(), 70_000);
    }

    #[test]
    fn a_stamp_over_everything_supersedes_those_of_urls_below_it() {
        for (force, left) in
            [(Force::Hard, vec![(9, Force::Hard)]), (Force::Soft, vec![(3, Force::Hard), (9, Force::Hard)])]
        {
            let mut table = Table::new(Duration::from_hours(720));
            table.apply(url(1), Force::Hard, one(3, 100), 1);
            table.apply(url(1), Force::Soft, one(4, 100), 1);
            table.apply(url(2), Force::Hard, one(9, 100), 1);
            table.apply(Scope::All, force, one(7, 100), 1);
            table.apply(url(3), Force::Soft, one(6, 100), 1);
            let urls = table.known(0).into_iter().filter(|stamp| stamp.scope != Scope::All);
            assert_eq!(urls.map(|stamp| (stamp.number, stamp.force)).collect::<Vec<_>>(), left, "{force:?}");
        }
    }

    #[test]
    fn a_stamp_is_forgotten_when_it_has_ended_and_covers_nothing_here() {
        let none = HashSet::new();
        for (now, oldest, still, left) in [
            (99, Number::MAX, &none, 1),
            (100, Number::MAX, &none, 0),
            (100, 5, &none, 0),
            (100, 4, &none, 1),
            (100, Number::MAX, &HashSet::from([hash(1)]), 1),
        ] {
            let mut table = Table::new(Duration::from_hours(720));
            table.apply(url(1), Force::Hard, one(5, 100), 1);
            table.forget(now, oldest, still, &HashSet::new());
            assert_eq!(table.len(), left, "{now} {oldest} {still:?}");
        }
    }

    #[test]
    fn what_is_here_only_is_not_expected_in_the_store() {
        let mut table = Table::new(Duration::from_hours(720));
        table.apply(url(1), Force::Hard, One::here(5, 100), 1);
        assert_eq!((table.over_url(hash(1)), table.known(0).len()), ([5, 0], 0));
        table.apply(url(1), Force::Hard, one(7, 100), 1);
        assert_eq!(table.known(0).len(), 1);
        assert_eq!(table.known(100).len(), 0, "it has ended");
    }

    #[test]
    fn only_what_the_store_has_takes_room_there() {
        let mut table = Table::new(Duration::from_hours(720));
        table.apply(url(1), Force::Hard, One::here(5, 100), 1);
        assert_eq!((table.count_stored(0), table.is_stored(hash(1), 0)), (0, false));
        table.apply(url(1), Force::Soft, one(4, 90), 1);
        table.apply(url(1), Force::Soft, One::here(7, 200), 1);
        table.apply(url(2), Force::Hard, one(6, 50), 1);
        for (now, count) in [(49, 2), (50, 1), (89, 1), (90, 0)] {
            assert_eq!(table.count_stored(now), count, "{now}");
        }
        assert!(table.is_stored(hash(1), 89));
    }

    #[test]
    fn one_host_gives_precision_up_before_it_takes_the_room_of_others() {
        let mut table = Table::new(Duration::from_hours(720));
        let below = |host: &str, n: usize| Wanted::below(&format!("http://{host}/{n}/")).unwrap();
        let mut purge = |wanted: Wanted| {
            let area = table.room_for(wanted);
            if let Some(area) = area {
                table.apply(Scope::Area(area), Force::Hard, one(5, 100), 1);
            }
            area
        };
        for n in 0..OF_HOST {
            assert_eq!(purge(below("a", n)), Some(below("a", n).area));
        }
        let origin = Area::below("http://a/");
        assert_eq!(purge(below("a", OF_HOST)), origin, "what is purged is its origin, and nobody else's");
        assert_eq!(purge(below("a", 0)), Some(below("a", 0).area), "it has a stamp already");
        assert_eq!(purge(Wanted::host("a:81")), Some(Area::host("a")));
        assert_eq!(purge(below("b", 0)), Some(below("b", 0).area), "others have room");
        for n in 0..MOST_AREAS {
            purge(below(&format!("h{}", n / OF_HOST), n));
        }
        assert_eq!(purge(below("c", 0)), Area::below("http://c/"), "the last eighth is for what is coarse");
        for n in 0..MOST_AREAS {
            purge(Wanted::host(&format!("host{n}")));
        }
        assert_eq!(purge(Wanted::host("d")), None);
        assert_eq!(table.areas.len(), MOST_AREAS);
        table.forget(200, Number::MAX, &HashSet::new(), &HashSet::new());
        assert_eq!(table.room_for(below("a", OF_HOST)), Some(below("a", OF_HOST).area), "they have ended");
    }
}
