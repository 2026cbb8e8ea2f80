//! Writing the stamps over areas and tags.

use std::sync::atomic::Ordering;

use super::life::SLACK;
use super::room::share;
use super::scope::{Area, Force, Scope, TagName};
use super::table::One;
use super::{Stamps, tags};
use crate::clock::{WallMs, millis};
use crate::dust::{Dust, Error, Number};

/// The most areas that have stamps at a time.
pub const AREAS: usize = 1 << 16;

impl Stamps {
    /// Writes a stamp over an area, for as long as any record may live.
    ///
    /// # Errors
    /// The store did not take it, or as many areas have stamps as may be.
    pub async fn write_area(&self, dust: &dyn Dust, area: Area, force: Force) -> Result<Number, Error> {
        let scope = Scope::Area(area);
        if self.table().count_areas() >= AREAS && self.table().get(scope, force).number == 0 {
            return Err(full("routes, hosts and prefixes"));
        }
        self.write(dust, scope, force, self.max_life + SLACK, true).await
    }

    /// Writes the stamp of a tag, and then what stays of it when it has ended. Without room for it, all tags
    /// of its bucket are stamped instead. Returns the number of the stamp that covers.
    ///
    /// # Errors
    /// The store did not take it, or tags are purged at as many places as may be.
    pub async fn write_tag(&self, dust: &dyn Dust, name: TagName, force: Force) -> Result<Number, Error> {
        let long = self.max_life + SLACK;
        let (has_place, bucket) = {
            let (most, table) = (share(dust), self.table());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            (table.tags.has_place(name, most), table.tags.bucket(name))
        };
        let bucket = bucket.ok_or_else(|| full("hosts"))?;
        if !has_place {
            return self.write(dust, Scope::Bucket(bucket), force, long, true).await;
        }
        let number = self.write(dust, Scope::Tag(name), force, tags::LIVES, true).await?;
        self.write(dust, Scope::Rest(bucket), force, long, true).await?;
        Ok(number)
    }

    /// Covers a tag here until its stamp is in the store.
    pub fn cover_tag_here(&self, name: TagName, number: Number, now: WallMs) {
        self.made_up.fetch_max(number, Ordering::AcqRel);
        let until = now.saturating_add(millis(tags::LIVES));
        self.merge(Scope::Tag(name), Force::Hard, One::here(number, until));
    }

    /// How many stamps of tags are held here, and how many of buckets.
    pub fn tags(&self) -> (usize, usize) {
        self.table().tags.len()
    }
}

fn full(what: &str) -> Error {
    Error::Unavailable(format!("as many {what} have been purged lately as may be"))
}
