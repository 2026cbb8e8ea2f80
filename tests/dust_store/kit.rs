//! Stores on a server of the testkit.

use std::sync::Arc;
use std::time::Duration;

use dustgate::clock::SystemClock;
use dustgate::dust::server::Target;
use dustgate::dust::{Error, Server};
use dustgate::testkit::dust_server::{DustServer, Setup, TOKEN};

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
