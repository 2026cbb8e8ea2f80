//! Settings: what is read, and what is said about what cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use dustgate::config::{self, LogFormat, OnUnavailable, Problem, Settings};
use dustgate::key::target::canonical_url;
use http::Method;
use serde_json::Value;

#[path = "config/problems.rs"]
mod problems;

const ROUTE: &str = "[[routes]]\nname = \"r\"\nupstream = \"http://o\"\n";

fn load_env(text: &str, env: &[(&str, &str)]) -> Result<Settings, Vec<Problem>> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config::load_text(Some(("t.toml".to_owned(), text.to_owned())), env)
}

fn load(text: &str) -> Result<Settings, Vec<Problem>> {
    load_env(text, &[])
}

fn ok(text: &str) -> Settings {
    load(text).unwrap_or_else(|problems| panic!("{}", lines(&problems).join("\n")))
}

fn said(text: &str) -> Vec<String> {
    said_env(text, &[])
}

fn said_env(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    load_env(text, env).map_or_else(|problems| lines(&problems), |_| Vec::new())
}

fn warned(text: &str) -> Vec<String> {
    lines(ok(text).warnings())
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// `key: value` of every setting, nested ones with dots; nothing is `null`.
fn flat(value: &Value, at: &str, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flat(value, &if at.is_empty() { key.clone() } else { format!("{at}.{key}") }, out);
            }
        }
        other => _ = out.insert(at.to_owned(), other.clone()),
    }
}

// === files beside this program ===

#[test]
fn the_reference_is_what_the_code_does() {
    let text = std::fs::read_to_string("config/reference.toml").unwrap();
    let written = load(&text).unwrap_or_else(|problems| panic!("{}", lines(&problems).join("\n")));
    assert_eq!(lines(written.warnings()), [""; 0]);

    // The required ones have no default.
    let mut defaults = Settings::default();
    let origin = config::Upstream::at("https://origin.example.com");
    defaults.upstreams.insert("example".to_owned(), origin);
    let route = config::route::Route {
        name: "example".to_owned(),
        upstream: "example".to_owned(),
        ..Default::default()
    };
    defaults.routes.push(route);
    let mut expected = BTreeMap::new();
    flat(&defaults.in_force(), "", &mut expected);
    let mut found = BTreeMap::new();
    flat(&written.in_force(), "", &mut found);
    assert_eq!(found, expected);

    // And every key is there to be found, those without a default behind a hash.
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']).to_owned();
        }
        let hash = line.starts_with("# ");
        if let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ")
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            keys.insert((format!("{table}.{key}"), hash));
            if key == "heuristic" && value.starts_with('{') {
                keys.insert((format!("{table}.{key}.fraction"), false));
                keys.insert((format!("{table}.{key}.max"), false));
                keys.remove(&(format!("{table}.{key}"), hash));
            }
        }
    }
    let sections = defaults.in_force();
    let mut wanted = BTreeSet::new();
    for (section, value) in sections.as_object().unwrap() {
        let value = if section == "routes" { &value[0] } else { value };
        let mut all = BTreeMap::new();
        flat(value, section, &mut all);
        wanted.extend(all.into_iter().map(|(key, value)| (key, value.is_null())));
    }
    assert_eq!(keys, wanted);
}

#[test]
fn the_example_stands() {
    let settings = config::load(Some(Path::new("config/dustgate.toml")), []).unwrap();
    assert_eq!(lines(settings.warnings()), [""; 0]);
    let names: Vec<_> = settings.table().in_order().iter().map(|route| route.name.to_string()).collect();
    assert_eq!(names, ["products", "everything-else"]);
    let products = &settings.table().in_order()[0];
    assert_eq!(products.wait_timeout, Duration::from_secs(27));
    assert_eq!(products.rules.default_ttl_ms, Some(60_000));
    assert_eq!(products.rules.status_ttl_ms[&404], 10_000);
    assert!(products.rules.if_error_set && !settings.table().in_order()[1].rules.if_error_set);
    let target = canonical_url("https://api.example.com/v1/products?b=1&utm_source=x&a=2").unwrap();
    let mut key = String::new();
    let route = settings.table().route(&target, &Method::GET).unwrap();
    route.key_into(&mut key, &target, &http::HeaderMap::new());
    assert_eq!(key, "https://api.example.com/v1/products?a=2&b=1\nx-tenant");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems = config::load(Some(Path::new("nowhere/dustgate.toml")), []).unwrap_err();
    assert!(problems[0].to_string().starts_with("nowhere/dustgate.toml: cannot be read: "), "{problems:?}");
}

#[test]
fn without_a_file_there_are_defaults() {
    let settings = config::load(None, []).unwrap();
    assert_eq!(settings.in_force(), Settings::default().in_force());
    assert_eq!(lines(settings.warnings()), ["there are no routes: every request is answered 421"]);
}

// === warnings ===

