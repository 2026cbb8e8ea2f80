//! Reading everything again: after changes were missed, after the lease was lost, and so at the
//! start. Here it shows whether the store is still the one it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::member::{State, WAITING};
use super::stamps::Stamp;
use super::{Member, News};
use crate::dust::{self, Error, Grant, Holder, Number};

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
        let number = self.mark(self.followed.load(Ordering::Acquire)).await?;
        let mut heard = self.heard.subscribe();
        let wait = heard.wait_for(|heard| *heard >= number);
        if timeout(self.settings.call_bound, wait).await.is_err() {
            return Err(Error::Unavailable("changes are not told".into()));
        }
        let same = self.same_life(state).await?;
        let found = self.bounded(self.parts.stamps.read(&*self.parts.dust)).await?;
        for stamp in &found {
            self.parts.stamps.apply(stamp.scope, stamp.force, stamp.number);
            self.host.saw(stamp.number);
        }
        let missing = self.parts.stamps.missing(&found);
        if same && (number <= seen || !missing.is_empty()) {
            self.went_back(seen, &missing).await?;
        }
        self.list().await?;
        Ok(number)
    }

    /// Whether it is the same life of the store. In another one nothing holds that is remembered.
    async fn same_life(&self, state: &mut State) -> dust::Result<bool> {
        let dust = &self.parts.dust;
        let found = self.bounded(dust.life(None)).await?;
        if found.as_ref() == Some(&state.life) {
            return Ok(true);
        }
        self.parts.tier.clear();
        self.parts.numbers.clear();
        let (id, begun) = if let Some(id) = found {
            (id, false)
        } else {
            let proposed = self.parts.dice.name();
            // Its bodies have to have a place before anybody can find its id.
            self.move_to(&proposed, true).await?;
            let id = self.bounded(dust.life(Some(&proposed))).await?;
            let id = id.ok_or_else(|| Error::Broken("the store has no id and takes none".into()))?;
            let begun = *id == *proposed;
            (id, begun)
        };
        if !begun {
            self.move_to(&id, false).await?;
        }
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
        let raise = format!("_dust:sf/{}", self.lease_key());
        let highest = missing.iter().map(|stamp| stamp.number).fold(seen, Number::max);
        if let Grant::Granted(lease) =
            self.bounded(dust.lease(&raise, self.settings.trust, &holder, highest)).await?
        {
            self.bounded(dust.release(&lease)).await?;
        }
        let written = stream::iter(missing.iter().copied().map(|stamp| self.write_back(stamp)));
        written.buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
        self.host.hears(News::WentBack(missing.len()));
        Ok(())
    }

    async fn write_back(&self, stamp: Stamp) -> dust::Result<()> {
        let write = self.parts.stamps.write(&*self.parts.dust, stamp.scope, stamp.force, None, true);
        self.host.saw(self.bounded(write).await?);
        Ok(())
    }
}
