//! Settings: defaults, then a TOML file, then the environment.
//!
//! [`load`] reads all three, and names everything that is wrong with them at once, each with
//! its file, line, key, value and reason. Secrets and passwords in URLs print as `***`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::body::Location;
use crate::route::Table;
use crate::secret::{Secret, SecretUrl};
use crate::units::Size;
use crate::{admin, body, dust, policy, proxy, telemetry, tier, upstream};

mod check;
mod descriptors;
mod env;
mod memory;
mod problem;
mod read;
mod section;
mod table;

pub use problem::Problem;
pub use section::{Dust, Route};

use problem::{Places, Problems, path};

/// The lease's time to live and the trust on a Dust server, if they are not set.
const ON_A_SERVER: Duration = Duration::from_secs(30);

/// All settings: those of each part, by the sections of the file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settings {
    /// The data port.
    pub server: proxy::Server,
    /// The port for operators.
    pub admin: admin::Settings,
    /// How others may have things purged.
    pub purge: admin::Purges,
    /// The coordination store.
    pub dust: Dust,
    /// The body store.
    pub bodies: body::Settings,
    /// The memory tier.
    pub memory: tier::Memory,
    /// The log.
    pub log: telemetry::log::Settings,
    /// Origins by name.
    pub upstreams: BTreeMap<String, upstream::Settings>,
    /// Routes, in the order of the file.
    pub routes: Vec<Route>,
    /// Lowered limits of the upstreams that routes name by URL ([`Settings::fit_into`]).
    #[serde(skip)]
    most: BTreeMap<String, usize>,
    #[serde(skip)]
    table: Arc<Table>,
    #[serde(skip)]
    warnings: Vec<Problem>,
}

/// Reads a file, if one is named, and the variables of an environment.
///
/// # Errors
/// All problems, in the order of the file.
pub fn load(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Vec<Problem>> {
    let file = match path {
        None => None,
        Some(path) => {
            let name = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => Some((name, text)),
                Err(error) => {
                    return Err(vec![Problem {
                        file: Some(name),
                        line: None,
                        key: String::new(),
                        value: String::new(),
                        reason: format!("cannot be read: {error}"),
                    }]);
                }
            }
        }
    };
    load_text(file, env)
}

/// Reads a file's name and text, and the variables of an environment. Files that hold secrets
/// are read too.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: Option<(String, String)>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Vec<Problem>> {
    let env: BTreeMap<String, String> = env.into_iter().collect();
    let mut places = Places::new(file.clone()).map_err(|problem| vec![problem])?;
    let file = match file {
        Some((name, text)) => read::file(&name, &text).map_err(|problem| vec![problem])?,
        None => figment::value::Dict::new(),
    };
    let upstreams: Vec<_> = file
        .get("upstreams")
        .and_then(|value| value.as_dict())
        .map(|named| named.keys().cloned().collect())
        .unwrap_or_default();
    let variables = env::variables(&env, &upstreams);
    for variable in &variables {
        places.set_by(variable.path.clone(), variable.name.clone(), variable.text.clone());
    }

    let mut problems = Problems::new(&places);
    let mut warnings = Problems::new(&places);
    let mut settings = read::settings(file, &variables, &mut problems);
    let for_secrets = settings.fetch_secrets(&env, &mut problems);
    settings.set_dependent(&places);
    for (name, right) in env::near_misses(&env, &upstreams) {
        if !for_secrets.contains(name) {
            warnings.note(Problem {
                file: Some("environment".to_owned()),
                line: None,
                key: name.clone(),
                // Its value may be a secret.
                value: String::new(),
                reason: format!("is no setting; did you mean {right}?"),
            });
        }
    }
    check::all(&settings, &mut problems, &mut warnings);
    let table = table::table(&settings, &mut problems, &mut warnings);
    let problems = problems.into_list();
    if !problems.is_empty() {
        return Err(problems);
    }
    settings.table = Arc::new(table);
    settings.warnings = warnings.into_list();
    Ok(settings)
}

// === impl Settings ===

