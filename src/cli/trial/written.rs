//! An upstream and a route as a file of settings has them. Where a value must not be printed, the file names the
//! variable or the file that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderName;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::masked::is_credential;
use crate::config::{self, Settings};
use crate::route::Route;
use crate::route::settings::WrittenEdits;
use crate::secret::Secret;
use crate::upstream;

/// Settings as text.
pub(super) struct Written {
    /// What is not the default.
    pub toml: String,
    /// Variables that it names, with their values.
    variables: BTreeMap<String, Secret>,
    /// Those of them that the settings did not have: for which setting each is.
    new: Vec<(String, String)>,
    /// Names that a new variable may not have.
    taken: BTreeSet<String>,
}

// === impl Written ===

impl Written {
    /// The text of an upstream and a route.
    pub(super) fn new(origin: &upstream::Settings, route: &config::Route) -> Result<Self, String> {
        let mut this =
            Self { toml: String::new(), variables: BTreeMap::new(), new: Vec::new(), taken: BTreeSet::new() };
        let (name, url) = (&route.route.upstream, origin.url.secret());
        let edited = [&route.route.request_headers, &route.route.response_headers];
        let values = edited.into_iter().flat_map(|edits| edits.set.values()).chain([url]);
        this.taken = values.filter_map(Secret::variable).map(str::to_owned).collect();
        let of_route = format!("{}_", as_variable(&route.route.name));
        let mut origin = unlike(origin, &upstream::Settings::default())?;
        let written = if url.is_here() {
            // It has no user and no query: settings refuse both.
            Value::from(url.reveal())
        } else {
            this.reference(url, None)
        };
        origin.insert("url".to_owned(), written);
        let edits = [
            ("request_headers", "ORIGIN", &route.route.request_headers),
            ("response_headers", "CLIENT", &route.route.response_headers),
        ];
        let mut route = unlike(route, &config::Route::default())?;
        for (setting, of, edits) in edits {
            if let Some(set) = route.get_mut(setting).and_then(|edits| edits["set"].as_object_mut()) {
                this.refer(set, edits, setting, &format!("{of}_{of_route}"));
            }
        }
        let mut sections = Map::new();
        // A route may name its upstream by URL.
        if !name.contains("://") {
            sections.insert("upstreams".to_owned(), json!({ name.as_str(): origin }));
        }
        sections.insert("routes".to_owned(), json!([route]));
        let mut document = toml_edit::ser::to_document(&sections).map_err(|error| error.to_string())?;
        lay_out(&mut document);
        document.to_string().trim_start().clone_into(&mut this.toml);
        Ok(this)
    }

    /// Reads the settings as the file has them.
    pub(super) fn settings(&self) -> Result<Settings, String> {
        let variables = self.variables.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        let read = config::load_text(Some(("settings".to_owned(), self.toml.clone())), variables);
        read.map_err(|problems| {
            problems.iter().map(|problem| problem.reason.clone()).collect::<Vec<_>>().join("; ")
        })
    }

    /// The route that they make.
    pub(super) fn route(&self) -> Result<Arc<Route>, String> {
        let settings = self.settings()?;
        settings.table().in_order().first().cloned().ok_or_else(|| "no route can be made of it".to_owned())
    }

    /// What is to be done before the file is used.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.new
            .iter()
            .map(|(name, setting)| format!("set {name} in the environment: the value of {setting}"))
    }

    /// Puts a reference into the place of each value that must not be printed.
    fn refer(&mut self, set: &mut Map<String, Value>, edits: &WrittenEdits, setting: &str, of: &str) {
        for (field, value) in &edits.set {
            let named = field.to_ascii_lowercase().parse::<HeaderName>();
            if value.is_here() && !named.is_ok_and(|name| is_credential(&name)) {
                continue;
            }
            let new = value.is_here().then(|| self.unlike_others(format!("{of}{}", as_variable(field))));
            if let Some(new) = &new {
                self.new.push((new.clone(), format!("{setting}.set.{field}")));
            }
            set.insert(field.clone(), self.reference(value, new));
        }
    }

    /// What a file has in the place of a secret: the file or the variable that it is in, or a new variable.
    fn reference(&mut self, secret: &Secret, new: Option<String>) -> Value {
        if let Some(path) = secret.file() {
            return json!({ "file": path });
        }
        let name = secret.variable().map(str::to_owned).or(new).unwrap_or_default();
        self.variables.insert(name.clone(), Secret::here(secret.reveal()));
        json!({ "env": name })
    }

    /// A name for a variable that no other value has. Two fields may differ in what no variable's name shows.
    fn unlike_others(&mut self, name: String) -> String {
        let numbered = (2..).map(|nth| format!("{name}_{nth}"));
        let free = [name.clone()].into_iter().chain(numbered).find(|name| !self.taken.contains(name));
        let free = free.unwrap_or(name);
        self.taken.insert(free.clone());
        free
    }
}

/// A text in the letters of a variable's name.
fn as_variable(text: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
    text.chars().map(plain).collect()
}

