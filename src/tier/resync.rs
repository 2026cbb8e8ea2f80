//! Reading everything again: after changes were missed, after the lease was lost, and so at the
//! start. Here it shows whether the store is still the one it was.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::member::{Parts, State, WAITING};
use super::stamps::Stamp;
use super::stamps::life::SILENT;
use super::stamps::owed::Purse;
use super::{Member, News};
use crate::dust::{self, Error, Holder, Number};

/// How many stamps are written back at a time.
const AT_A_TIME: usize = 16;

impl Member {
    /// Reads stamps, number and id. Answers the number up to which every stamp is applied now.
    ///
    /// The order counts. First a word of its own is written, and heard again: so the line stands,
    /// and whatever is written after that word will be told. Then the stamps are read: whatever
    /// was written before it is among them.
    pub(super) async fn read_again(&self, state: &mut State) -> dust::Result<Number> {
        let seen = self.host.seen();
        // It vouches for nothing: newer stamps are heard while those of the gap are not applied yet.
        let number = self.mark(0).await?;
        let mut heard = self.heard.subscribe();
        let wait = heard.wait_for(|heard| *heard >= number);
        if timeout(self.settings.call_bound, wait).await.is_err() {
            return Err(Error::Unavailable("changes are not told".into()));
        }
        let same = self.same_life(state).await?;
        self.pay().await?;
        let stamps = &self.parts.stamps;
        // First, so that one that lands meanwhile is not missed.
        let known = stamps.known(self.parts.dust.now_ms());
        // A list of as many as there may be is many calls.
        let late = |_| Err(Error::Unavailable("the stamps take too long to read".into()));
        let read = timeout(self.settings.trust.max(self.settings.call_bound), stamps.read(&*self.parts.dust));
        let found = read.await.unwrap_or_else(late)?;
        for stamp in &found {
            stamps.take(*stamp);
            self.host.saw(stamp.number);
        }
        let missing = stamps.missing(known, &found);
        // A number that was made up here says nothing of the store's.
        let went_back = number <= seen && seen > stamps.made_up();
        if same && (went_back || !missing.is_empty()) {
            self.went_back(seen, &missing).await?;
        }
        self.list().await?;
        self.forget_what_is_doubtful(state);
        Ok(number)
    }

    /// Writes the stamps that are owed to the store: others will take it at its word.
    async fn pay(&self) -> dust::Result<()> {
        let (bound, seen) = (self.settings.call_bound, self.host.seen());
        let purse = Purse { holder: Holder(self.parts.dice.name().into()), seen, bound };
        let paid = self.parts.stamps.pay(&*self.parts.dust, &purse).await?;
        self.host.saw(paid.number);
        if paid.count > 0 {
            self.host.hears(News::Paid(paid.count));
        }
        Ok(())
    }

    /// What was kept here while nothing was heard, and what stamps may have covered that have come
    /// and gone since.
    fn forget_what_is_doubtful(&self, state: &State) {
        let Parts { dust, stamps, tier, .. } = &self.parts;
        let number = self.host.seen() + 1;
        if stamps.cover_unnoted(number) {
            self.host.saw(number);
        }
        tier.drop_unbacked();
        let silent = state.sure_at.is_some_and(|(at, wall)| {
            let by_wall = Duration::from_millis(dust.now_ms().saturating_sub(wall));
            at.elapsed().max(by_wall) > SILENT
        });
        if silent {
            stamps.missed(number);
            tier.clear();
        }
    }

    /// Whether it is the same life of the store. In another one nothing holds that is remembered.
    async fn same_life(&self, state: &mut State) -> dust::Result<bool> {
        let dust = &self.parts.dust;
        let found = self.bounded(dust.life(None)).await?;
        if found.as_ref() == Some(&state.life) {
            if state.proposes {
                // It was empty for a moment, and has taken no other life.
                self.move_to(&state.life, false).await?;
                state.proposes = false;
            }
            return Ok(true);
        }
        self.parts.tier.clear();
        self.parts.numbers.clear();
        let id = if let Some(id) = found {
            id
        } else {
            let proposed = self.parts.dice.name();
            // Its bodies have to have a place before anybody can find its id.
            state.proposes = true;
            self.move_to(&proposed, true).await?;
            let id = self.bounded(dust.life(Some(&proposed))).await?;
            id.ok_or_else(|| Error::Broken("the store has no id and takes none".into()))?
        };
        self.move_to(&id, false).await?;
        state.proposes = false;
        // What was kept meanwhile was of the earlier life, if its fill had begun in that.
        self.parts.tier.clear();
        let earlier = std::mem::replace(&mut state.life, Arc::clone(&id));
        let id = id.to_string();
        self.host.hears(if earlier.starts_with(WAITING) { News::Joined(id) } else { News::Reborn(id) });
        Ok(false)
    }

    async fn move_to(&self, id: &str, begun: bool) -> dust::Result<()> {
        let moved = self.host.moves(id, begun).await;
        moved.map_err(|why| Error::Unavailable(format!("bodies can't follow the store: {why}")))
    }

    /// The store has forgotten what was seen in it: an older copy took its place. Its numbers are
    /// raised above what was seen, and the stamps that it lacks are written again: under numbers
    /// that are higher still, so they cover what they covered.
    async fn went_back(&self, seen: Number, missing: &[Stamp]) -> dust::Result<()> {
        // What was seen of its keys is of numbers that it gives out again.
        self.parts.numbers.clear();
        let dust = &self.parts.dust;
        let holder = Holder(self.parts.dice.name().into());
        let seen = missing.iter().map(|stamp| stamp.number).fold(seen, Number::max);
        let purse = Purse { holder, seen, bound: self.settings.call_bound };
        self.parts.stamps.raise(&**dust, &purse).await?;
        let written = stream::iter(missing.iter().copied().map(|stamp| self.write_back(stamp)));
        written.buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        self.host.hears(News::WentBack(missing.len()));
        Ok(())
    }

    async fn write_back(&self, stamp: Stamp) -> dust::Result<()> {
        let dust = &*self.parts.dust;
        let lives = Duration::from_millis(stamp.until.saturating_sub(dust.now_ms()));
        let write = self.parts.stamps.write(dust, stamp.scope, stamp.force, lives, true);
        self.host.saw(self.bounded(write).await?);
        Ok(())
    }
}
