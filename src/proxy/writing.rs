//! Bytes of a fill that goes on while nothing in the store names them: it has given its lease up, lost it or
//! had none, others have overwritten its note, and its record comes at the end. So that the sweep of another
//! instance leaves them, it says now and then that it writes, under a name of its own for each number that
//! its segments are named by: those of what it goes on with, too.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::Proxy;
use super::fill::Job;
use crate::body::Growing;
use crate::dust::{Number, Put};
use crate::flight::Names;
use crate::record::Manifest;

/// It says so that often while what it said last would last: the sweep removes nothing sooner than
/// `linger` after it was written.
const TIMES: u32 = 4;
/// What was written before is older: of that it is said so soon, and most bodies are whole by then.
const SOON: Duration = Duration::from_millis(20);

/// What it says. That it is there is all that counts.
const SAID: &str = r#"{"v":1}"#;

impl Job {
    /// Says that what is there of a body is still written to, and what belongs behind it. Has no end but being
    /// dropped; what it said last then lasts for long enough to publish a record.
    pub(super) async fn keep_claimed(&self, growing: &Growing, behind: &Manifest) -> Infallible {
        let names = self.proxy.names(&self.place.key);
        let lasts = self.proxy.bodies.settings().linger;
        let every = (lasts / TIMES).max(SOON);
        let numbers = || numbers([behind, &growing.acknowledged()]);
        sleep(if numbers().is_empty() { every } else { SOON }).await;
        loop {
            for number in numbers() {
                self.proxy.claim(&names, number, lasts).await;
            }
            sleep(every).await;
        }
    }
}

impl Proxy {
    async fn claim(&self, names: &Names, number: Number, lasts: Duration) {
        let how = Put { fence: None, expires_in: Some(lasts), durable: false };
        let key = claim_key(names, number);
        if let Err(error) = self.flight.bounded(self.dust.put(&key, SAID, how)).await {
            self.notices.store_error("put", &error);
        }
    }

    /// Returns whether a fill of this key may go on that has segments named by this number.
    pub(super) async fn is_claimed(&self, names: &Names, number: Number) -> bool {
        let claim = self.flight.bounded(self.dust.entry(&claim_key(names, number))).await;
        !matches!(claim, Ok(None))
    }
}

fn claim_key(names: &Names, number: Number) -> String {
    format!("{}w", names.aside(number))
}

/// The numbers that the segments of these manifests are named by.
fn numbers<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> BTreeSet<Number> {
    manifests.into_iter().flat_map(|manifest| &manifest.segments).map(|segment| segment.token).collect()
}
