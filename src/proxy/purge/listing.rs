//! A page of the records in this instance's memory.

use serde_json::{Value, json};

use crate::key::KeyHash;
use crate::policy;
use crate::proxy::state::Proxy;
use crate::record::Tag;
use crate::tier::stamps::Named;
use crate::tier::{Covered, Stored, Wants};

/// The most records of a page.
pub const MOST: usize = 1_000;
/// The most entries that are looked at for a page.
const LOOKED_AT: usize = 50_000;

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Those that have this tag.
    pub tag: Option<String>,
    /// Those whose URL begins so.
    pub prefix: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Where the page begins: what the page before said; 0 for the first.
    pub cursor: u64,
}

/// Lists records that `shown` lets through: a page, and where the next one begins, if there may be more. The
/// order is the memory's own, so a record that comes or goes between two pages may be missed or told twice. `None`:
/// no list of this instance goes on there.
pub(crate) async fn list(
    proxy: &Proxy,
    wanted: &Wanted,
    shown: impl Fn(Named<'_>) -> bool + Send + 'static,
) -> Option<Value> {
    let tag = wanted.tag.as_deref().map(|tag| Tag::new(tag).map(|tag| tag.hash()));
    let prefix = wanted.prefix.clone();
    let matches = move |stored: &Stored| {
        let record = &stored.record;
        let tagged = tag.is_none_or(|tag| record.tags.iter().any(|one| Some(one.hash()) == tag));
        let below = prefix.as_ref().is_none_or(|prefix| record.key.starts_with(prefix.as_str()));
        tagged && below && shown(stored.named())
    };
    let walk = if wanted.cursor == 0 {
        // As a number of JSON, and not one that another client guesses.
        let name = (KeyHash::of(&proxy.dice.name()).short() >> 11).max(1);
        proxy.walks.begin(name, &proxy.tier);
        name
    } else {
        wanted.cursor
    };
    let wants = Wants { limit: wanted.limit.clamp(1, MOST), most: LOOKED_AT, matches: Box::new(matches) };
    let page = proxy.walks.page(walk, wants).await?;
    let records: Vec<Value> = page.found.iter().map(|stored| told(proxy, stored)).collect();
    Some(json!({ "records": records, "cursor": page.more.then_some(walk) }))
}

fn told(proxy: &Proxy, stored: &Stored) -> Value {
    let (record, now) = (&stored.record, proxy.now_ms());
    let lines: Vec<&str> = record.key.lines().collect();
    let tags: Vec<&str> = record.tags.iter().map(Tag::text).collect();
    let left = i128::from(record.fresh_until()) - i128::from(now);
    json!({
        "url": lines.first().copied().unwrap_or_default(),
        "keyed": lines.get(1..).unwrap_or_default(),
        "status": record.status.as_u16(),
        "size": record.body.len,
        "age_s": policy::current_age(record, now) / 1000,
        "ttl_s": i64::try_from(left / 1000).unwrap_or_default(),
        "purged": stored.covered(&proxy.stamps) != Covered::No,
        "body_in_memory": stored.has_body(),
        "tags": tags,
    })
}
