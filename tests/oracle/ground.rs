//! The instances, and what happens to them and to the pages while clients ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::page::PAGES;
use crate::support::client::RequestFacts;
use crate::support::instances::Instances;
use crate::support::proxy::Setup;
use crate::support::server::Server;
use crate::support::{End, Origin, Proxy};
use crate::world::World;

/// Names another build, one with a fault that was put into it, to see that it is found.
const BINARY: &str = "DUSTGATE_ORACLE_BINARY";
/// How long a lease lives.
const LEASE: &str = "2s";

pub struct Ground {
    instances: Instances,
    world: Arc<World>,
    _shelf: TempDir,
    _redis: Option<Server>,
}

impl Ground {
    /// One instance by itself, or so many over a Redis.
    pub async fn new(world: Arc<World>, instances: usize, origin: &Origin) -> Self {
        let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let redis = if instances > 1 { Some(Server::start(&[]).await) } else { None };
        let setups = (0..instances).map(|number| setup(number, redis.as_ref(), &shelf, origin));
        let instances = Instances::start(setups.collect()).await;
        for (number, instance) in instances.of.iter().enumerate() {
            world.is_at(number, Some(instance.at));
        }
        Self { instances, world, _shelf: shelf, _redis: redis }
    }

    /// Changes pages, purges them, and kills instances, until then.
    pub async fn weather(&mut self, until: Instant) {
        let mut rng = Rng::with_seed(self.world.seed ^ 0x57EA);
        let many = self.instances.of.len();
        let mut next_kill = Instant::now() + Duration::from_millis(1500);
        let mut purges = tokio::task::JoinSet::new();
        while self.world.goes_on(until) {
            sleep(Duration::from_millis(rng.u64(5..90))).await;
            if rng.usize(..4) == 0 {
                self.world.focuses(rng.usize(..PAGES));
            }
            let page = if rng.bool() { self.world.focus() } else { rng.usize(..PAGES) };
            match rng.usize(..10) {
                0..=2 => drop(self.world.changes(page)),
                3 => {
                    let number = rng.usize(..many);
                    let admin = self.instances.of[number].admin;
                    purges.spawn(purge(self.world.clone(), admin, page, rng.bool(), rng.bool()));
                }
                _ => {}
            }
            if many > 1 && Instant::now() > next_kill {
                next_kill = Instant::now() + Duration::from_millis(rng.u64(1500..4000));
                let number = match self.world.dripping(Duration::from_millis(300)) {
                    Some((page, number)) => {
                        // Who goes on with it finds another version, or the same.
                        if rng.bool() {
                            self.world.changes(page);
                        }
                        self.world.log(page, &format!("instance {number} is killed in mid-body"));
                        self.world.saw("killed in mid-body");
                        number
                    }
                    None => rng.usize(..many),
                };
                self.kill(number).await;
            }
        }
        purges.join_all().await;
    }

    /// Kills an instance, and starts it again.
    async fn kill(&mut self, number: usize) {
        self.world.is_at(number, None);
        self.world.killed();
        self.instances.of[number].kill().await;
        self.world.killed();
        self.world.saw("killed");
        let at = self.instances.restart(number).await.at;
        self.world.is_at(number, Some(at));
    }

    /// Those that ended by themselves.
    pub fn lost(&self) -> Vec<usize> {
        self.instances.ended()
    }

    /// Writes the logs down, and says where.
    pub fn keep_logs(&self) -> String {
        self.instances.keep_logs()
    }
}

/// Purges a page, which may change just before. Counts only if every instance has confirmed it.
async fn purge(world: Arc<World>, admin: SocketAddr, page: usize, soft: bool, changes: bool) {
    let version = if changes { world.changes(page) } else { world.version(page) };
    let url = format!("http://oracle.test{}", world.pages[page].path());
    let asked = json!({ "url": url, "soft": soft });
    let answer = RequestFacts::new(admin, "POST", "/v1/purge").host("localhost").json(&asked).attempt().await;
    let Ok(answer) = answer else { return };
    if answer.status != 200 || answer.end != End::Clean {
        return;
    }
    let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let silent = answer["silent"].as_array().is_none_or(|silent| !silent.is_empty());
    world.log(page, &format!("purged of what is older than {version}: {answer}"));
    if !silent {
        world.saw("purged");
        world.purged(page, version, soft);
    }
}

fn setup(number: usize, redis: Option<&Server>, shelf: &TempDir, origin: &Origin) -> Setup {
    let routes = [
        ("segment", "range = \"segment\""),
        ("fill", ""),
        ("pass", "range = \"pass\""),
        ("little", "range = \"segment\"\nmax_object_size = \"300KiB\"\npass_ttl = \"1s\""),
    ];
    let routes = routes.map(|(name, lines)| {
        format!(
            "[[routes]]\nname = \"{name}\"\npath = \"/{name}/*\"\nupstream = \"origin\"\n{lines}\n\
             [routes.grace]\nif_error = \"0s\"\n"
        )
    });
    let setup = Proxy::before(origin)
        .binary(std::env::var_os(BINARY))
        .server(&format!("name = \"instance-{number}\""))
        .server("drain = \"2s\"")
        .dust(&format!("lease_ttl = \"{LEASE}\""))
        .dust("trust = \"2s\"")
        .bodies(&format!("url = \"file:{}\"", shelf.path().display()))
        .upstream("first_byte_timeout = \"5s\"")
        .upstream("read_timeout = \"5s\"")
        .no_route()
        .more("[memory]\nsize = \"4MiB\"")
        .more(&routes.concat());
    match redis {
        Some(redis) => setup.dust(&format!("url = \"redis://127.0.0.1:{}\"", redis.port)),
        None => setup,
    }
}