#[test]
fn what_is_allowed_and_worth_a_thought() {
    for (line, told) in [
        (
            "ignore = [\"private\"]",
            "t.toml:4: routes.r.ignore = [\"private\"]: what the origin says is for one client only is shared with all who ask for the same URL",
        ),
        (
            "wait_timeout = \"36s\"",
            "t.toml:4: routes.r.wait_timeout = \"36s\": smaller than connect_timeout, first_byte_timeout and 5s together (37s) for route \"r\": who waits for a slow fetch is answered 503 before it can end",
        ),
        ("methods = []", "t.toml:1: routes.r: can never match: its list of methods is empty"),
        (
            "methods = [\"PURGE\"]",
            "t.toml:1: routes.r: can never match: its methods are refused before routes are asked",
        ),
        (
            "path = \"/a*\"",
            "t.toml:4: routes.r.path = \"/a*\": a * counts only as the last segment; elsewhere it is a *",
        ),
        (
            "range = \"segment\"",
            "t.toml:4: routes.r.range = \"segment\": not in this version: a part that misses fetches the whole, as with \"fill\"",
        ),
        (
            "upgrade = [\"websocket\"]",
            "t.toml:4: routes.r.upgrade = [\"websocket\"]: not in this version: connections are not upgraded",
        ),
    ] {
        assert_eq!(warned(&format!("{ROUTE}{line}\n")), [told], "{line}");
    }
    for line in ["wait_timeout = \"37s\"", "ignore = [\"max-age\"]", "path = \"/a/*\""] {
        assert_eq!(warned(&format!("{ROUTE}{line}\n")), [""; 0], "{line}");
    }
    let dust = format!("[dust]\nwait_timeout = \"1s\"\n{ROUTE}");
    assert!(warned(&dust)[0].starts_with("t.toml:2: dust.wait_timeout = \"1s\": smaller than "));
    assert_eq!(
        warned(&format!("{ROUTE}[upstreams.spare]\nurl = \"https://o\"\ntls.insecure = true\n")),
        [
            "t.toml:4: upstreams.spare: no route has this upstream",
            "t.toml:6: upstreams.spare.tls.insecure = true: whoever answers is believed to be this upstream",
        ]
    );
}

// === values ===

#[test]
fn what_is_written_is_in_force() {
    let settings = ok(r#"
[server]
listen = ["127.0.0.1:1", "[::1]:2"]
trusted_proxies = "10.1.2.3"
[log]
format = "text"
[upstreams.o]
url = "http://o:9"
connect_timeout = "1s"
first_byte_timeout = "1500ms"
[[routes]]
name = "one"
host = "*.example.com"
methods = "GET"
upstream = "o"
heuristic = false
keep = "2h"
max_ttl = "1d"
query.include = ["a"]
vary_on = ["authorization", "cookie:session"]
forward = ["x-a"]
finish = "while_wanted"
strip_prefix = "/v1/"
[[routes]]
name = "two"
path = "/two"
upstream = "https://p/base"
heuristic = { max = "5s" }
"#);
    assert_eq!(settings.server.addresses().len(), 2);
    assert_eq!(settings.server.trusted()[0].to_string(), "10.1.2.3/32");
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.origins().keys().collect::<Vec<_>>(), ["https://p/base", "o"]);
    let [one, two] = settings.table().in_order() else { panic!() };
    assert_eq!((&*one.name, &*two.name), ("one", "two"));
    assert_eq!(one.wait_timeout, Duration::from_millis(7500));
    assert_eq!(two.wait_timeout, Duration::from_secs(37));
    assert_eq!(one.strip_prefix.as_deref(), Some("/v1"));
    assert_eq!((one.rules.keep_ms, two.rules.keep_ms), (Some(7_200_000), None));
    assert_eq!((one.rules.max_ttl_ms, two.rules.max_ttl_ms), (Some(86_400_000), None));
    assert!(one.rules.heuristic.is_none());
    let heuristic = two.rules.heuristic.as_ref().unwrap();
    assert_eq!((heuristic.fraction, heuristic.max_ms), (0.1, 5_000));
    assert!(one.rules.keys_authorization && one.rules.keys_cookie);
    assert!(!two.rules.keys_authorization && !two.rules.keys_cookie);
    assert!(!two.rules.if_error_set && two.rules.if_error_ms == 600_000);
    assert_eq!(two.rules.targeted[0], "cdn-cache-control");
}

#[test]
fn secrets_are_masked_wherever_they_print() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from-a-file\r\n").unwrap();
    let text = format!(
        "[admin]\nlisten = \"0.0.0.0:8081\"\ntoken = {{ file = {file:?} }}\n\
         [upstreams.o]\nurl = \"https://user:hunter2@o\"\n\
         [[routes]]\nname = \"r\"\nupstream = \"o\"\n\
         request_headers.set = {{ x-plain = \"shown\", x-api-key = \"hidden\", x-env = {{ env = \"KEY\" }} }}\n\
         [[routes]]\nname = \"s\"\npath = \"/s\"\nupstream = \"https://p\"\n"
    );
    let settings = load_env(&text, &[("KEY", "from-env")]).unwrap();
    assert_eq!(settings.admin.token.as_ref().unwrap().reveal(), "from-a-file");
    assert_eq!(settings.upstreams["o"].url.reveal(), "https://user:hunter2@o");
    let values = &settings.table().in_order()[1].request_headers.set;
    assert!(values.iter().any(|(name, value)| name == "x-env" && value == "from-env"), "{values:?}");

    let shown = settings.in_force().to_string() + &format!("{settings:?}");
    for secret in ["from-a-file", "hunter2", "hidden", "from-env"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let json = settings.in_force();
    assert_eq!(json["admin"]["token"], "***");
    assert_eq!(json["upstreams"]["o"]["url"], "https://user:***@o");
    assert_eq!(json["routes"][0]["request_headers"]["set"]["x-plain"], "shown");
    assert_eq!(json["server"]["drain"], "30s");
}

