//! Stores on a server of the testkit.

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::SystemClock;
use dustgate::dust::server::Target;
use dustgate::dust::{Error, Server};
use dustgate::testkit::dust_server::{DustServer, Setup, TOKEN};
use tempfile::TempDir;

use crate::support::proxy::Setup as Settings;
use crate::support::{Origin, Proxy, all};

pub const STORE: &str = "acme/cache";

/// A server with one store.
pub async fn server() -> DustServer {
    DustServer::start(Setup::real().store(STORE)).await
}

/// The stores that `store` names on a server, by its usual token.
pub fn target(server: &DustServer, store: &str) -> Target {
    Target::parse(&server.url(store)).unwrap().with_token(TOKEN)
}

pub async fn open(server: &DustServer) -> Arc<Server> {
    Arc::new(try_open(target(server, STORE)).await.unwrap())
}

pub async fn try_open(target: Target) -> Result<Server, Error> {
    Server::open(target, "dustgate", Arc::new(SystemClock), Duration::from_secs(2)).await
}

/// Instances of a fleet before one origin, as processes.
pub struct Fleet {
    pub origin: Origin,
    pub of: Vec<Proxy>,
    /// Gone with the fleet.
    pub bodies: TempDir,
}

impl Fleet {
    /// So many instances that meet in the store of a server.
    pub async fn of(many: usize, server: &DustServer, adjust: impl FnOnce(Settings) -> Settings) -> Self {
        let origin = Origin::start().await;
        let bodies = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let setup = adjust(settings(&origin, &server.url(STORE)))
            .bodies(&format!("url = \"file:{}\"", bodies.path().display()));
        let of = all((0..many).map(|_| setup.clone().start())).await;
        all(of.iter().map(Proxy::ready)).await;
        Self { origin, of, bodies }
    }
}

/// An instance with short leases, whose store is at a URL.
pub fn settings(origin: &Origin, url: &str) -> Settings {
    Proxy::before(origin)
        .dust(&format!("url = \"{url}\""))
        .dust(&format!("token = \"{TOKEN}\""))
        .dust("lease_ttl = \"2s\"")
}
