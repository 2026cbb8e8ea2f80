//! Settings: what is read, and what is said about what cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use dustgate::config::{self, Problem, Settings};
use dustgate::flight::OnUnavailable;
use dustgate::key::target::canonical_url;
use dustgate::telemetry::log::Format;
use dustgate::{route, upstream};
use http::Method;
use serde_json::Value;

#[path = "config/addresses.rs"]
mod addresses;

#[path = "config/values.rs"]
mod values;

#[path = "config/anything.rs"]
mod anything;

#[path = "config/problems.rs"]
mod problems;

#[path = "config/webhooks.rs"]
mod webhooks;

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
    let origin = upstream::Settings::new("https://origin.example.com");
    defaults.upstreams.insert("example".to_owned(), origin);
    let route =
        route::Settings { name: "example".to_owned(), upstream: "example".to_owned(), ..Default::default() };
    defaults.routes.push(config::Route { route, ..Default::default() });
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
fn a_rate_that_leaves_most_requests_without_an_answer_is_warned_of() {
    let warned = |upstream: &str| {
        let text = format!(
            "[upstreams.a]\nurl = \"http://h\"\n{upstream}\n[[routes]]\nname = \"r\"\nupstream = \"a\""
        );
        warned(&text).join("\n")
    };
    assert_eq!(warned("max_rate_fleet = \"600/m\"\nretry_after = \"upstream\""), "");
    let slow = warned("max_rate_fleet = \"6/m\"");
    assert!(
        slow.contains("one request begins every 10 s, and none waits longer than queue_timeout = 5s"),
        "{slow}"
    );
    assert_eq!(warned("max_rate_fleet = \"6/m\"\nqueue_timeout = \"30s\""), "");
    assert_eq!(warned("max_rate_fleet = \"6/m\"\nqueue_timeout = \"0s\""), "");
    let small = warned("max_rate_fleet = \"1000/s\"\nmax_rate_burst = 3");
    assert!(small.contains("in which 20 come: the rate is not reached with so small a burst"), "{small}");
}

#[test]
fn a_store_that_may_evict_is_accepted_with_a_word_of_what_is_lost() {
    let text = |dust: &str| {
        format!(
            "[dust]\n{dust}\n[upstreams.a]\nurl = \"http://h\"\n[[routes]]\nname = \"a\"\nupstream = \"a\"\n"
        )
    };
    let warned = |dust: &str| warned(&text(dust)).join("\n");
    let said = warned("url = \"redis://h\"\nallow_eviction = true");
    assert!(said.contains("dust.allow_eviction") && said.contains("purged responses come back"), "{said}");
    assert_eq!(warned("url = \"redis://h\""), "");
    assert_eq!(warned("allow_eviction = true"), "", "the embedded store evicts nothing");
}