/// The settings of a part that are not those of another.
fn unlike<T: Serialize>(part: &T, other: &T) -> Result<Map<String, Value>, String> {
    let all = |part: &T| match serde_json::to_value(part) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("settings are a table".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let (mut part, other) = (all(part)?, all(other)?);
    part.retain(|name, value| other.get(name) != Some(value));
    part.values_mut().for_each(without_nulls);
    Ok(part)
}

/// Removes settings that are not set: a file has no word for that.
fn without_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(without_nulls);
    }
}

/// Gives upstreams and routes sections of their own.
fn lay_out(document: &mut toml_edit::DocumentMut) {
    if let Some(upstreams) = document.get_mut("upstreams").and_then(toml_edit::Item::as_table_like_mut) {
        let mut tables = toml_edit::Table::new();
        tables.set_implicit(true);
        for (name, settings) in upstreams.iter() {
            if let Ok(table) = settings.clone().into_table() {
                tables.insert(name, toml_edit::Item::Table(table));
            }
        }
        document.insert("upstreams", toml_edit::Item::Table(tables));
    }
    if let Some(routes) = document.remove("routes")
        && let Ok(routes) = routes.into_array_of_tables()
    {
        document.insert("routes", toml_edit::Item::ArrayOfTables(routes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that is a word of the file, too short to look for, and one that a list could hold.
    #[test]
    fn a_value_that_must_not_be_printed_leaves_the_words_of_the_file_alone() {
        let text = r#"
            [upstreams.origin]
            url = { env = "ORIGIN_URL" }
            [[routes]]
            name = "api"
            path = "/v1/*"
            upstream = "origin"
            [routes.request_headers.set]
            authorization = "routes"
            x-api-key = "1"
            x-session = { env = "SESSION" }
            x-plain = "plain"
            [routes.response_headers.set]
            x-token = "true"
        "#;
        let env = [("ORIGIN_URL", "http://o.test/routes"), ("SESSION", "name")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = config::load_text(Some(("f".to_owned(), text.to_owned())), env.clone()).unwrap();
        let written = Written::new(&settings.upstreams["origin"], &settings.routes[0]).unwrap();
        let again = written.settings().unwrap();
        assert_eq!(again.upstreams["origin"].url.reveal(), "http://o.test/routes");
        let values = |settings: &Settings| {
            let route = &settings.routes[0].route;
            let all = route.request_headers.set.iter().chain(&route.response_headers.set);
            all.map(|(name, value)| format!("{name}={}", value.reveal())).collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&settings));
        assert!(
            written.toml.contains("x-plain = \"plain\"") && !written.toml.contains("***"),
            "{}",
            written.toml
        );
        for named in [
            "ORIGIN_URL",
            "ORIGIN_API_AUTHORIZATION",
            "ORIGIN_API_X_API_KEY",
            "SESSION",
            "CLIENT_API_X_TOKEN",
        ] {
            assert!(written.toml.contains(&format!("env = \"{named}\"")), "{named}: {}", written.toml);
        }
        let notes: Vec<_> = written.notes().collect();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert_eq!(
            notes[0],
            "set ORIGIN_API_AUTHORIZATION in the environment: the value of request_headers.set.authorization"
        );
    }

    /// Names of fields differ in more than names of variables do, and a variable may be in use already.
    #[test]
    fn every_value_has_a_variable_of_its_own() {
        let text = r#"
            [[routes]]
            name = "my-api"
            upstream = "http://o.test"
            [routes.request_headers.set]
            x-auth-key = "1"
            x_auth_key = "2"
            "x.auth.key" = "3"
            x-session = { env = "ORIGIN_MY_API_X_AUTH_KEY_2" }
        "#;
        let env = [("ORIGIN_MY_API_X_AUTH_KEY_2".to_owned(), "4".to_owned())];
        let settings = config::load_text(Some(("f".to_owned(), text.to_owned())), env).unwrap();
        let origin = settings.origins().remove("http://o.test").unwrap();
        let written = Written::new(&origin, &settings.routes[0]).unwrap();
        let again = written.settings().unwrap();
        let set = &again.routes[0].route.request_headers.set;
        let values = ["x-auth-key", "x_auth_key", "x.auth.key", "x-session"].map(|name| set[name].reveal());
        assert_eq!(values, ["1", "2", "3", "4"], "{}", written.toml);
        let names: BTreeSet<_> = written.new.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn a_secret_in_a_file_stays_there() {
        let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "t-1\n").unwrap();
        let text = format!(
            "[[routes]]\nname = \"api\"\nupstream = \"http://o.test\"\nrequest_headers = {{ set = {{ \
             authorization = {{ file = {path:?} }} }} }}\n"
        );
        let settings = config::load_text(Some(("f".to_owned(), text)), []).unwrap();
        let origin = settings.origins().remove("http://o.test").unwrap();
        let written = Written::new(&origin, &settings.routes[0]).unwrap();
        assert!(written.toml.contains(&format!("file = {path:?}")), "{}", written.toml);
        assert!(written.route().is_ok() && written.notes().next().is_none());
    }
}
