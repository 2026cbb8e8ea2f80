//! A start without room for bodies: tells health and the log when there is room and bodies are stored.

use std::sync::Arc;

use super::App;
use crate::node::unmarked;

/// Writes the marker of the bodies when there is room for it.
pub(super) async fn wait(app: Arc<App>) {
    let (prefix, bodies) = (&app.settings.dust.store.prefix, app.node.stores().bodies());
    let bound = app.node.proxy.flight().settings().call_bound;
    unmarked::mark(&*app.dust, bodies, prefix, bound).await;
    app.health.bodies_work(bodies);
    app.log.info("bodies", "there is room again: bodies are stored");
    unmarked::forget(&*app.dust, prefix, bound).await;
}
