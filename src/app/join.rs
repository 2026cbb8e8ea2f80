//! An instance that was started while its store was away, and how it becomes one of its fleet.
//!
//! It serves by itself until then: nothing but the [`Member`](crate::tier::Member) reaches the
//! store, and bodies are kept under a name that no other instance knows. The member finds the life
//! of the store, moves the bodies there and reads the purges; what is left to do is here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{App, stores};
use crate::config::{OnUnavailable, Settings};
use crate::dust::{Dust, Error};

/// How often it is looked whether the store is back but will not do.
const LOOK: Duration = Duration::from_secs(5);
/// Until what failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the end of the process may take longer to remove what it leaves.
const TIDY_BOUND: Duration = Duration::from_secs(2);

/// What it takes to join.
pub(super) struct Join {
    /// The store, for who need not wait.
    pub line: Arc<dyn Dust>,
    /// What bodies are kept under until then.
    pub alone: Arc<str>,
}

/// What an operator is told at the start.
pub(super) fn without(settings: &Settings, why: &Error) -> String {
    let meanwhile = match settings.dust.on_unavailable {
        OnUnavailable::RunLocal => "this instance fetches by itself",
        OnUnavailable::Error => "what is not in memory is answered with 503",
    };
    format!(
        "dust.url: {}: {why}; {meanwhile}, and joins its fleet when the store is there",
        settings.dust.url
    )
}

/// Joins the fleet when the store is there, and removes what was kept under this instance's own
/// name once nobody reads it any more.
pub(super) async fn join(app: Arc<App>) {
    let (Some(join), Some(member)) = (&app.join, &app.member) else { return };
    let bound = app.proxy.flight().settings().call_bound;
    let mut refused = false;
    while timeout(LOOK, member.is_sure()).await.is_err() {
        if let Ok(Err(why @ Error::Refused(_))) = timeout(bound, join.line.life(None)).await
            && !std::mem::replace(&mut refused, true)
        {
            app.log.error("not_joined", format!("dust.url: {}: {why}", app.settings.dust.url));
        }
    }
    let fleet = loop {
        let life = app.bodies.life();
        let id = stores::fleet_id(&*join.line, &app.settings.dust.prefix, &life);
        if let Ok(Ok(id)) = timeout(bound * 2, id).await {
            break id;
        }
        sleep(AGAIN).await;
    };
    app.proxy.joins(fleet);
    app.health.joined();
    app.log.info("joined", "the store is there, and this instance is one of its fleet");
    sleep(app.settings.bodies.linger.0).await;
    tidy(&app).await;
}

/// Removes what was kept under this instance's own name: it has joined long ago, or ends.
pub(super) async fn tidy(app: &App) {
    let Some(join) = &app.join else { return };
    let cleared = timeout(TIDY_BOUND, app.bodies.clear(&join.alone)).await;
    if !matches!(cleared, Ok(Ok(()))) {
        app.log.warn("leftovers", format!("{} is left among the bodies, and of no use", join.alone));
    }
}
