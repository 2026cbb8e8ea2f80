//! The plan of a drill, made before anything is started.

use std::path::PathBuf;
use std::time::Duration;

use super::safety::{DustAt, Ground};
use super::scenario::Scenario;
use crate::config::Settings;
use crate::dust::{Server, Traits};

/// The options of the command.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of instances.
    pub instances: usize,
    /// The number of clients.
    pub clients: usize,
    /// How long the origin takes.
    pub delay: Duration,
    /// How often each scenario is played.
    pub rounds: usize,
    /// Only scenarios whose names begin with one of these; if there are none, all.
    pub only: Vec<String>,
}

/// The plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The settings of all instances, before a drill's own are put over them.
    pub settings: Settings,
    /// The text that they are from, if there is a file.
    pub text: String,
    /// The stores.
    pub ground: Ground,
    /// The program.
    pub binary: PathBuf,
    /// How many instances.
    pub instances: usize,
    /// How many clients.
    pub clients: usize,
    /// How long the origin takes.
    pub delay: Duration,
    /// How often each scenario is played.
    pub rounds: usize,
    /// The scenarios, in this order. The first measures the times that the others are compared with.
    pub scenarios: Vec<Scenario>,
    /// Remarks that are printed before the drill begins.
    pub remarks: Vec<String>,
}

/// The longest delay: with more, a fetch would run into the defaults of an upstream's timeouts.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

impl Plan {
    /// Makes a plan of options and settings. Starts nothing.
    ///
    /// # Errors
    /// All problems of the options and settings.
    pub fn new(
        wish: &Options,
        settings: Settings,
        text: String,
        ground: Ground,
        binary: PathBuf,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut remarks = Vec::new();
        if wish.instances == 0 || wish.clients == 0 || wish.rounds == 0 {
            problems.push("--instances, --clients and --rounds are 1 at least".to_owned());
        }
        let shared = matches!(ground.dust, DustAt::Redis(_) | DustAt::Server(_));
        let instances = if shared { wish.instances } else { wish.instances.min(1) };
        if instances < wish.instances {
            remarks.push(format!(
                "dust.url is {}, a store of one process: 1 instance instead of {}",
                settings.dust.store.url, wish.instances
            ));
        }
        if wish.delay.is_zero() || wish.delay > LONGEST_DELAY {
            problems.push(format!("--delay is from 1ms to {}s", LONGEST_DELAY.as_secs()));
        }
        // While the other instances are down, one can have all clients.
        for (setting, most) in [
            ("server.max_connections", settings.server.max_connections),
            ("server.max_waiters", settings.server.max_waiters),
        ] {
            let each = wish.clients.div_ceil(instances.max(1));
            if each > most {
                problems.push(format!(
                    "--clients {}: {each} for each instance is more than {setting} ({most}); fewer \
                     clients, or raise it",
                    wish.clients
                ));
            }
        }
        let scenarios = chosen(&wish.only).map_err(|unknown| problems.push(unknown)).unwrap_or_default();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            settings,
            text,
            ground,
            binary,
            instances,
            clients: wish.clients,
            delay: wish.delay,
            rounds: wish.rounds,
            scenarios,
            remarks,
        })
    }

    /// The TTL of the leases.
    pub fn lease(&self) -> Duration {
        self.settings.dust.flight.lease_ttl
    }

    /// The bound of one call of the store, as instances have it.
    pub fn call_bound(&self) -> Duration {
        match self.ground.dust {
            DustAt::Server(_) => Server::BOUND,
            DustAt::Redis(_) | DustAt::Memory | DustAt::Directory(_) => Traits::REMOTE.call_bound,
        }
    }
}

/// The scenarios whose names begin with one of these, after the one that measures the machine.
fn chosen(only: &[String]) -> Result<Vec<Scenario>, String> {
    for prefix in only {
        if !Scenario::ALL.iter().any(|scenario| scenario.name().starts_with(prefix.as_str())) {
            let names: Vec<_> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
            return Err(format!("--only {prefix}: no such scenario; there are {}", names.join(", ")));
        }
    }
    let wanted = |scenario: &Scenario| {
        only.is_empty() || only.iter().any(|prefix| scenario.name().starts_with(prefix.as_str()))
    };
    let rest = Scenario::ALL.into_iter().filter(|scenario| *scenario != Scenario::Warm && wanted(scenario));
    Ok([Scenario::Warm].into_iter().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::drill::safety::{BodiesAt, Nearby};
    use crate::secret::SecretUrl;

    fn wish() -> Options {
        Options { instances: 3, clients: 300, delay: Duration::from_millis(500), rounds: 1, only: vec![] }
    }

    fn redis() -> Ground {
        let redis = Nearby {
            url: SecretUrl::here("redis://127.0.0.1:7000"),
            near: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: "127.0.0.1".into(),
            port: 7000,
        };
        Ground { dust: DustAt::Redis(redis), bodies: BodiesAt::Directory("bodies".into()) }
    }

    fn plan(wish: &Options, ground: Ground) -> Result<Plan, Vec<String>> {
        Plan::new(wish, Settings::default(), String::new(), ground, PathBuf::new())
    }

    #[test]
    fn a_store_of_one_process_has_one_instance_and_says_so() {
        let alone = Ground { dust: DustAt::Memory, bodies: BodiesAt::Memory };
        let plan_alone = plan(&wish(), alone).unwrap();
        assert_eq!((plan_alone.instances, plan_alone.remarks.len()), (1, 1));
        let fleet = plan(&wish(), redis()).unwrap();
        assert_eq!((fleet.instances, fleet.remarks.len()), (3, 0));
        assert_eq!(fleet.scenarios, Scenario::ALL);
    }

    #[test]
    fn what_is_chosen_comes_behind_the_measure() {
        let only = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let names = |scenarios: Vec<Scenario>| scenarios.iter().map(|s| s.name()).collect::<Vec<_>>();
        assert_eq!(names(chosen(&only(&["cold"])).unwrap()), ["warm", "cold"]);
        assert_eq!(names(chosen(&only(&["store-"])).unwrap()), ["warm", "store-killed", "store-frozen"]);
        assert_eq!(names(chosen(&only(&["warm"])).unwrap()), ["warm"]);
        assert!(chosen(&only(&["cold", "colder"])).unwrap_err().contains("colder"));
    }

    #[test]
    fn everything_that_cannot_be_is_said_at_once() {
        let mut wish = wish();
        wish.delay = Duration::from_mins(1);
        wish.clients = 90_000;
        wish.only = vec!["hot".into()];
        let problems = plan(&wish, redis()).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[1].contains("server.max_connections"), "{problems:?}");
    }
}
