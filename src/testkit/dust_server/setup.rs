//! What a server is started with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Script, TOKEN, Token};
use crate::clock::{Clock, ManualClock, SystemClock, WallMs};

/// What a server is started with.
#[derive(Debug)]
pub struct Setup {
    /// Names of stores, as `acme/cache`, each with its id.
    pub stores: Vec<(String, String)>,
    /// Tokens that open it.
    pub tokens: Vec<Token>,
    /// Time: of leases, budgets and idle connections.
    pub clock: Arc<dyn Clock>,
    /// A clock that [`DustServer::advance`] moves.
    pub(super) cranked: Option<Arc<ManualClock>>,
    /// A connection ends after this long without a frame from its client.
    pub idle: Duration,
    /// The seed of all that is random.
    pub seed: u64,
    /// Where it listens.
    pub listen: SocketAddr,
    /// A recording whose answers writes get. Then nothing else is decided here.
    pub script: Option<Script>,
}

// === impl Setup ===

impl Setup {
    /// A server on the clock of the machine, for processes.
    pub fn real() -> Self {
        Self::on(Arc::new(SystemClock))
    }

    /// A server whose clock stands at `wall_ms` until [`DustServer::advance`] moves it.
    pub fn cranked(wall_ms: WallMs) -> Self {
        let clock = Arc::new(ManualClock::at(wall_ms));
        Self { cranked: Some(clock.clone()), ..Self::on(clock) }
    }

    /// A server on this clock.
    pub fn on(clock: Arc<dyn Clock>) -> Self {
        Self {
            stores: Vec::new(),
            tokens: vec![Token::new(TOKEN, "acme")],
            clock,
            cranked: None,
            idle: Duration::from_mins(1),
            seed: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            script: None,
        }
    }

    /// One more store.
    #[must_use]
    pub fn store(self, name: &str) -> Self {
        let id = format!("01a20896-0000-7000-8000-{:012x}", self.stores.len());
        self.store_of_id(name, &id)
    }

    /// One more store, of this id.
    #[must_use]
    pub fn store_of_id(mut self, name: &str, id: &str) -> Self {
        self.stores.push((name.to_owned(), id.to_owned()));
        self
    }

    /// Answers as recorded.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    /// One more token.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.tokens.push(token);
        self
    }
}
