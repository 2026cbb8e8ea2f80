//! However often a URL is purged, it is fetched no more than once a purge and twice an unsafe
//! request: on the whole, and at any time, so nobody leaves in a herd.

use super::{Ledger, Purge};
use crate::scene::Scene;
use crate::world::World;

/// Exchanges that begin within this are a herd, in ms.
const AT_ONCE_MS: u64 = 200;
/// For how long a purge may be the reason of an exchange that begins, in ms: one that was under way
/// ends, and the next one ends.
const REASON_MS: u64 = 4_500;

/// Judges how long a request for the staged URL waited: what was under way when it came ends, and
/// then an exchange of its own, or somebody's that was sent after it came; and one more where
/// the other was another instance's that it could not ride. Where a purge is by tag, only the head of what was under
/// way says whether it is over that: so a request may wait for that head too.
pub fn is_soon(world: &World, request: u64, key: usize, arrived_ms: u64) {
    let plan = &world.plan;
    let Some(takes) = plan.keys[key].takes.filter(|_| plan.sound && plan.scene == Some(Scene::Storm)) else {
        return;
    };
    let most = u64::try_from(takes.as_millis()).unwrap_or(0) * 3 + 1_000;
    let waited = world.now() - arrived_ms;
    if waited > most {
        world.broken(format_args!("request {request} waits for {waited} ms, and {most} is the most"));
    }
}

impl Ledger {
    pub fn fetched_by_purges(&self, world: &World) {
        let (plan, inner) = (&world.plan, self.inner());
        let staged = plan.staged();
        let of_it = inner.purges.iter().filter(|purge| purge.key.is_none_or(|key| key == staged));
        let worth = |purge: &Purge| if purge.unsafe_request { 2 } else { 1 };
        let purges: Vec<(u64, u64)> = of_it.map(|purge| (purge.answered_ms, worth(purge))).collect();
        let fetches: Vec<u64> = inner
            .asked
            .values()
            .filter(|asked| asked.key == staged && asked.get)
            .map(|asked| asked.sent_ms)
            .collect();
        drop(inner);
        let anyway = 2 + plan.instances as u64;
        let most = anyway + purges.iter().map(|(_, worth)| worth).sum::<u64>();
        if fetches.len() as u64 > most {
            world.broken(format_args!(
                "k{staged}: fetched {} times, and its purges allow {most}",
                fetches.len()
            ));
        }
        for (at, from) in fetches.iter().enumerate() {
            let herd = fetches[at..].iter().take_while(|sent| **sent <= from + AT_ONCE_MS).count() as u64;
            let reason = from.saturating_sub(REASON_MS)..=from + AT_ONCE_MS;
            let reasons = purges.iter().filter(|(answered, _)| reason.contains(answered));
            let most = anyway + reasons.map(|(_, worth)| worth).sum::<u64>();
            if herd > most {
                world.broken(format_args!(
                    "k{staged}: fetched {herd} times at once from {from} on, and its purges allow {most}"
                ));
                return;
            }
        }
    }
}
