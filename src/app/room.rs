//! A start without room for bodies: nothing is stored until there is, and then as always.
//!
//! A body store without the marker of its life looks like the wrong one at the next start. So the
//! embedded store remembers that the marker was never written, until it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::App;
use super::stores::EMBEDDED_CALL_BOUND;
use crate::dust::{Dust, Put, Result};

/// How often it is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// Where it stands that the bodies of this store have no marker, and what stands there.
pub(super) fn note(prefix: &str) -> (String, &'static str) {
    (format!("{prefix}/1/unmarked"), "true")
}

/// Whether the marker of this store's bodies was never written.
pub(super) async fn is_unmarked(dust: &dyn Dust, prefix: &str) -> Result<bool> {
    Ok(dust.entry(&note(prefix).0).await?.is_some())
}

/// Remembers that, or that it is no longer so.
pub(super) async fn remember(dust: &dyn Dust, prefix: &str, unmarked: bool) -> Result<()> {
    let (key, value) = note(prefix);
    if unmarked {
        dust.put(&key, value, Put { durable: true, ..Put::default() }).await.map(drop)
    } else {
        dust.delete(&key, None).await.map(drop)
    }
}

/// Writes the marker when there is room for it. From then on bodies are stored.
pub(super) async fn wait(app: Arc<App>) {
    let prefix = &app.settings.dust.prefix;
    // What others share is joined, or it is begun with its marker.
    let alone = !app.dust.shared();
    let remembers = async |unmarked| {
        if !alone {
            return true;
        }
        let word = timeout(EMBEDDED_CALL_BOUND, remember(&*app.dust, prefix, unmarked)).await;
        matches!(word, Ok(Ok(())))
    };
    let mut remembered = false;
    while app.bodies.is_unmarked() {
        remembered = remembered || remembers(true).await;
        if app.bodies.mark().await.is_err() {
            sleep(AGAIN).await;
        }
    }
    app.health.bodies_work(&app.bodies);
    app.log.info("bodies", "there is room again: bodies are stored");
    while !remembers(false).await {
        sleep(AGAIN).await;
    }
}
