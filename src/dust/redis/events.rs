//! The events that the scripts publish, and whether one was missed.

use std::str;
use std::time::Duration;

use super::super::{Change, Number, What};

/// One event: `what before at number ttl name`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The number of the change before this one.
    pub before: Number,
    /// Its own number in the sequence.
    pub at: Number,
    /// The change.
    pub change: Change,
}

/// Finds missed events. Each event names the one before it, so a gap shows with the next event. A gap
/// at the end shows by the store's last number.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The last event received; `None` since the subscription began or a gap was found.
    heard: Option<Number>,
    /// The store's last number when it was first read after that.
    floor: Option<Number>,
    /// The store's last number at the latest check, if its event had not been received by then.
    awaited: Option<Number>,
}

/// Whether all events were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// No event was missed.
    All,
    /// An event was missed.
    Gap,
}

// === impl Event ===

impl Event {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = str::from_utf8(bytes).ok()?.splitn(6, ' ');
        let what = parts.next()?;
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (before, at, own, ttl) = (number()?, number()?, number()?, number()?);
        let ttl = Duration::from_millis(ttl);
        let what = match what {
            "s" => What::Set { lives: (!ttl.is_zero()).then_some(ttl) },
            "d" => What::Delete,
            "l" => What::Lease(ttl),
            "r" => What::Renew(ttl),
            "f" => What::Release,
            _ => return None,
        };
        Some(Self { before, at, change: Change { key: parts.next()?.into(), what, number: own } })
    }
}

// === impl Chain ===

impl Chain {
    /// Records an event.
    pub(super) fn hear(&mut self, event: &Event) -> Heard {
        let follows = self.heard.is_none_or(|heard| heard == event.before);
        self.heard = Some(event.at);
        if follows { Heard::All } else { Heard::Gap }
    }

    /// Records the store's last number. An event that is on its way may come until the next check.
    pub(super) fn look(&mut self, last: Number) -> Heard {
        let Some(heard) = self.heard.or(self.floor) else {
            self.floor = Some(last);
            return Heard::All;
        };
        if self.awaited.is_some_and(|awaited| heard < awaited) {
            *self = Self { floor: Some(last), ..Self::default() };
            return Heard::Gap;
        }
        self.awaited = (heard < last).then_some(last);
        Heard::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(before: Number, at: Number) -> Event {
        Event::parse(format!("s {before} {at} {at} 0 k").as_bytes()).expect("it is one")
    }

    #[test]
    fn events_are_read() {
        let event = Event::parse(b"r 7 9 3 1500 a key").expect("it is one");
        let change =
            Change { key: "a key".into(), what: What::Renew(Duration::from_millis(1500)), number: 3 };
        assert_eq!(event, Event { before: 7, at: 9, change });
        for bytes in [&b""[..], b"s 1 2 3 4", b"x 1 2 3 4 k", b"s 1 2 -3 4 k", b"s 1 2 3 4 \xff"] {
            assert_eq!(Event::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_write_says_for_how_long_it_stays() {
        for (bytes, lives) in
            [(&b"s 7 9 9 1500 k"[..], Some(Duration::from_millis(1500))), (b"s 7 9 9 0 k", None)]
        {
            let event = Event::parse(bytes).expect("it is one");
            assert_eq!(event.change.what, What::Set { lives });
        }
    }

    #[test]
    fn a_gap_shows_with_the_next_event() {
        let mut chain = Chain::default();
        assert_eq!(chain.hear(&event(3, 5)), Heard::All);
        assert_eq!(chain.hear(&event(5, 6)), Heard::All);
        assert_eq!(chain.hear(&event(7, 9)), Heard::Gap);
        assert_eq!(chain.hear(&event(9, 10)), Heard::All);
        // A server that was emptied begins again below.
        assert_eq!(chain.hear(&event(0, 11)), Heard::Gap);
    }

    #[test]
    fn a_gap_at_the_end_shows_at_the_second_look() {
        let mut chain = Chain::default();
        assert_eq!(chain.look(5), Heard::All);
        assert_eq!(chain.look(5), Heard::All);
        assert_eq!(chain.look(8), Heard::All);
        assert_eq!(chain.look(9), Heard::Gap);
        assert_eq!(chain.look(9), Heard::All);
        chain.hear(&event(9, 12));
        assert_eq!(chain.look(12), Heard::All);
        assert_eq!(chain.look(14), Heard::All);
        chain.hear(&event(12, 14));
        assert_eq!(chain.look(15), Heard::All);
    }

    #[test]
    fn what_was_on_its_way_at_the_first_look_is_no_gap() {
        let mut chain = Chain::default();
        assert_eq!(chain.look(5), Heard::All);
        assert_eq!(chain.hear(&event(3, 5)), Heard::All);
        assert_eq!(chain.look(5), Heard::All);
    }
}