#[test]
fn a_variable_with_one_underscore_where_two_are_meant_is_named() {
    let text = "[upstreams.my-catalog]\nurl = \"http://h\"\n[admin]\ntoken = { env = \"DUSTGATE_ADMIN_TOKEN\" }\n\
         [[routes]]\nname = \"a\"\nupstream = \"my-catalog\"\n";
    let warned = |name: &str| {
        let env = [(name, "5s"), ("DUSTGATE_ADMIN_TOKEN", "t")];
        let settings = load_env(text, &env).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        lines(settings.warnings())
    };
    for (name, right) in [
        ("DUSTGATE_SERVER_LISTEN", "DUSTGATE_SERVER__LISTEN"),
        ("DUSTGATE_SERVER_MAX_HEADER_SIZE", "DUSTGATE_SERVER__MAX_HEADER_SIZE"),
        ("DUSTGATE_ADMIN_METRICS_TOKEN", "DUSTGATE_ADMIN__METRICS_TOKEN"),
        ("DUSTGATE_DUST_URL", "DUSTGATE_DUST__URL"),
        ("DUSTGATE_DUST_WAIT_TIMEOUT", "DUSTGATE_DUST__WAIT_TIMEOUT"),
        ("DUSTGATE_BODIES_SIZE", "DUSTGATE_BODIES__SIZE"),
        ("DUSTGATE_MEMORY_SIZE", "DUSTGATE_MEMORY__SIZE"),
        ("DUSTGATE_LOG_FORMAT", "DUSTGATE_LOG__FORMAT"),
        ("DUSTGATE_log_format", "DUSTGATE_LOG__FORMAT"),
        ("DUSTGATE_UPSTREAMS_CATALOG_URL", "DUSTGATE_UPSTREAMS__CATALOG__URL"),
        ("DUSTGATE_UPSTREAMS_MY_CATALOG_URL", "DUSTGATE_UPSTREAMS__MY_CATALOG__URL"),
        ("DUSTGATE_UPSTREAMS_MY_CATALOG_TLS_CA", "DUSTGATE_UPSTREAMS__MY_CATALOG__TLS__CA"),
        ("DUSTGATE_UPSTREAMS_A_QUEUE_TIMEOUT", "DUSTGATE_UPSTREAMS__A__QUEUE_TIMEOUT"),
        ("DUSTGATE_UPSTREAMS_A_HOST", "DUSTGATE_UPSTREAMS__A__HOST"),
    ] {
        assert_eq!(warned(name), [format!("environment: {name}: is no setting; did you mean {right}?")]);
    }
    // What Kubernetes puts there for Services called dustgate, dustgate-admin and so on; what others
    // do; and what a secret is read from.
    for name in [
        "DUSTGATE_SERVICE_HOST",
        "DUSTGATE_SERVICE_PORT",
        "DUSTGATE_SERVICE_PORT_HTTP",
        "DUSTGATE_PORT",
        "DUSTGATE_PORT_8080_TCP",
        "DUSTGATE_PORT_8080_TCP_ADDR",
        "DUSTGATE_PORT_8080_TCP_PROTO",
        "DUSTGATE_ADMIN_SERVICE_HOST",
        "DUSTGATE_ADMIN_PORT_8081_TCP_PORT",
        "DUSTGATE_SERVER_SERVICE_HOST",
        "DUSTGATE_UPSTREAMS_A_SERVICE_HOST",
        "DUSTGATE_UPSTREAMS_A_PORT",
        "DUSTGATE_IMAGE",
        "DUSTGATE_",
        "DUSTGATE_SERVER",
        "DUSTGATE_ROUTES",
        "DUSTGATE_UPSTREAMS",
        "DUSTGATE_UPSTREAMS_URL",
        "OTHER_SERVER_LISTEN",
    ] {
        assert_eq!(warned(name), [""; 0], "{name}");
    }
}

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
            "methods = [\"POST\"]",
            "t.toml:4: routes.r.methods = [\"POST\"]: without GET and HEAD nothing is stored, nor answered from what is stored; cache = false says so",
        ),
        (
            "path = \"/a*\"",
            "t.toml:4: routes.r.path = \"/a*\": a * counts only as the last segment; elsewhere it is a *",
        ),
        (
            "upgrade = [\"websocket\"]",
            "t.toml:4: routes.r.upgrade = [\"websocket\"]: not in this version: connections are not upgraded",
        ),
        (
            "purge = { from = [\"0.0.0.0/0\"] }",
            "t.toml:4: routes.r.purge.from = [\"0.0.0.0/0\"]: every client may purge this route",
        ),
        (
            "ignore_cookies = \"analytics\"\ncookies = \"strip\"",
            "t.toml:4: routes.r.ignore_cookies = \"analytics\": cookies = \"strip\" ignores every cookie",
        ),
    ] {
        assert_eq!(warned(&format!("{ROUTE}{line}\n")), [told], "{line}");
    }
    for line in [
        "wait_timeout = \"37s\"",
        "ignore = [\"max-age\"]",
        "path = \"/a/*\"",
        "methods = [\"POST\"]\ncache = false",
        "methods = \"HEAD\"",
        "range = \"segment\"",
    ] {
        assert_eq!(warned(&format!("{ROUTE}{line}\n")), [""; 0], "{line}");
    }
    let cms = "[[admin.tokens]]\nname = \"cms\"\ntoken = \"a\"\nmay = [\"purge\"]\n";
    let said = warned(&format!("{cms}where = {{ hosts = [] }}\n{ROUTE}"));
    assert!(said.len() == 1 && said[0].starts_with("t.toml:5: admin.tokens.cms.where"), "{said:?}");
    assert_eq!(warned(&format!("{cms}{ROUTE}")), [""; 0]);
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
