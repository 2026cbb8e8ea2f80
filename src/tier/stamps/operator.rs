//! Writing the stamps over areas and tags.

use std::sync::atomic::Ordering;

use super::life::SLACK;
use super::room::share;
use super::scope::{Force, Scope, TagName, Wanted};
use super::table::One;
use super::{Stamps, tags};
use crate::clock::{WallMs, millis};
use crate::dust::{Dust, Error, Number};

impl Stamps {
    /// Writes a stamp over an area, for as long as any record may live; over the coarser one of its host if there
    /// are too many.
    ///
    /// # Errors
    /// The store did not take it, or as many areas have stamps as may be.
    pub async fn write_area(&self, dust: &dyn Dust, area: Wanted, force: Force) -> Result<Number, Error> {
        let area = self.table().room_for(area).ok_or_else(|| full("routes, hosts and prefixes"))?;
        self.write(dust, Scope::Area(area), force, self.max_life + SLACK, true).await
    }

    /// Writes the stamp of a tag, and then what stays of it when it has ended. Without room for it, all tags
    /// of its bucket are stamped instead. Returns the number of the stamp that covers.
    ///
    /// # Errors
    /// The store did not take it, or tags are purged at as many places as may be.
    pub async fn write_tag(&self, dust: &dyn Dust, name: TagName, force: Force) -> Result<Number, Error> {
        self.try_tag(dust, name, force).await?.ok_or_else(|| full("hosts"))
    }

    /// The same. `None`: tags are purged at as many places as may be.
    pub(super) async fn try_tag(
        &self,
        dust: &dyn Dust,
        name: TagName,
        force: Force,
    ) -> Result<Option<Number>, Error> {
        let long = self.max_life + SLACK;
        let (has_place, bucket) = {
            let (most, table) = (share(dust), self.table());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            (table.tags.has_place(name, most), table.tags.bucket(name))
        };
        let Some(bucket) = bucket else { return Ok(None) };
        if !has_place {
            return self.write(dust, Scope::Bucket(bucket), force, long, true).await.map(Some);
        }
        let number = self.write(dust, Scope::Tag(name), force, tags::LIVES, true).await?;
        self.write(dust, Scope::Rest(bucket), force, long, true).await?;
        Ok(Some(number))
    }

    /// Writes a hard stamp over a tag, or over all tags of a place.
    ///
    /// # Errors
    /// As in [`write_tag`](Self::write_tag).
    pub async fn write_tags(&self, dust: &dyn Dust, tags: Scope) -> Result<Number, Error> {
        self.try_tags(dust, tags).await?.ok_or_else(|| full("hosts"))
    }

    pub(super) async fn try_tags(&self, dust: &dyn Dust, tags: Scope) -> Result<Option<Number>, Error> {
        match tags {
            Scope::Tag(name) => self.try_tag(dust, name, Force::Hard).await,
            other => self.write(dust, other, Force::Hard, self.max_life + SLACK, true).await.map(Some),
        }
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
