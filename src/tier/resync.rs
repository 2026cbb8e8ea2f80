//! Reading everything again: at the start, after changes were missed, and after the lease was lost. Here the
//! instance also learns whether the store is in another life or went back to an older state.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::{Instant, timeout};

use super::member::{Parts, TrustState, WAITING};
use super::stamps::life::SILENT;
use super::stamps::owed::Purse;
use super::stamps::{self, Scope, Stamp};
use super::{Member, News};
use crate::dust::{self, Error, Holder, Number};

/// How many stamps are written back at a time.
const AT_A_TIME: usize = 16;

impl Member {
    /// Reads the stamps, the number and the id of the store. Returns the number up to which every stamp is
    /// applied now.
    ///
    /// The order counts. First this instance writes its mark, and receives it again: so the feed works, and
    /// tells of whatever is written later. Then it reads the stamps: among them is whatever was written
    /// before the mark.
    pub(super) async fn read_again(&self, state: &mut TrustState) -> dust::Result<Number> {
        let seen = self.host.seen();
        // The mark is 0, which confirms no stamp: newer stamps are received while those of the gap are not
        // applied yet.
        let number = self.mark(0).await?;
        state.has_marked = true;
        let mut heard = self.heard.subscribe();
        let wait = heard.wait_for(|heard| *heard >= number);
        if timeout(self.settings.call_bound, wait).await.is_err() {
            return Err(Error::Unavailable("changes are not told".into()));
        }
        let same = self.same_life(state).await?;
        self.pay().await?;
        let stamps = &self.parts.stamps;
        // First, so that a stamp that lands meanwhile does not count as missing.
        let known = stamps.known(self.parts.dust.now_ms());
        // A full list of stamps takes many calls.
        let late = |_| Err(Error::Unavailable("the stamps take too long to read".into()));
        let read = timeout(self.settings.trust.max(self.settings.call_bound), stamps.read(&*self.parts.dust));
        let found = read.await.unwrap_or_else(late)?;
        state.stamps_at = Instant::now();
        stamps.take_all(&found, self.was_silent(state), self.parts.dust.now_ms());
        self.host.saw(highest(&found));
        let missing = stamps.missing(known, &found);
        // A number that this instance made up says nothing about the store's.
        let went_back = number <= seen && seen > stamps.made_up();
        if same && (went_back || !missing.is_empty()) {
            self.went_back(seen, &missing).await?;
        }
        self.list().await?;
        self.forget_what_is_doubtful(state);
        Ok(number)
    }

    /// Reads the stamps once in the time of the trust where the store may have taken one that it told nobody
    /// of. If that fails, it is tried again at the next beat.
    pub(super) async fn look_again(&self, state: &mut TrustState) {
        let Parts { dust, stamps, .. } = &self.parts;
        if dust.traits().tells_all || state.stamps_at.elapsed() < self.settings.trust {
            return;
        }
        let read = timeout(self.settings.trust / 4, stamps.read(&**dust)).await;
        let Ok(Ok(found)) = read else { return };
        state.stamps_at = Instant::now();
        stamps.take_all(&found, false, dust.now_ms());
        self.host.saw(highest(&found));
    }

    /// Returns whether nothing was received for so long that stamps may have come and gone.
    fn was_silent(&self, state: &TrustState) -> bool {
        state.sure_at.is_some_and(|(at, wall)| {
            let by_wall = Duration::from_millis(self.parts.dust.now_ms().saturating_sub(wall));
            at.elapsed().max(by_wall) > SILENT
        })
    }

    /// Writes the stamps that the store has not taken yet, before its content is trusted.
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

    /// Forgets what was kept here while nothing was received. If that was for long, also forgets what stamps
    /// may have covered that were written and expired meanwhile.
    fn forget_what_is_doubtful(&self, state: &TrustState) {
        let Parts { stamps, tier, .. } = &self.parts;
        let number = self.host.seen() + 1;
        if stamps.cover_unnoted(number) {
            self.host.saw(number);
        }
        tier.drop_unbacked();
        if self.was_silent(state) {
            stamps.missed(number);
            tier.clear();
        }
    }

    /// Returns whether the store is in the same life. In another one nothing that is held here is valid.
    async fn same_life(&self, state: &mut TrustState) -> dust::Result<bool> {
        let dust = &self.parts.dust;
        let found = self.bounded(dust.life(None)).await?;
        if found.as_ref() == Some(&state.life) {
            if state.proposes {
                // The store was empty for a moment, and has taken no other life.
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
            // Its bodies must have a place before other instances can find its id.
            state.proposes = true;
            self.move_to(&proposed, true).await?;
            let id = self.bounded(dust.life(Some(&proposed))).await?;
            id.ok_or_else(|| Error::Broken("the store has no id and takes none".into()))?
        };
        self.move_to(&id, false).await?;
        state.proposes = false;
        // Records kept meanwhile may be of the earlier life, if their fills began in it.
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

    /// Handles a store that has lost what was seen in it, because an older copy took its place. Its numbers
    /// are raised above those that were seen, and the stamps that it lacks are written again. Their new
    /// numbers are higher, so they cover what they covered before.
    async fn went_back(&self, seen: Number, missing: &[Stamp]) -> dust::Result<()> {
        // The store will give out again the numbers that were seen of its keys.
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
        let lives = match stamp.scope {
            Scope::Tag(_) => stamps::tags::LIVES,
            _ => Duration::from_millis(stamp.until.saturating_sub(dust.now_ms())),
        };
        let write = self.parts.stamps.write(dust, stamp.scope, stamp.force, lives, true);
        self.host.saw(self.bounded(write).await?);
        Ok(())
    }
}

/// The highest number among stamps; 0 if there are none.
fn highest(stamps: &[Stamp]) -> Number {
    stamps.iter().map(|stamp| stamp.number).max().unwrap_or(0)
}
