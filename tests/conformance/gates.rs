//! Dustgate as the suite meets it: one plain route, no setting of it changed.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::Proxy;
use crate::support::proxy::Setup;
use crate::support::server::Server;
use crate::turns::Turns;

/// Two instances over one store and one directory of bodies, with memories of their own, and
/// their front.
pub struct Fleet {
    pub turns: Turns,
    pub of: Vec<Proxy>,
    _redis: Server,
    _shelf: TempDir,
}

/// One, before an origin at that port.
pub fn before(port: u16) -> Setup {
    Proxy::before_address(&format!("127.0.0.1:{port}"))
}

// === impl Fleet ===

impl Fleet {
    /// Before an origin at that port.
    pub async fn before(port: u16) -> Self {
        let redis = Server::start(&[]).await;
        let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let setup = before(port)
            .dust(&format!("url = \"redis://127.0.0.1:{}\"", redis.port))
            .bodies(&format!("url = \"file:{}\"", shelf.path().display()));
        let of = vec![setup.clone().start().await, setup.start().await];
        let turns = Turns::of(&of).await;
        Self { turns, of, _redis: redis, _shelf: shelf }
    }

    /// How many requests each has answered by its own log, once it is as many as it was given.
    pub async fn answered(&self, given: Vec<usize>) -> Vec<usize> {
        let mut answered = Vec::new();
        for (instance, given) in self.of.iter().zip(given) {
            let is_request = |line: &Value| line["method"].is_string();
            answered.push(instance.log.json_lines(given, "its log", is_request).await.len());
        }
        answered
    }
}
