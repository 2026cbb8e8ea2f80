//! How many stamps over tags each place and each host has.

use std::collections::HashMap;

use super::Within;

/// The places that are covered by anything, and each host's share.
#[derive(Debug, Default)]
pub(super) struct Places {
    covered: HashMap<Within, usize>,
    hosts: HashMap<Within, Share>,
}

/// How many stamps a host has, whatever its ports and schemes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Of tags.
    pub(super) tags: usize,
    /// Over buckets, in the store.
    pub(super) stored: usize,
}

// === impl Places ===

impl Places {
    /// Returns whether nothing is covered anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.covered.is_empty()
    }

    /// Returns whether anything is covered at a place.
    pub(super) fn has(&self, place: Within) -> bool {
        self.covered.contains_key(&place)
    }

    /// The share of a place's host. What is meant on all hosts is of none.
    pub(super) fn share(&self, place: Within) -> Share {
        match place.host() {
            Within::ANYWHERE => Share::default(),
            host => self.hosts.get(&host).copied().unwrap_or_default(),
        }
    }

    /// Counts one more that covers something at a place.
    pub(super) fn cover(&mut self, place: Within) {
        *self.covered.entry(place).or_default() += 1;
    }

    /// Counts one less.
    pub(super) fn uncover(&mut self, place: Within) {
        if let Some(count) = self.covered.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.covered.remove(&place);
            }
        }
    }

    /// Changes the share of a place's host.
    pub(super) fn change(&mut self, place: Within, by: impl FnOnce(&mut Share)) {
        let share = self.hosts.entry(place.host()).or_default();
        by(share);
        if *share == Share::default() {
            self.hosts.remove(&place.host());
        }
    }
}
