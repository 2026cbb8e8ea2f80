//! Walking through what is held: counts and lists for operators. It locks a shard for one entry at a time and
//! lets other tasks run in between, so requests don't wait for it.

use std::sync::Arc;

use tokio::task::coop::consume_budget;

use super::{Held, Stored, Tier};

/// Some of the records.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub found: Vec<Arc<Stored>>,
    /// Where the next page begins, if there may be more.
    pub next: Option<usize>,
}

/// How many entries were looked at, and how many were records that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Looked at.
    pub looked_at: usize,
    /// Found.
    pub found: usize,
}

impl Tier {
    /// Counts the records that match, among the first `most` entries in no particular order.
    pub async fn count(&self, most: usize, matches: impl Fn(&Stored) -> bool) -> Counted {
        let mut counted = Counted::default();
        for (_, held) in self.memory.iter().take(most) {
            // Other tasks run after some hundred entries.
            consume_budget().await;
            counted.looked_at += 1;
            counted.found += usize::from(matches!(held, Held::Stored(stored) if matches(&stored)));
        }
        counted
    }

    /// Finds records that match, at most `limit`, among the `most` entries from `from` on, in an order that
    /// changes as entries come and go.
    pub async fn page(
        &self,
        from: usize,
        most: usize,
        limit: usize,
        matches: impl Fn(&Stored) -> bool,
    ) -> Page {
        let mut page = Page { found: Vec::new(), next: None };
        for (at, (_, held)) in self.memory.iter().enumerate().skip(from) {
            // Other tasks run after some hundred entries.
            consume_budget().await;
            if at >= from.saturating_add(most) || page.found.len() == limit {
                page.next = Some(at);
                break;
            }
            if let Held::Stored(stored) = held
                && matches(&stored)
            {
                page.found.push(stored);
            }
        }
        page
    }
}
