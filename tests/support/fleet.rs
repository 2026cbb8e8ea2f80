//! Instances over one store and one directory, before one origin.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::client::RequestFacts;
use super::proxy::Setup;
use super::server::Server;
use super::{Origin, Proxy, Reply, S3, all, until};

/// How long a lease lives here.
pub const LEASE: Duration = Duration::from_secs(2);

/// What machines that do much else at the same time are forgiven.
pub const SLACK: Duration = Duration::from_secs(3);

/// A running fleet.
pub struct Fleet<S = Server> {
    pub origin: Origin,
    /// The server in which the instances meet: a Redis, if a suite says nothing else.
    pub redis: S,
    pub of: Vec<Proxy>,
    setup: Setup,
    shelf: TempDir,
}

// === impl Fleet ===

impl Fleet {
    /// So many instances with the usual settings.
    pub async fn of(many: usize) -> Self {
        Self::with(many, |setup| setup).await
    }

    /// So many instances with settings of the test's own.
    pub async fn with(many: usize, adjust: impl FnOnce(Setup) -> Setup) -> Self {
        let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let bodies = format!("file:{}", shelf.path().display());
        Self::on(many, shelf, &bodies, adjust).await
    }

    /// So many instances with the usual settings, whose bodies are in a bucket.
    pub async fn in_bucket(many: usize, s3: &S3) -> Self {
        let shelf = TempDir::with_prefix("dustgate-none-").unwrap();
        let keys = |setup: Setup| {
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
                .into_iter()
                .fold(setup, |setup, name| setup.env(name, &S3::env(name).unwrap()))
        };
        Self::on(many, shelf, &s3.url("fleet"), keys).await
    }

    async fn on(many: usize, shelf: TempDir, bodies: &str, adjust: impl FnOnce(Setup) -> Setup) -> Self {
        let redis = Server::start(&[]).await;
        let url = format!("url = \"redis://127.0.0.1:{}\"", redis.port);
        Self::over(redis, &url, many, shelf, bodies, adjust).await
    }
}

impl<S> Fleet<S> {
    /// So many instances that meet in this server, which these lines of `[dust]` name.
    pub async fn over(
        server: S,
        lines: &str,
        many: usize,
        shelf: TempDir,
        bodies: &str,
        adjust: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let origin = Origin::start().await;
        let setup = Proxy::before(&origin)
            .dust(lines)
            .dust(&format!("lease_ttl = \"{}s\"", LEASE.as_secs()))
            .bodies(&format!("url = \"{bodies}\""));
        let setup = adjust(setup);
        let of = all((0..many).map(|_| setup.clone().start())).await;
        Self { origin, redis: server, of, setup, shelf }
    }

    /// One instance more.
    pub async fn join(&mut self) {
        self.of.push(self.setup.clone().start().await);
    }

    /// One whose settings differ from the others'.
    pub async fn join_with(&mut self, line: impl FnOnce(&str) -> String) {
        let mut setup = self.setup.clone();
        setup.dust = line(&setup.dust);
        self.of.push(setup.start().await);
    }

    /// Where the bodies are.
    pub fn shelf(&self) -> &Path {
        self.shelf.path()
    }

    /// The answer of each instance in turn.
    pub async fn each(&self, path: &str) -> Vec<Reply> {
        all(self.of.iter().map(|instance| instance.get(path).send())).await
    }

    /// Waits until every instance answers a path from its own memory or the store.
    pub async fn settled(&self, path: &str, body: &str) {
        for instance in &self.of {
            until(&format!("{body:?} everywhere"), async || {
                let reply = instance.get(path).await;
                (reply.is_hit() && reply.is(200, body)).then_some(())
            })
            .await;
        }
    }

    /// Waits until nothing is in flight anywhere.
    pub async fn idle(&self) {
        until("all flights to end", async || {
            let listed = all(self.of.iter().map(|instance| instance.admin_get("/v1/flights").send())).await;
            listed.iter().all(|reply| reply.json() == serde_json::json!([])).then_some(())
        })
        .await;
    }

    /// The sum of a metric over instances.
    pub async fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let pages = all(self.of.iter().map(Proxy::metrics)).await;
        pages.iter().map(|page| page.sum(name, labels)).sum()
    }
}

/// What an instance is called.
pub async fn name(instance: &Proxy) -> String {
    let status = instance.admin_get("/v1/status").await.json();
    status["instance"].as_str().unwrap().to_owned()
}

/// The flights of a path on an instance.
pub async fn flights(instance: &Proxy, path: &str) -> Vec<Value> {
    let listed = instance.admin_get("/v1/flights").await.json();
    let of_path = |flight: &&Value| flight["key"].as_str().is_some_and(|key| key.ends_with(path));
    listed.as_array().unwrap().iter().filter(of_path).cloned().collect()
}

/// Waits until an instance has a flight of a path of which this holds.
pub async fn flies(instance: &Proxy, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(&format!("a flight of {path}"), async || flights(instance, path).await.into_iter().find(&holds))
        .await
}

/// Waits until an instance waits for another one's fetch of a path.
pub async fn waits(instance: &Proxy, path: &str) {
    flies(instance, path, |flight| flight["holder"].is_string() || flight["role"] == "follower").await;
}

/// An answer and how long it took.
pub async fn timed(ask: RequestFacts) -> (Duration, Reply) {
    let began = Instant::now();
    let reply = ask.send().await;
    (began.elapsed(), reply)
}
