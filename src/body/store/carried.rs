//! Segments that are carried, and not objects of this store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::super::Error;
use super::super::away::Away;
use super::super::carrier::Carrier;
use super::super::destination::Destination;
use super::super::name::{Name, digest};
use super::Store;
use crate::record::Segment;

/// About the space that a carried segment takes beside its bytes.
const OVERHEAD: u64 = 100;

// === impl Store ===

impl Store {
    /// Sets the carrier, unless there is one.
    pub(in crate::body) fn set_carrier(&self, carrier: Arc<dyn Carrier>) {
        // The first stays.
        let _ = self.carrier.set(carrier);
    }

    /// The longest body that may lie beside its record, in bytes; 0 if none may.
    pub(in crate::body) fn small(&self) -> u64 {
        self.small.min(self.carries_most())
    }

    /// Where a body of this length goes, unless it is small.
    pub(in crate::body) fn destination(&self, len: Option<u64>) -> Destination {
        self.place.of(len, self.carries_most())
    }

    /// Whether what keeps this segment can be read.
    pub(in crate::body) fn away(&self, segment: &Segment) -> &Away {
        let [objects, carried] = &self.away;
        if segment.carried { carried } else { objects }
    }

    /// Whether the last reads of what goes there have failed.
    pub(in crate::body) fn reads_fail(&self, destination: Destination) -> bool {
        let [objects, carried] = &self.away;
        match destination {
            Destination::Objects => objects.is_away(),
            Destination::Carrier { .. } => carried.is_away(),
        }
    }

    /// The space that a segment takes.
    pub(in crate::body) fn space(&self, segment: &Segment) -> u64 {
        if segment.carried { carried_space(segment.len) } else { self.takes(segment.len) }
    }

    /// About the bytes that are carried.
    pub(in crate::body) fn carries(&self) -> u64 {
        self.carrier.get().map_or(0, |carrier| carrier.used())
    }

    /// Reads a carried segment and checks its length and digest.
    pub(in crate::body) async fn carried(&self, name: &Name, segment: &Segment) -> Result<Bytes, Error> {
        let got = async { self.carrier()?.get(name.key_hash(), segment).await };
        match self.in_time(got).await {
            Ok(Some(bytes)) => self.verified(name, segment, bytes),
            Ok(None) => Err(self.missing(name, segment)),
            Err(cause) => Err(self.failed_carried_get(cause)),
        }
    }

    /// Passes `bytes` on if they are what the manifest says of this segment.
    pub(in crate::body) fn verified(
        &self,
        name: &Name,
        segment: &Segment,
        bytes: Bytes,
    ) -> Result<Bytes, Error> {
        let sound = bytes.len() as u64 == segment.len && digest([&bytes[..]]) == segment.digest;
        if sound { Ok(bytes) } else { Err(self.corrupt(name, segment)) }
    }

    /// Has a segment carried for the time `lives`.
    pub(in crate::body) async fn put_carried(
        &self,
        name: &Name,
        segment: &Segment,
        bytes: &Bytes,
        lives: Duration,
    ) -> Result<(), Error> {
        self.has_room_for(carried_space(segment.len))?;
        let put = async { self.carrier()?.put(name.key_hash(), segment, bytes, lives).await };
        let put = self.in_time(put).await.map_err(|cause| self.failed_put(cause));
        self.taken[1].note(put.is_ok());
        put
    }

    /// Removes carried segments.
    pub(in crate::body) async fn drop_carried(&self, name: &Name, segments: &[Segment]) -> Result<(), Error> {
        if segments.is_empty() {
            return Ok(());
        }
        let remove = async { self.carrier()?.remove(name.key_hash(), segments).await };
        self.in_time(remove).await.inspect_err(|_| {
            self.counters.delete_errors.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Fails if a body of `len` bytes beside its record is too much.
    pub(in crate::body) fn has_room_beside(&self, len: u64) -> Result<(), Error> {
        self.has_room_for(carried_space(len))
    }

    fn failed_carried_get(&self, cause: Error) -> Error {
        self.counters.get_errors.fetch_add(1, Ordering::Relaxed);
        cause
    }

    fn carries_most(&self) -> u64 {
        self.carrier.get().map_or(0, |carrier| carrier.most())
    }

    fn carrier(&self) -> Result<&dyn Carrier, Error> {
        let none = || Error::Store("nothing carries segments here".into());
        self.carrier.get().map(|carrier| &**carrier).ok_or_else(none)
    }

    /// Bounds a call of the carrier. It has a bound of its own, which is usually shorter.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let bound = self.call_timeout;
        let called = timeout(bound, call).await;
        called.unwrap_or_else(|_| Err(Error::Store(format!("no answer within {bound:?}").into())))
    }
}

fn carried_space(len: u64) -> u64 {
    len.saturating_add(OVERHEAD)
}
