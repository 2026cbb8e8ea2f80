//! What every store promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dustgate::dust::Dust;
use dustgate::dust::redis::Redis;
use dustgate::testkit::conformance::{Composed, Rig, all};

use crate::support::server::Server;

/// A server, in real time.
pub struct Real {
    pub store: Arc<Redis>,
}

/// The same without the steps of its own.
struct Plain(Real);

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

#[async_trait]
impl Rig for Plain {
    fn dust(&self) -> Arc<dyn Dust> {
        Arc::new(Composed::of(self.0.dust()))
    }

    async fn pass(&self, by: Duration) {
        self.0.pass(by).await;
    }

    fn beat(&self) -> Duration {
        self.0.beat()
    }

    fn subscriptions(&self) -> Option<usize> {
        self.0.subscriptions()
    }
}

#[tokio::test]
async fn its_calls_make_the_steps_too() {
    let server = Server::least().await;
    all(&Plain(Real { store: server.store().await })).await;
}

#[tokio::test]
async fn the_user_with_the_least_rights_gets_every_promise() {
    let server = Server::least().await;
    all(&Real { store: server.store().await }).await;
}
