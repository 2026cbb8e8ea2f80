//! The instances, and what happens to them and to the pages while clients ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dustgate::drill::client;
use dustgate::drill::fleet::{Fleet, Launch};
use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::page::PAGES;
use crate::server::Server;
use crate::world::World;

/// Names another build, one with a fault that was put into it, to see that it is found.
const BINARY: &str = "DUSTGATE_ORACLE_BINARY";
/// How long a lease lives.
const LEASE: &str = "2s";

pub struct Ground {
    fleet: Fleet,
    world: Arc<World>,
    place: TempDir,
    _shelf: TempDir,
    _redis: Option<Server>,
}

impl Ground {
    /// One instance by itself, or so many over a Redis.
    pub async fn new(world: Arc<World>, instances: usize, origin: SocketAddr) -> Self {
        let place = TempDir::with_prefix("dustgate-oracle-").unwrap();
        let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
        let redis = if instances > 1 { Some(Server::start(&[]).await) } else { None };
        let dust = redis.as_ref().map_or_else(
            || format!("embedded:{}/dust", place.path().display()),
            |redis| format!("redis://127.0.0.1:{}", redis.port),
        );
        let settings = (0..instances).map(|number| {
            let path = place.path().join(format!("{number}.toml"));
            std::fs::write(&path, text(number, &dust, &shelf, origin)).unwrap();
            path
        });
        let launch = Launch {
            binary: std::env::var_os(BINARY)
                .map_or_else(|| env!("CARGO_BIN_EXE_dustgate").into(), Into::into),
            settings: settings.collect(),
            variables: Vec::new(),
            log: place.path().join("instance"),
            token: None,
        };
        let fleet = Fleet::start(launch).await.unwrap();
        for (number, at) in fleet.addresses() {
            world.is_at(number, Some(at));
        }
        Self { fleet, world, place, _shelf: shelf, _redis: redis }
    }

    /// Changes pages, purges them, and kills instances, until then.
    pub async fn weather(&mut self, until: Instant) {
        let mut rng = Rng::with_seed(self.world.seed ^ 0x57EA);
        let many = self.fleet.addresses().len();
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
                    if let Some(admin) = self.fleet.operator(number) {
                        purges.spawn(purge(self.world.clone(), admin, page, rng.bool(), rng.bool()));
                    }
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
        self.fleet.kill(number).await;
        self.world.killed();
        self.world.saw("killed");
        let at = self.fleet.restart(number).await.unwrap();
        self.world.is_at(number, Some(at));
    }

    /// Those that ended by themselves.
    pub fn lost(&mut self) -> Vec<usize> {
        self.fleet.lost()
    }

    /// Leaves the logs where they are, and says where.
    pub fn keep_logs(&mut self) -> String {
        self.place.disable_cleanup(true);
        format!("the instances' logs are in {}", self.place.path().display())
    }
}

/// Purges a page, which may change just before. Counts only if every instance has confirmed it.
async fn purge(world: Arc<World>, admin: SocketAddr, page: usize, soft: bool, changes: bool) {
    let version = if changes { world.changes(page) } else { world.version(page) };
    let url = format!("http://oracle.test{}", world.pages[page].path());
    let asked = json!({ "url": url, "soft": soft });
    let answer = client::operator(admin, None, Method::POST, "/v1/purge", Some(&asked)).await;
    let Ok((200, text)) = answer else { return };
    let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
    let silent = answer["silent"].as_array().is_none_or(|silent| !silent.is_empty());
    world.log(page, &format!("purged of what is older than {version}: {answer}"));
    if !silent {
        world.saw("purged");
        world.purged(page, version, soft);
    }
}

fn text(number: usize, dust: &str, shelf: &TempDir, origin: SocketAddr) -> String {
    let bodies = shelf.path().display();
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
    format!(
        r#"
[server]
name = "instance-{number}"
listen = "127.0.0.1:0"
drain = "2s"
[admin]
listen = "127.0.0.1:0"
[dust]
url = "{dust}"
lease_ttl = "{LEASE}"
trust = "2s"
[log]
format = "json"
[memory]
size = "4MiB"
[bodies]
url = "file:{bodies}"
[upstreams.origin]
url = "http://{origin}"
first_byte_timeout = "5s"
read_timeout = "5s"
{}"#,
        routes.concat()
    )
}
