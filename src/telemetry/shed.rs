//! Writes one line of a kind at once, and then a count: a failing origin or store must not fill the disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::log::Event;

/// How long events of one kind are counted before the next line is written.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Kinds of events that were seen lately. It is bounded: kinds are words of the program, and what they
/// are about is named in the settings.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    seen: HashMap<(&'static str, Option<Arc<str>>), Seen>,
}

#[derive(Debug)]
struct Seen {
    until: Instant,
    count: u64,
    last: Option<Event>,
}

// === impl Shedding ===

impl Shedding {
    /// Returns the event if it has to be written now; else it is kept and counted.
    pub(super) fn offer(&mut self, event: Event, now: Instant) -> Option<Event> {
        let key = (event.kind, event.about.clone());
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.count += 1;
            seen.last = Some(event);
            return None;
        }
        self.seen.insert(key, Seen { until: now + WINDOW, count: 0, last: None });
        Some(event)
    }

    /// Ends the windows that are over. Returns the last event of each, and how many there were since the
    /// one before was written. A kind that was quiet for a window is forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Event, u64)> {
        let mut out = Vec::new();
        self.seen.retain(|_, seen| {
            if now < seen.until {
                return true;
            }
            let Some(last) = seen.last.take() else { return false };
            out.push((last, std::mem::take(&mut seen.count)));
            seen.until = now + WINDOW;
            true
        });
        out
    }

    /// All events that were counted and not written, for the end of the log.
    pub(super) fn rest(&mut self) -> Vec<(Event, u64)> {
        self.seen.drain().filter_map(|(_, seen)| Some((seen.last?, seen.count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::Level;
    use super::*;

    fn event(kind: &'static str) -> Event {
        Event::new(Level::Warn, kind, "down")
    }

    #[test]
    fn first_at_once_then_a_count_every_window() {
        let start = Instant::now();
        let mut shed = Shedding::default();
        assert!(shed.offer(event("dust"), start).is_some());
        for ms in 1..=500 {
            assert!(shed.offer(event("dust"), start + Duration::from_millis(ms)).is_none());
        }
        assert!(shed.offer(event("bodies"), start).is_some(), "another kind has its own window");
        assert!(shed.due(start + WINDOW - Duration::from_millis(1)).is_empty());
        let due = shed.due(start + WINDOW);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1, 500);
        assert!(shed.offer(event("dust"), start + WINDOW).is_none(), "the next window goes on counting");
        assert_eq!(shed.rest().len(), 1);
    }

    #[test]
    fn quiet_for_a_window_is_forgotten() {
        let start = Instant::now();
        let mut shed = Shedding::default();
        assert!(shed.offer(event("dust"), start).is_some());
        assert!(shed.due(start + WINDOW).is_empty());
        assert!(shed.offer(event("dust"), start + WINDOW).is_some());
    }

    #[test]
    fn what_it_is_about_tells_kinds_apart() {
        let now = Instant::now();
        let mut shed = Shedding::default();
        let a: Arc<str> = "a".into();
        let b: Arc<str> = "b".into();
        assert!(shed.offer(event("upstream").about(&a), now).is_some());
        assert!(shed.offer(event("upstream").about(&b), now).is_some());
        assert!(shed.offer(event("upstream").about(&a), now).is_none());
    }
}
