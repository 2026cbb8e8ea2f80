//! Walking through what is held: counts and lists for operators. It locks a shard for one entry at a time and
//! lets other tasks run in between, so requests don't wait for it.
//!
//! A list is told page by page, and the cache can't begin in its middle. So each walk is a task that keeps its
//! place until the next page is asked for: a page costs what it looks at, however far the walk has come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::{Held, Stored, Tier};

/// The most walks that wait for their next page: the one that has waited longest ends.
const OPEN: usize = 8;
/// How long a walk waits for it.
const WAITS: Duration = Duration::from_mins(2);

/// Some of the records.
#[derive(Debug, Default)]
pub struct Page {
    /// The records.
    pub found: Vec<Arc<Stored>>,
    /// Whether there may be more.
    pub more: bool,
}

/// How many entries were looked at, and how many were records that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Looked at.
    pub looked_at: usize,
    /// Found.
    pub found: usize,
}

/// Which records a page has, and how much is looked at for it.
pub struct Wants {
    /// The most records.
    pub limit: usize,
    /// The most entries that are looked at.
    pub most: usize,
    /// Which records.
    pub matches: Box<dyn Fn(&Stored) -> bool + Send>,
}

/// The walks that wait for their next page, by name; the one that has waited longest is the first.
#[derive(Debug, Default)]
pub struct Walks(Mutex<VecDeque<(u64, mpsc::Sender<Asked>)>>);

/// A page that is asked for.
#[derive(Debug)]
struct Asked {
    wants: Wants,
    answer: oneshot::Sender<Page>,
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
}

// === impl Walks ===

impl Walks {
    /// Begins a walk of that name. The order is that of the memory, and changes as entries come and go.
    pub fn begin(&self, name: u64, tier: &Arc<Tier>) {
        let (sender, asked) = mpsc::channel(1);
        tokio::spawn(walk(tier.clone(), asked));
        let mut open = self.open();
        open.push_back((name, sender));
        while open.len() > OPEN {
            open.pop_front();
        }
    }

    /// The next page of a walk. `None`: there is no such walk any more.
    pub async fn page(&self, name: u64, wants: Wants) -> Option<Page> {
        let sender = {
            let mut open = self.open();
            let at = open.iter().position(|(known, _)| *known == name)?;
            let walk = open.remove(at)?;
            let sender = walk.1.clone();
            open.push_back(walk);
            sender
        };
        let (answer, page) = oneshot::channel();
        sender.send(Asked { wants, answer }).await.ok()?;
        let page = page.await.ok()?;
        if !page.more {
            self.open().retain(|(known, _)| *known != name);
        }
        Some(page)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, mpsc::Sender<Asked>)>> {
        // A walk that a panic takes off the list has ended: its next page is refused.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends after the last entry, or when it has waited for too long.
async fn walk(tier: Arc<Tier>, mut asked: mpsc::Receiver<Asked>) {
    let mut entries = tier.memory.iter();
    while let Ok(Some(Asked { wants, answer })) = timeout(WAITS, asked.recv()).await {
        let mut page = Page { found: Vec::new(), more: true };
        for _ in 0..wants.most {
            if page.found.len() >= wants.limit {
                break;
            }
            // Other tasks run after some hundred entries.
            consume_budget().await;
            let Some((_, held)) = entries.next() else {
                page.more = false;
                break;
            };
            if let Held::Stored(stored) = held
                && (wants.matches)(&stored)
            {
                page.found.push(stored);
            }
        }
        let more = page.more;
        // The client that asked may have left: then its page is lost, and it begins again.
        let _ = answer.send(page);
        if !more {
            return;
        }
    }
}

// === impl Wants ===

impl fmt::Debug for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wants").field("limit", &self.limit).field("most", &self.most).finish_non_exhaustive()
    }
}
