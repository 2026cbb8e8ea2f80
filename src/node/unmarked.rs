//! A start without room for bodies, or without their bucket: nothing is stored there until that is over.
//!
//! A body store without the marker of its life looks like the wrong one at the next start. So the
//! embedded store remembers that the marker was never written, until it is.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::body::{self, Bodies};
use crate::dust::{Dust, Put, Result};

/// The pause between tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The entry that says that the bodies of this store have no marker: its key and its value.
pub fn note(prefix: &str) -> (String, &'static str) {
    (format!("{prefix}/1/unmarked"), "true")
}

/// Returns whether the marker of this store's bodies was never written.
pub async fn is_unmarked(dust: &dyn Dust, prefix: &str) -> Result<bool> {
    Ok(dust.entry(&note(prefix).0).await?.is_some())
}

/// Writes that entry, or deletes it.
pub async fn remember(dust: &dyn Dust, prefix: &str, unmarked: bool) -> Result<()> {
    let (key, value) = note(prefix);
    if unmarked {
        dust.put(&key, value, Put { durable: true, ..Put::default() }).await.map(drop)
    } else {
        dust.delete(&key, None).await.map(drop)
    }
}

/// Writes the marker when that works: from then on bodies are stored. Meanwhile the store remembers that the
/// marker is missing. The marker of an instance that was here before is only looked for. `bound` is the bound
/// of one call; `refused` is told once if waiting does not help.
pub async fn mark(
    dust: &dyn Dust,
    bodies: &Bodies,
    prefix: &str,
    bound: Duration,
    refused: impl Fn(&body::Error),
) {
    let (mut remembered, mut told) = (bodies.is_unseen(), false);
    while bodies.is_unmarked() {
        remembered = remembered || remembers(dust, prefix, true, bound).await;
        let Err(why) = bodies.mark().await else { continue };
        if matches!(why, body::Error::NotShared | body::Error::Refused(_))
            && !std::mem::replace(&mut told, true)
        {
            refused(&why);
        }
        sleep(AGAIN).await;
    }
}

/// Deletes that entry, with as many tries as it takes.
pub async fn forget(dust: &dyn Dust, prefix: &str, bound: Duration) {
    while !remembers(dust, prefix, false, bound).await {
        sleep(AGAIN).await;
    }
}

async fn remembers(dust: &dyn Dust, prefix: &str, unmarked: bool, bound: Duration) -> bool {
    // A shared store is joined, or begun with its marker.
    if dust.shared() {
        return true;
    }
    matches!(timeout(bound, remember(dust, prefix, unmarked)).await, Ok(Ok(())))
}
