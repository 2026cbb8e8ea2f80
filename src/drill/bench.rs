//! What a scenario works with: the fleet, the origin, and the relay in front of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failed;
use super::client::Herd;
use super::fleet::{Ended, Fleet, Launch};
use super::origin::Origin;
use super::origin::script::Script;
use super::plan::Plan;
use super::promise::Limit;
use super::relay::Relay;
use super::safety::{BodiesAt, DustAt};
use super::workspace::Scratch;
use crate::clock::Dice;

/// The parts of a drill. When this is dropped, its processes are killed.
#[derive(Debug)]
pub struct Bench {
    /// The plan of the drill.
    pub plan: Plan,
    /// The instances.
    pub fleet: Fleet,
    /// The origin behind them.
    pub origin: Arc<Origin>,
    /// The relay in front of the store, if instances share one.
    pub relay: Option<Relay>,
    /// How long a herd of hits took here, when it was last measured.
    pub allowance: Duration,
    /// How long as many fetches take without a proxy, beside the origin's delay.
    pub fetching: Duration,
    scratch: Scratch,
    run: String,
    paths: u64,
}

/// What a drill leaves behind.
#[derive(Debug)]
pub struct Left {
    /// The directory of the instances' logs, if they were kept.
    pub logs: Option<PathBuf>,
    /// What could not be removed.
    pub left: Vec<String>,
}

// === impl Bench ===

impl Bench {
    /// Starts the origin, the relay and the fleet.
    ///
    /// # Errors
    /// If a part does not start; those that did are killed.
    pub async fn start(plan: Plan) -> Result<Self, Failed> {
        let machine = |error: std::io::Error| Failed::Machine(error.to_string());
        descriptors(plan.clients)?;
        let run = Dice::new().name().chars().take(8).collect::<String>();
        let origin = Arc::new(Origin::start(plan.instances).await.map_err(machine)?);
        let relay = match &plan.ground.dust {
            DustAt::Redis(it) | DustAt::Server(it) => {
                let near = (it.near, 0).into();
                Some(Relay::start(near, it.host.clone(), it.port).map_err(machine)?)
            }
            DustAt::Memory | DustAt::Directory(_) => None,
        };
        let scratch = Scratch::new(&plan, &run).map_err(machine)?;
        let mut settings = Vec::new();
        for number in 0..plan.instances {
            settings.push(scratch.write_settings(number, &plan, origin.at(number)).map_err(machine)?);
        }
        let launch = Launch {
            binary: plan.binary.clone(),
            settings,
            variables: scratch.overrides(&plan, relay.as_ref().map(|relay| relay.at)),
            log: scratch.file("instance"),
            token: plan.settings.admin.token.as_ref().map(|token| token.reveal().to_owned()),
        };
        let fleet = match Fleet::start(launch).await {
            Ok(fleet) => fleet,
            Err(ended) => {
                scratch.clear(false).await;
                return Err(ended.into());
            }
        };
        Ok(Self {
            plan,
            fleet,
            origin,
            relay,
            allowance: Duration::ZERO,
            fetching: Duration::ZERO,
            scratch,
            run,
            paths: 0,
        })
    }

    /// Puts a response at a path that was not requested before, and returns the path.
    pub fn path(&mut self, name: &str, script: Script) -> String {
        self.paths += 1;
        let path = format!("/drill/{}/{name}-{}", self.run, self.paths);
        self.origin.put(&path, script);
        path
    }

    /// Starts this number of clients, each with one request, over all instances that run.
    pub fn herd(&self, clients: usize, path: &str) -> Herd {
        Herd::loose(clients, &self.fleet.addresses(), &self.origin, path)
    }

    /// Starts this number of clients that request from the origin itself.
    pub fn straight(&self, clients: usize, path: &str) -> Herd {
        let at: Vec<_> = (0..self.plan.instances).map(|number| (number, self.origin.at(number))).collect();
        Herd::loose(clients, &at, &self.origin, path)
    }

    /// A limit, with the allowance for this machine.
    pub fn limit(&self, why: impl Into<String>, within: Duration) -> Limit {
        Limit { why: why.into(), within, allowance: self.allowance }
    }

    /// Returns whether bodies are files.
    pub fn has_directory(&self) -> bool {
        matches!(self.plan.ground.bodies, BodiesAt::Directory(_))
    }

    /// Removes all stored segments, and returns how many there were.
    ///
    /// # Errors
    /// A segment can't be removed.
    pub fn lose_bodies(&self) -> std::io::Result<usize> {
        self.scratch.lose_bodies()
    }

    /// The directory of the bodies of each life that the store has had.
    pub fn bodies_of_lives(&self) -> Vec<PathBuf> {
        self.scratch.bodies_of_lives()
    }

    /// Makes the store forget everything of the fleet, in one step.
    ///
    /// # Errors
    /// The store did not do it.
    pub async fn forget_store(&self) -> Result<(), String> {
        self.scratch.forget_store().await
    }

    /// Ends all processes, and removes what the drill has written.
    pub async fn end(mut self, keep_logs: bool) -> Left {
        self.fleet.stop().await;
        let left = self.scratch.clear(keep_logs).await;
        Left { logs: keep_logs.then(|| self.scratch.file("")), left }
    }
}

/// Raises the limit of file descriptors, for this process and those that it starts.
fn descriptors(clients: usize) -> Result<(), Failed> {
    // One for each client, one for a fetch of each, and some for the rest.
    let needed = 2 * clients as u64 + 512;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Failed::Settings(format!(
            "--clients {clients} needs {needed} file descriptors, and this process may have {}; fewer \
             clients, or ulimit -n {needed}",
            limit.maximum.unwrap_or_default()
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .map_err(|error| Failed::Machine(format!("{needed} file descriptors: {error}")))
}

impl From<Ended> for Failed {
    fn from(ended: Ended) -> Self {
        Self::Settings(ended.to_string())
    }
}
