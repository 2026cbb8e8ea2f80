//! The suite that every store passes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dustgate::dust::{Dust, Server};
use dustgate::testkit::conformance::{self, Rig};
use dustgate::testkit::dust_server::{DustServer, Setup};
use tokio::time::sleep;

use crate::kit::{self, STORE};

struct Real {
    dust: Arc<Server>,
    run: &'static str,
}

#[async_trait]
impl Rig for Real {
    fn dust(&self) -> Arc<dyn Dust> {
        self.dust.clone()
    }

    async fn pass(&self, by: Duration) {
        sleep(by).await;
    }

    fn beat(&self) -> Duration {
        Duration::from_millis(120)
    }

    fn subscriptions(&self) -> Option<usize> {
        Some(self.dust.subscriptions())
    }

    fn run(&self) -> String {
        self.run.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_passes_the_suite() {
    let server = kit::server().await;
    conformance::all(&Real { dust: kit::open(&server).await, run: "conformance" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_stores_pass_the_suite_as_one() {
    let mut setup = Setup::real();
    for n in 0..3 {
        setup = setup.store(&format!("{STORE}-{n}"));
    }
    let server = DustServer::start(setup).await;
    let target = kit::target(&server, &format!("{STORE}-{{0..2}}"));
    let dust = Arc::new(kit::try_open(target).await.unwrap());
    conformance::all(&Real { dust, run: "conformance" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_passes_the_suite_while_events_are_swapped_repeated_and_late() {
    let server = kit::server().await;
    server.faults(|it| {
        it.scatter = Duration::from_millis(10);
        it.event_delay = Duration::from_millis(3);
        it.repeats = 1;
    });
    conformance::all(&Real { dust: kit::open(&server).await, run: "conformance" }).await;
}
