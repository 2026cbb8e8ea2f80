//! What every store promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dustgate::dust::Dust;
use dustgate::dust::redis::Redis;
use dustgate::testkit::conformance::{Rig, all};

use crate::support::server::Server;

/// A server, in real time.
pub struct Real {
    pub store: Arc<Redis>,
}

#[async_trait]
impl Rig for Real {
    fn dust(&self) -> Arc<dyn Dust> {
        self.store.clone()
    }

    async fn pass(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn beat(&self) -> Duration {
        Duration::from_millis(60)
    }

    fn subscriptions(&self) -> Option<usize> {
        Some(self.store.subscriptions())
    }
}

#[tokio::test]
async fn the_user_with_the_least_rights_gets_every_promise() {
    let server = Server::least().await;
    all(&Real { store: server.store().await }).await;
}
