//! What settings come to: values, secrets, the environment.

use super::*;

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
vary_on = ["authorization", "cookie:session", "x-api-key", "x-session-key", "x-other"]
secret_headers = ["X-Session-Key", "x_session_key", "x-license"]
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
    assert_eq!(settings.server.trusted_proxies.0[0].to_string(), "10.1.2.3/32");
    assert_eq!(settings.log.format, Format::Text);
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
    assert_eq!(one.rules.secrets, ["x-license", "x-session-key"]);
    assert_eq!(one.rules.keyed_secrets, ["x-api-key", "x-session-key"]);
    assert!(two.rules.secrets.is_empty() && two.rules.keyed_secrets.is_empty());
    assert!(!two.rules.if_error_set && two.rules.if_error_ms == 600_000);
    assert_eq!(two.rules.targeted[0], "cdn-cache-control");
}

#[test]
fn a_redis_keeps_the_bodies_too_unless_they_have_a_place() {
    let redis = "[dust]\nurl = \"redis://h\"\n";
    let of = |text: &str| {
        let settings = ok(&format!("{redis}{text}\n{ROUTE}"));
        let most = settings.table().in_order()[0].rules.max_object_size;
        (settings.bodies.url.to_string(), most >> 20)
    };
    assert_eq!(of(""), ("dust:".to_owned(), 8));
    assert_eq!(of("[bodies]\nsize = \"1GiB\""), ("dust:".to_owned(), 8));
    assert_eq!(of("[bodies]\nlarge = \"s3://bucket\""), ("dust:".to_owned(), 1024));
    assert_eq!(of("[bodies]\nurl = \"file:/shared\""), ("file:/shared".to_owned(), 1024));
    let alone = ok(&format!("[bodies]\nurl = \"dust:\"\n{ROUTE}max_object_size = \"1GiB\""));
    assert_eq!(alone.table().in_order()[0].rules.max_object_size, 1 << 30, "what is written stands");
    assert_eq!(ok(ROUTE).bodies.url.to_string(), "file:./data/bodies");
    let set = [("DUSTGATE_DUST__URL", "redis://h"), ("DUSTGATE_BODIES__URL", "file:/shared")];
    let settings = load_env(ROUTE, &set[..1]).unwrap();
    assert_eq!(settings.bodies.url.to_string(), "dust:");
    assert_eq!(load_env(ROUTE, &set).unwrap().bodies.url.to_string(), "file:/shared");
}

#[test]
fn secrets_are_masked_wherever_they_print() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "from-a-file\r\n").unwrap();
    let text = format!(
        "[admin]\nlisten = \"0.0.0.0:8081\"\ntoken = {{ file = {file:?} }}\n\
         [dust]\nurl = \"redis://user:hunter2@h\"\n[upstreams.o]\nurl = \"https://o\"\n\
         [[routes]]\nname = \"r\"\nupstream = \"o\"\n\
         request_headers.set = {{ x-plain = \"shown\", x-api-key = \"hidden\", x-env = {{ env = \"KEY\" }} }}\n\
         [[routes]]\nname = \"s\"\npath = \"/s\"\nupstream = \"https://p\"\n"
    );
    let settings = load_env(&text, &[("KEY", "from-env")]).unwrap();
    assert_eq!(settings.admin.token.as_ref().unwrap().reveal(), "from-a-file");
    assert_eq!(settings.dust.store.url.reveal(), "redis://user:hunter2@h");
    let values = &settings.table().in_order()[1].request_headers.set;
    assert!(values.iter().any(|(name, value)| name == "x-env" && value == "from-env"), "{values:?}");

    let shown = settings.in_force().to_string() + &format!("{settings:?}");
    for secret in ["from-a-file", "hunter2", "hidden", "from-env"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let json = settings.in_force();
    assert_eq!(json["admin"]["token"], "***");
    assert_eq!(json["dust"]["url"], "redis://user:***@h");
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
    assert_eq!(settings.server.max_target, 1024);
    assert_eq!(settings.server.addresses().len(), 2);
    assert_eq!(settings.server.trusted_proxies.0.len(), 2);
    assert_eq!(settings.server.max_connections, 7);
    assert_eq!(settings.server.drain, Duration::from_mins(1));
    assert_eq!(settings.admin.token.as_ref().unwrap().reveal(), "12345");
    assert!(settings.admin.metrics_token);
    assert_eq!(settings.dust.flight.on_unavailable, OnUnavailable::Error);
    assert_eq!(settings.dust.store.prefix, "2024");
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
        ("DUSTGATE_DUST__URL", "redis://:hunter2@h/x"),
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
            "environment: DUSTGATE_DUST__URL = \"redis://:***@h/x\": /x is no database: a number is meant, such as /0",
        ]
    );
}
