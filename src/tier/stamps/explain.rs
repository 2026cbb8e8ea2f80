//! Which purge covers a response, in words.

use super::table::Table;
use super::{Area, Force, Named, Scope, Stamps, TagName};
use crate::dust::Number;

impl Stamps {
    /// What was purged when a response with these names, born under `born`, became void: the narrowest thing.
    /// `None` if none of the stamps covers it.
    pub fn what_covers(&self, of: Named<'_>, born: Number) -> Option<String> {
        self.table().what_covers(of, born)
    }
}

impl Table {
    fn what_covers(&self, of: Named<'_>, born: Number) -> Option<String> {
        let covers = |scope| self.get(scope, Force::Hard).number > born;
        if covers(Scope::Url(of.url)) {
            return Some("its URL".to_owned());
        }
        for tag in of.tags {
            for within in of.places() {
                let name = TagName { within, tag: tag.hash() };
                let [number, _] = self.tags.over_tag(name);
                if number > born {
                    let own = self.tags.get(Scope::Tag(name), Force::Hard).number > born;
                    let what = if own { "its tag" } else { "a tag that is remembered together with its tag" };
                    return Some(format!("{what} {:?}", tag.text()));
                }
            }
        }
        let area = of.areas(u64::MAX).filter(|area| covers(Scope::Area(*area))).last();
        let words = area.map(|area| match area {
            Area::Prefix(..) => "a prefix of its URL",
            Area::Host(..) => "its host",
            Area::Route(_) => "its route",
        });
        words.or(covers(Scope::All).then_some("everything")).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::KeyHash;
    use crate::policy::RouteId;
    use crate::record::Tag;
    use crate::tier::stamps::Within;

    #[test]
    fn what_was_purged_is_said() {
        let (tags, url) = ([Tag::new("menu").unwrap()], KeyHash::of("http://h/a/b"));
        let of = Named { url, key: "http://h/a/b", route: RouteId::of("r"), tags: &tags };
        let tag = |within| TagName { within, tag: tags[0].hash() };
        for (scope, want) in [
            (Scope::All, Some("everything")),
            (Scope::Url(url), Some("its URL")),
            (Scope::Area(Area::host("h")), Some("its host")),
            (Scope::Area(Area::Route(RouteId::of("r"))), Some("its route")),
            (Scope::Area(Area::below("http://h/a/").unwrap()), Some("a prefix of its URL")),
            (Scope::Tag(tag(Within::ANYWHERE)), Some("its tag \"menu\"")),
            (
                Scope::Bucket(tag(Within::of("h")).bucket()),
                Some("a tag that is remembered together with its tag \"menu\""),
            ),
            (Scope::Area(Area::host("other")), None),
        ] {
            let stamps = Stamps::new("p", Duration::from_hours(1));
            stamps.apply(scope, Force::Hard, 4);
            assert_eq!(stamps.what_covers(of, 3).as_deref(), want, "{scope:?}");
            assert_eq!(stamps.what_covers(of, 4), None, "{scope:?}");
        }
    }
}
