//! A start without room for bodies, or without their bucket: tells health and the log when bodies are stored.

use std::sync::Arc;

use super::App;
use crate::body;
use crate::node::unmarked;

/// Writes the marker of the bodies, or sees that of others, when that works.
pub(super) async fn wait(app: Arc<App>) {
    let (prefix, bodies) = (&app.settings.dust.store.prefix, app.node.stores().bodies());
    let bound = app.node.proxy.flight().settings().call_bound;
    let refused = |why: &body::Error| {
        let why = match why {
            body::Error::NotShared => app.node.stores().not_shared(),
            other => format!("{}: {other}", app.settings.bodies.url),
        };
        app.log.error("bodies", format!("bodies.url: {why}; nothing is stored there"));
    };
    unmarked::mark(&*app.dust, bodies, prefix, bound, refused).await;
    app.health.bodies_work(bodies);
    app.log.info("bodies", "the body store takes bodies: they are stored");
    unmarked::forget(&*app.dust, prefix, bound).await;
}
