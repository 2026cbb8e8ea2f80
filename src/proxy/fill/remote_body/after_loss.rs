//! What is heard of a holder that goes on without its lease, and for how long it may be silent. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::dust::Number;

/// What is known here of a holder without its lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aside {
    /// Since when it has been silent.
    since: Instant,
    /// The number of the last entry in which it told something, 0 for none.
    number: Number,
    /// Whether it goes on, as far as is known.
    word: Word,
}

/// Whether a holder that has lost its lease is known to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It has told nothing yet, and it is too early to say.
    Awaited,
    /// It has told that it goes on.
    Heard,
    /// It has told nothing, and would have done so by now.
    Missed,
    /// It told once, and has been silent for so long that it is dead.
    Silent,
}

/// What follows from a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It is waited for, but may be dead.
    Doubted,
    /// It is not waited for any more: another fill may go on.
    Dead,
    /// It is not waited for any more, and no other fill can go on.
    Over,
    /// It may be silent for longer.
    Waited,
}

/// How long a holder may be silent if no other fill can go on with its body: longer than an origin may pause.
const SILENCE: Duration = Duration::from_secs(20);

/// How much longer than a lease a holder is waited for. Then its lease is tried for.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

// === impl Aside ===

impl Aside {
    /// A holder of which nothing was heard yet.
    pub(crate) fn awaited(now: Instant) -> Self {
        Self { since: now, number: 0, word: Word::Awaited }
    }

    /// Waits for it again, though it was taken for dead. What it told before is no news.
    pub(crate) fn again(self, now: Instant) -> Self {
        Self { since: now, word: Word::Awaited, ..self }
    }

    /// Returns whether it is still listened to: not once it is dead.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.word != Word::Silent
    }

    /// Returns whether an entry with this number was not heard yet.
    pub(crate) fn is_news(&self, number: Number) -> bool {
        number > self.number
    }

    /// Takes in that it told something under this number.
    pub(crate) fn hears(&mut self, number: Number, now: Instant) {
        *self = Self { since: now, number, word: Word::Heard };
    }

    /// Until when it may be silent. A holder that lives learns at its next renewal that its lease is lost,
    /// and tells at once that it goes on. From then on it tells as often as it would have renewed: where
    /// another fill can go on, it is waited for as long as a lease lasts.
    pub(crate) fn until(&self, lease_ttl: Duration, replaceable: bool) -> Option<Instant> {
        Some(match self.word {
            Word::Awaited => self.since + lease_ttl / 2 + GRACE,
            Word::Heard if replaceable => self.since + lease_ttl.min(SILENCE) + GRACE,
            Word::Heard | Word::Missed => self.since + SILENCE,
            Word::Silent => return None,
        })
    }

    /// Returns what follows from its silence until now.
    pub(crate) fn misses(&mut self, lease_ttl: Duration, replaceable: bool, now: Instant) -> Silence {
        if self.until(lease_ttl, replaceable).is_none_or(|until| now < until) {
            return Silence::Waited;
        }
        match self.word {
            Word::Awaited => {
                self.word = Word::Missed;
                Silence::Doubted
            }
            Word::Heard if replaceable => {
                self.word = Word::Silent;
                Silence::Dead
            }
            Word::Heard | Word::Missed | Word::Silent => Silence::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_spoke_is_dead_after_a_lease_if_another_can_go_on() {
        let now = Instant::now();
        let mut aside = Aside::awaited(now);
        assert!(aside.is_news(3));
        aside.hears(3, now);
        assert_eq!(aside.misses(TTL, true, now + TTL), Silence::Waited);
        assert_eq!(aside.misses(TTL, true, now + TTL + GRACE), Silence::Dead);
        assert!(!aside.is_listened_to() && !aside.is_news(3) && aside.is_news(4));
        assert_eq!(aside.until(TTL, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_whom_nobody_can_replace_is_waited_for_longer() {
        let now = Instant::now();
        let mut aside = Aside::awaited(now);
        aside.hears(3, now);
        assert_eq!(aside.misses(TTL, false, now + TTL + GRACE), Silence::Waited);
        assert_eq!(aside.misses(TTL, false, now + SILENCE), Silence::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_said_nothing_is_doubted_before_it_is_given_up() {
        let now = Instant::now();
        let mut aside = Aside::awaited(now);
        assert_eq!(aside.misses(TTL, true, now + TTL / 2 + GRACE), Silence::Doubted);
        assert_eq!(aside.misses(TTL, true, now + SILENCE), Silence::Over);
    }
}
