//! Which instance holds or held a lease, learned from *held* answers. For logs and lists, never for
//! a decision.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dust::{Holder, Number};

/// The latest holders, by token.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_token: HashMap<Number, Arc<str>>,
    in_order: VecDeque<Number>,
    /// The last known token of each lock.
    by_lock: HashMap<Arc<str>, Number>,
}

/// How many tokens, and locks, are remembered.
const MOST: usize = 1024;

// === impl Leaders ===

impl Leaders {
    pub(super) fn heard(&self, lock: &Arc<str>, token: Number, holder: &Holder) {
        let Some(instance) = holder.instance() else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_lock.len() >= MOST && !known.by_lock.contains_key(lock) {
            known.by_lock.clear();
        }
        known.by_lock.insert(Arc::clone(lock), token);
        if known.by_token.insert(token, instance.into()).is_some() {
            return;
        }
        known.in_order.push_back(token);
        if known.in_order.len() > MOST
            && let Some(oldest) = known.in_order.pop_front()
        {
            known.by_token.remove(&oldest);
        }
    }

    pub(super) fn of(&self, token: Number) -> Option<Arc<str>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).by_token.get(&token).cloned()
    }

    pub(super) fn at(&self, lock: &str) -> Option<(Number, Arc<str>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let token = *known.by_lock.get(lock)?;
        Some((token, known.by_token.get(&token)?.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Dice, ManualClock};
    use crate::dust::{Embedded, Grant};
    use crate::flight::{Flight, Settings};

    #[tokio::test(start_paused = true)]
    async fn who_asks_in_vain_hears_which_instance_leads() {
        let dust = Arc::new(Embedded::memory(Arc::new(ManualClock::at(0))).in_common());
        let named = |name| Flight::named(name, dust.clone(), Arc::new(Dice::seeded(1)), Settings::default());
        let (one, two) = (named("host-1a"), named("host-2b"));
        let key: Arc<str> = "lock".into();
        let Grant::Granted(lease) = one.take(&key).await.unwrap() else { panic!("it is free") };
        assert!(matches!(two.take(&key).await, Ok(Grant::Held { .. })));
        assert_eq!(two.leader(lease.token).as_deref(), Some("host-1a"));
        assert_eq!(two.leader_at(&key), Some((lease.token, "host-1a".into())));
        assert_eq!(one.leader_at(&key), None, "its own");
        assert_eq!(one.leader(lease.token), None, "its own");
    }

    #[test]
    fn the_latest_are_known_by_their_tokens() {
        let leaders = Leaders::default();
        for token in 1..=1_500 {
            let lock = format!("lock{token}").into();
            leaders.heard(&lock, token, &Holder::of("b", "1f"));
            leaders.heard(&lock, token, &Holder::of("b", "1f"));
        }
        leaders.heard(&"lock".into(), 2_000, &Holder("nameless".into()));
        assert_eq!(leaders.of(1_500).as_deref(), Some("b"));
        assert_eq!((leaders.of(1), leaders.of(2_000)), (None, None));
        assert_eq!(leaders.known.lock().unwrap().by_token.len(), MOST);
        assert_eq!(leaders.at("lock1500"), Some((1_500, "b".into())));
        assert!(leaders.known.lock().unwrap().by_lock.len() <= MOST);
    }
}
