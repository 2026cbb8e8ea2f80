//! Claims on the segments of a fill that goes on while no entry in the store names them: it has given its
//! lease up, lost it or had none, others have overwritten its note, and its record comes at the end. So that
//! the sweep of another instance leaves them, the fill writes a claim now and then. Each number that its
//! segments are named by has its own, those that it goes on with included.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::body::Growing;
use crate::dust::Number;
use crate::proxy::fill::Job;
use crate::record::Manifest;

/// How many claims are written in the time that one lasts: the sweep removes nothing sooner than `linger`
/// after it was written.
const TIMES: u32 = 4;
/// Segments that were written before are older: they are claimed so soon, and most bodies are whole by then.
const SOON: Duration = Duration::from_millis(20);

impl Job {
    /// Claims the segments that a body has so far, and those that belong behind it. Runs until it is dropped;
    /// the last claim then lasts for long enough to publish a record.
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