// === environment ===

#[test]
fn the_environment_is_last() {
    let text = format!(
        "[server]\nname = \"file\"\nmax_target = \"1KiB\"\n[upstreams.my-api]\nurl = \"http://file\"\n{ROUTE}"
    );
    let settings = load_env(
        &text,
        &[
            ("DUSTGATE_SERVER__NAME", "env"),
            ("DUSTGATE_SERVER__LISTEN", "127.0.0.1:1,127.0.0.1:2"),
            ("DUSTGATE_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\", \"::1\"]"),
            ("DUSTGATE_SERVER__MAX_CONNECTIONS", "7"),
            ("DUSTGATE_SERVER__DRAIN", "1m"),
            ("DUSTGATE_ADMIN__TOKEN", "12345"),
            ("DUSTGATE_ADMIN__METRICS_TOKEN", "true"),
            ("DUSTGATE_DUST__ON_UNAVAILABLE", "error"),
            ("DUSTGATE_DUST__PREFIX", "2024"),
            ("DUSTGATE_UPSTREAMS__MY_API__URL", "http://env"),
            ("DUSTGATE_UPSTREAMS__OTHER__URL", "{ env = \"OTHER_URL\" }"),
            ("DUSTGATE_UPSTREAMS__OTHER__TLS__SERVER_NAME", "007"),
            ("OTHER_URL", "https://other"),
            // Not ours, or not settings: a Service of our name puts these into every pod.
            ("DUSTGATE_SERVICE_HOST", "10.0.0.1"),
            ("DUSTGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("DUSTGATE_PORT", "tcp://10.0.0.1:8080"),
            ("dustgate_server__name", "small"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap_or_else(|problems| panic!("{}", lines(&problems).join("\n")));
    assert_eq!(settings.server.name, "env");
    assert_eq!(settings.server.max_target.0, 1024);
    assert_eq!(settings.server.addresses().len(), 2);
    assert_eq!(settings.server.trusted().len(), 2);
    assert_eq!(settings.server.max_connections, 7);
    assert_eq!(settings.server.drain.ms(), 60_000);
    assert_eq!(settings.admin.token.as_ref().unwrap().reveal(), "12345");
    assert!(settings.admin.metrics_token);
    assert_eq!(settings.dust.on_unavailable, OnUnavailable::Error);
    assert_eq!(settings.dust.prefix, "2024");
    assert_eq!(settings.upstreams["my-api"].url.reveal(), "http://env");
    assert_eq!(settings.upstreams["other"].url.reveal(), "https://other");
    assert_eq!(settings.upstreams["other"].tls.server_name.as_deref(), Some("007"));
}

#[test]
fn mistakes_in_the_environment_are_told_by_variable() {
    let env = [
        ("DUSTGATE_SERVER__LISTNE", "x"),
        ("DUSTGATE_SERVER__DRAIN", "30"),
        ("DUSTGATE_SERVER__MAX_CONNECTIONS", "many"),
        ("DUSTGATE_ROUTES__0__NAME", "x"),
        ("DUSTGATE_LOGS__FORMAT", "text"),
        ("DUSTGATE_UPSTREAMS__X", "http://h"),
        ("DUSTGATE_DUST__URL", "redis://:hunter2@h"),
        ("DUSTGATE_ADMIN__TOKEN__NAME", "hunter2"),
        ("DUSTGATE_SERVER__", "x"),
    ];
    assert_eq!(
        said_env(ROUTE, &env),
        [
            "environment: DUSTGATE_ADMIN__TOKEN__NAME = ***: no such setting; there are env, file",
            "environment: DUSTGATE_LOGS__FORMAT = \"text\": no such setting; did you mean log?",
            "environment: DUSTGATE_ROUTES__0__NAME = \"x\": routes come from the file; the environment may set everything else",
            "environment: DUSTGATE_SERVER__ = \"x\": no such setting",
            "environment: DUSTGATE_SERVER__DRAIN = \"30\": a duration has a unit: ms, s, m, h or d; write \"30s\"",
            "environment: DUSTGATE_SERVER__LISTNE = \"x\": no such setting; did you mean listen?",
            "environment: DUSTGATE_SERVER__MAX_CONNECTIONS = \"many\": a whole number is meant",
            "environment: DUSTGATE_UPSTREAMS__X = \"http://h\": no such setting; DUSTGATE_UPSTREAMS__NAME__URL sets an upstream's url",
            "environment: DUSTGATE_DUST__URL = \"redis://:***@h\": redis: is not in this build yet; there is embedded:PATH",
        ]
    );
}
