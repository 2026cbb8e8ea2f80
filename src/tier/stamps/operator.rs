//! Writing the stamps over areas and tags.

use std::sync::atomic::Ordering;

use super::life::SLACK;
use super::room::share;
use super::scope::{Force, Scope, TagName, Wanted, Within};
use super::table::One;
use super::{Stamps, tags};
use crate::clock::{WallMs, millis};
use crate::dust::{Dust, Error, Number};

impl Stamps {
    /// What a purge of an area stamps: the coarser one of its host if there are too many. `None`: there is no room.
    pub fn scope_of_area(&self, area: Wanted) -> Option<Scope> {
        self.table().room_for(area).map(Scope::Area)
    }

    /// What a purge of a tag stamps: without room for it, all tags of its bucket, its place or its host. `None`:
    /// there is no room.
    pub fn scope_of_tag(&self, dust: &dyn Dust, name: TagName) -> Option<Scope> {
        let most = usize::try_from(share(dust)).unwrap_or(usize::MAX);
        let table = self.table();
        let has_place = table.tags.has_place(name, most);
        let bucket = table.tags.bucket(name, has_place)?;
        Some(if has_place { Scope::Tag(name) } else { Scope::Bucket(bucket) })
    }

    /// Writes a stamp over an area, for as long as any record may live; over the coarser one of its host if there
    /// are too many. Returns its number, and what it covers.
    ///
    /// # Errors
    /// The store did not take it, or as many areas have stamps as may be.
    pub async fn write_area(
        &self,
        dust: &dyn Dust,
        area: Wanted,
        force: Force,
    ) -> Result<(Number, Scope), Error> {
        let scope = self.scope_of_area(area).ok_or_else(|| full("routes, hosts and prefixes"))?;
        let number = self.write(dust, scope, force, self.max_life + SLACK, true).await?;
        Ok((number, scope))
    }

    /// Writes the stamp of a tag, and then what stays of it when it has ended. Without room for it, all tags
    /// of its bucket, its place or its host are stamped instead. Returns the number of the stamp, and what it covers.
    ///
    /// # Errors
    /// The store did not take it, or tags are purged on as many hosts as may be.
    pub async fn write_tag(
        &self,
        dust: &dyn Dust,
        name: TagName,
        force: Force,
    ) -> Result<(Number, Scope), Error> {
        self.try_tag(dust, name, force).await?.ok_or_else(|| full("hosts"))
    }

    /// The same. `None`: tags are purged on as many hosts as may be.
    async fn try_tag(
        &self,
        dust: &dyn Dust,
        name: TagName,
        force: Force,
    ) -> Result<Option<(Number, Scope)>, Error> {
        let long = self.max_life + SLACK;
        let Some(scope) = self.scope_of_tag(dust, name) else { return Ok(None) };
        if scope != Scope::Tag(name) {
            let number = self.write(dust, scope, force, long, true).await?;
            return Ok(Some((number, scope)));
        }
        // What says later that it was purged has room: a tag has a stamp of its own only if it has.
        let Some(rest) = self.table().tags.bucket(name, true) else { return Ok(None) };
        let number = self.write(dust, scope, force, tags::LIVES, true).await?;
        self.write(dust, Scope::Rest(rest), force, long, true).await?;
        Ok(Some((number, scope)))
    }

    /// Writes a hard stamp over a tag, or over all tags of a place, for the answer to an unsafe request. It is never
    /// refused for want of room: what is written covers more the less room there is, in the end all tags.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn write_tags(&self, dust: &dyn Dust, tags: Scope) -> Result<Number, Error> {
        let whole = match tags {
            Scope::Tag(name) => match self.try_tag(dust, name, Force::Hard).await? {
                Some((number, _)) => return Ok(number),
                None => None,
            },
            Scope::Bucket(bucket) => self.table().tags.whole(bucket.within, false),
            _ => None,
        };
        let whole = whole.map_or(Scope::tags_of(Within::ANYWHERE), Scope::Bucket);
        self.write(dust, whole, Force::Hard, self.max_life + SLACK, true).await
    }

    /// Covers a tag, or all tags of a place, here until the stamp is in the store.
    pub fn cover_tags_here(&self, tags: Scope, number: Number, now: WallMs) {
        self.made_up.fetch_max(number, Ordering::AcqRel);
        // A tag that is owed is covered for longer if need be.
        let lives = if matches!(tags, Scope::Tag(_)) { tags::LIVES } else { self.max_life + SLACK };
        let until = now.saturating_add(millis(lives));
        self.merge(tags, Force::Hard, One::here(number, until));
    }

    /// How many stamps of tags are held here, and how many of buckets.
    pub fn tags(&self) -> (usize, usize) {
        self.table().tags.len()
    }
}

fn full(what: &str) -> Error {
    Error::Unavailable(format!("as many {what} have been purged lately as may be"))
}
