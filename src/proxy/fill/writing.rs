//! Bytes of a fill that goes on while nothing in the store names them: it has given its lease up, lost it or
//! had none, others have overwritten its note, and its record comes at the end. So that the sweep of another
//! instance leaves them, it says now and then that it writes, under a name of its own for each number that
//! its segments are named by: those of what it goes on with, too.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::body::Growing;
use crate::dust::Number;
use crate::proxy::fill::Job;
use crate::record::Manifest;

/// It says so that often while what it said last would last: the sweep removes nothing sooner than
/// `linger` after it was written.
const TIMES: u32 = 4;
/// What was written before is older: of that it is said so soon, and most bodies are whole by then.
const SOON: Duration = Duration::from_millis(20);

impl Job {
    /// Says that what is there of a body is still written to, and what belongs behind it. Has no end but being
    /// dropped; what it said last then lasts for long enough to publish a record.
    pub(crate) async fn keep_claimed(&self, growing: &Growing, behind: &Manifest) -> Infallible {
        let names = self.proxy.names(&self.place.key);
        let lasts = self.proxy.bodies.settings().linger;
        let every = (lasts / TIMES).max(SOON);
        let numbers = || numbers([behind, &growing.acknowledged()]);
        sleep(if numbers().is_empty() { every } else { SOON }).await;
        loop {
            for number in numbers() {
                if let Err(error) = self.proxy.catalog.claim(&names, number, lasts).await {
                    self.proxy.observer.store_error("put", &error);
                }
            }
            sleep(every).await;
        }
    }
}

/// The numbers that the segments of these manifests are named by.
fn numbers<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> BTreeSet<Number> {
    manifests.into_iter().flat_map(|manifest| &manifest.segments).map(|segment| segment.token).collect()
}