impl Settings {
    /// The table of routes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Warnings: settings that are allowed, and are likely not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// All upstreams by name: those of `[upstreams]`, and those that a route names by URL, which have the
    /// defaults.
    pub fn origins(&self) -> BTreeMap<String, upstream::Settings> {
        let mut origins = self.upstreams.clone();
        for route in &self.routes {
            let name = &route.route.upstream;
            origins.entry(name.clone()).or_insert_with(|| upstream::Settings::new(name));
        }
        for (name, most) in &self.most {
            if let Some(origin) = origins.get_mut(name) {
                origin.max_concurrent = origin.max_concurrent.min(*most);
            }
        }
        origins
    }

    /// All settings in force, secrets as `***`.
    pub fn in_force(&self) -> serde_json::Value {
        // Maps have text for keys and nothing here fails to serialise.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Sets the defaults that depend on other settings. Bodies go where the records are, if instances share
    /// that place. What a store like that carries is kept short, unless long bodies have another place.
    fn set_dependent(&mut self, places: &Places) {
        let store = self.dust.store.url.reveal();
        if dust::is_server(store) {
            // Renewals are writes, and these are few there.
            for (name, span) in
                [("lease_ttl", &mut self.dust.flight.lease_ttl), ("trust", &mut self.dust.belief.trust)]
            {
                if !places.has(&["dust", name].map(str::to_owned)) {
                    *span = ON_A_SERVER;
                }
            }
        } else if !places.has(&path("bodies.url")) && dust::is_shared(store) {
            self.bodies.url = SecretUrl::here("dust:");
        }
        if self.bodies.large.is_some() || Location::parse(self.bodies.url.reveal()) != Ok(Location::Dust) {
            return;
        }
        let unset = policy::Settings::default().max_object_size;
        for (index, route) in self.routes.iter_mut().enumerate() {
            let set = ["routes", &index.to_string(), "max_object_size"].map(str::to_owned);
            let most = &mut route.policy.max_object_size;
            if *most == unset && !places.has(&set) {
                *most = Size(body::LARGE);
            }
        }
    }

    /// Reads secrets from their variables and files. Returns the names of these variables.
    fn fetch_secrets(
        &mut self,
        env: &BTreeMap<String, String>,
        problems: &mut Problems<'_>,
    ) -> BTreeSet<String> {
        let mut variables = BTreeSet::new();
        for (path, secret) in self.secrets() {
            variables.extend(secret.variable().map(str::to_owned));
            if let Err(reason) = secret.fetch(env) {
                problems.add(&path, reason);
            }
        }
        if self.admin.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            problems.add(&path("admin.token"), "it is empty");
        }
        for (at, token) in self.admin.tokens.iter().enumerate() {
            if token.token.reveal().is_empty() {
                problems.add(&path(&format!("admin.tokens.{at}.token")), "it is empty");
            }
        }
        variables
    }

    /// Every secret, with its path.
    fn secrets(&mut self) -> Vec<(problem::Path, &mut Secret)> {
        let mut secrets = Vec::new();
        secrets.extend(self.admin.token.as_mut().map(|token| (path("admin.token"), token)));
        for (at, token) in self.admin.tokens.iter_mut().enumerate() {
            secrets.push((path(&format!("admin.tokens.{at}.token")), &mut token.token));
        }
        for (name, webhook) in &mut self.purge.webhooks {
            let path = ["purge", "webhooks", name, "secret"].map(str::to_owned).to_vec();
            secrets.push((path, &mut webhook.secret));
        }
        secrets.push((path("dust.url"), self.dust.store.url.secret_mut()));
        secrets.extend(self.dust.store.token.as_mut().map(|token| (path("dust.token"), token)));
        secrets.push((path("bodies.url"), self.bodies.url.secret_mut()));
        let large = self.bodies.large.as_mut();
        secrets.extend(large.map(|large| (path("bodies.large"), large.secret_mut())));
        for (name, upstream) in &mut self.upstreams {
            let path = vec!["upstreams".to_owned(), name.clone(), "url".to_owned()];
            secrets.push((path, upstream.url.secret_mut()));
        }
        for (index, route) in self.routes.iter_mut().enumerate() {
            for (key, edits) in [
                ("request_headers", &mut route.route.request_headers),
                ("response_headers", &mut route.route.response_headers),
            ] {
                for (name, value) in &mut edits.set {
                    let path = ["routes", &index.to_string(), key, "set", name].map(str::to_owned);
                    secrets.push((path.to_vec(), value));
                }
            }
        }
        secrets
    }
}
