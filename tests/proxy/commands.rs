//! The other commands: what they print, and the exit codes that scripts go by.

use std::net::SocketAddr;

use crate::support::client::RequestFacts;
use crate::support::command::{Said, finish, run, run_in};
use crate::support::process::{Process, dustgate};
use crate::support::{Answer, Origin, Proxy, Reply, all, until};

fn settings(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let file = directory.path().join("dustgate.toml");
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (directory, name)
}

#[tokio::test]
async fn check_prints_the_routes_in_matching_order() {
    let (_directory, file) = settings(
        r#"
[upstreams.catalog]
url = "http://127.0.0.1:9"
[[routes]]
name = "everything"
path = "/*"
upstream = "catalog"
[[routes]]
name = "products"
host = "api.example.com"
path = ["/v1/products", "/v1/products/*"]
upstream = "catalog"
[[routes]]
name = "direct"
host = "*.example.com"
path = "/v1/products/special"
upstream = "http://127.0.0.1:10"
"#,
    );
    let said = run(&["check", "-c", &file]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let places: Vec<_> =
        ["products", "direct", "everything"].map(|name| said.out.find(name).expect(name)).to_vec();
    assert!(places.is_sorted(), "{}", said.out);
}

#[tokio::test]
async fn check_names_what_can_never_match() {
    let (_directory, file) = settings(
        r#"
[[routes]]
name = "all"
path = "/a/*"
methods = ["GET", "POST"]
upstream = "http://127.0.0.1:9"
[[routes]]
name = "hidden"
path = "/a/b/../c"
upstream = "http://127.0.0.1:9"
"#,
    );
    let said = run(&["check", "-c", &file]).await;
    // Refused or warned about: named either way.
    assert!(format!("{}{}", said.out, said.err).contains("/a/b/../c"), "{said:?}");
}

#[tokio::test]
async fn check_tells_all_that_is_wrong_at_once() {
    let (_directory, file) = settings(
        r#"[server]
listen = "nowhere"
max_target = 8192
idel_timeout = "75s"
[dust]
url = "postgres://localhost"
[upstreams.catalog]
connect_timeout = 2
[[routes]]
name = "one"
path = "no-slash"
upstream = "catalogue"
default_ttl = "soon"
[[routes]]
name = "one"
path = "/x"
upstream = "catalog"
cookies = "eat"
"#,
    );
    for command in ["check", "serve"] {
        let said = run(&[command, "-c", &file]).await;
        assert_eq!(said.code, 2, "{said:?}");
        for (line, key) in [
            (2, "listen"),
            (3, "max_target"),
            (4, "idel_timeout"),
            (6, "url"),
            (7, "url"),
            (8, "connect_timeout"),
            (11, "path"),
            (12, "upstream"),
            (13, "default_ttl"),
            (18, "cookies"),
        ] {
            let is_it = |text: &&str| text.contains(&format!("dustgate.toml:{line}")) && text.contains(key);
            assert!(said.err.lines().any(|text| is_it(&text)), "nothing of line {line}, {key}: {}", said.err);
        }
        assert!(said.err.contains("\"8192B\""), "the right form of a bare number: {}", said.err);
        assert!(said.err.contains("\"2s\""), "{}", said.err);
        assert!(said.err.contains("idle_timeout"), "what was meant: {}", said.err);
    }
}

/// What shows only when an upstream's client is made.
#[tokio::test]
async fn check_finds_what_would_keep_an_instance_from_starting() {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for (upstream, told) in [
        ("tls = { ca = \"/nowhere/ca.pem\" }".to_owned(), "tls.ca: /nowhere/ca.pem: No such file"),
        (format!("tls = {{ ca = {own:?} }}"), "Cargo.toml holds no certificate"),
        (format!("tls = {{ cert = {own:?}, key = {own:?} }}"), "Cargo.toml holds no certificate"),
        ("tls = { server_name = \"a b\" }".to_owned(), "\"a b\" is not a name"),
    ] {
        let (_directory, file) = settings(&format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[bodies]\nurl = \"memory:\"\n\
             [dust]\nurl = \"embedded:\"\n[upstreams.shop]\nurl = \"https://o.test\"\n{upstream}\n\
             [[routes]]\nname = \"r\"\nupstream = \"shop\"\n"
        ));
        for command in ["check", "serve"] {
            let said = run(&[command, "-c", &file]).await;
            assert_eq!(said.code, 2, "{command}: {said:?}");
            assert!(said.err.starts_with("error: upstreams.shop: ") && said.err.contains(told), "{said:?}");
        }
    }
}

#[tokio::test]
async fn an_end_says_how_long_it_takes_and_what_shortens_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("drain_delay = \"1s\"").await;
    proxy.signal("HUP");
    proxy.log.find("what SIGHUP does", |line| line.contains("restart to take new ones").then_some(())).await;
    proxy.signal("INT");
    let told =
        "on SIGINT: accepts for 1s more, then what is under way has 30s; a second signal ends it at once";
    proxy.log.find("what an end takes", |line| line.contains(told).then_some(())).await;
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.code(), Some(4));
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().display();
    for (listen, dust, bodies, told) in [
        (taken.to_string(), "embedded:".to_owned(), "memory:".to_owned(), "another process listens there"),
        (
            "192.0.2.1:0".to_owned(),
            "embedded:".to_owned(),
            "memory:".to_owned(),
            "this machine has no such address",
        ),
        (
            "127.0.0.1:0".to_owned(),
            format!("embedded:{file}"),
            "memory:".to_owned(),
            "embedded:PATH names a directory",
        ),
        (
            "127.0.0.1:0".to_owned(),
            "embedded:".to_owned(),
            format!("file:{file}"),
            "file:PATH names a directory",
        ),
        (
            "127.0.0.1:0".to_owned(),
            "embedded:".to_owned(),
            format!("file:{file}/below"),
            "file:PATH names a directory",
        ),
    ] {
        let (_directory, text) = settings(&format!(
            "[server]\nlisten = \"{listen}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[dust]\nurl = \"{dust}\"\n\
             [bodies]\nurl = \"{bodies}\"\n"
        ));
        let said = run(&["serve", "-c", &text]).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(told), "{told}: {said:?}");
    }
}

/// Only the address of the operator's port is needed, and the variables may be all that there is of it.
#[tokio::test]
async fn commands_that_ask_an_instance_warn_of_nothing_that_is_the_instances() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).admin("token = \"hunter2\"").await;
    proxy.fill("/a").await;
    let empty = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let bare = async |arguments: &[&str]| {
        let mut command = dustgate();
        let at = proxy.admin.to_string();
        command.env("DUSTGATE_ADMIN__LISTEN", at).env("DUSTGATE_ADMIN__TOKEN", "hunter2");
        finish(command.args(arguments).current_dir(&empty)).await
    };
    for arguments in [
        &["explain", "http://api.test/a"][..],
        &["purge", "http://api.test/a"],
        &["purge", "--all"],
        &["check", "--live"],
    ] {
        let said = bare(arguments).await;
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    }
    proxy.kill().await;
    // The answer comes from the settings, and they have no route.
    let said = bare(&["explain", "http://api.test/a"]).await;
    assert!(said.err.contains("explained from the settings alone"), "{said:?}");
    assert!(said.err.contains("warning: there are no routes"), "{said:?}");
    let said = bare(&["purge", "--all"]).await;
    assert!(said.code == 1 && !said.err.contains("warning"), "{said:?}");
    let mut sweep = dustgate();
    sweep.arg("sweep").env("DUSTGATE_BODIES__LINGER", "1ms").current_dir(&empty);
    let said = finish(&mut sweep).await;
    assert!(said.code == 0 && !said.err.contains("warning"), "{said:?}");
}

#[tokio::test]
async fn check_refuses_equal_routes() {
    let (_directory, file) = settings(
        r#"
[[routes]]
name = "one"
path = "/a"
upstream = "http://127.0.0.1:9"
[[routes]]
name = "two"
path = ["/b", "/a"]
upstream = "http://127.0.0.1:9"
"#,
    );
    let said = run(&["check", "-c", &file]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("one") && said.err.contains("two"), "{said:?}");
}

#[tokio::test]
async fn a_file_that_is_not_there() {
    for command in ["check", "serve"] {
        let said = run(&[command, "-c", "/nowhere/dustgate.toml"]).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("/nowhere/dustgate.toml"), "{said:?}");
    }
}

#[tokio::test]
async fn off_loopback_the_operators_port_needs_a_token() {
    let (_directory, file) = settings("[admin]\nlisten = \"0.0.0.0:8081\"\n");
    let said = run(&["check", "-c", &file]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("token"), "{said:?}");
}

#[tokio::test]
async fn the_environment_goes_before_the_file() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let elsewhere = Origin::answering(Answer::cacheable("elsewhere")).await;
    let proxy = Proxy::before(&origin)
        .env("DUSTGATE_UPSTREAMS__ORIGIN__URL", &format!("http://{}", elsewhere.at))
        .env("DUSTGATE_SERVER__NAME", "named")
        // What Kubernetes injects for a Service of that name is no setting.
        .env("DUSTGATE_PORT", "tcp://10.0.0.1:80")
        .env("DUSTGATE_SERVICE_HOST", "10.0.0.1")
        .await;
    let reply = proxy.get("/a").await;
    reply.assert(200, "elsewhere");
    assert!(reply.field("cache-status").starts_with("named;"));
}

#[tokio::test]
async fn explain_tells_by_its_exit_code() {
    let origin = Origin::answering(Answer::cacheable("hello").field("ETag", "\"a1\"")).await;
    let proxy = Proxy::before(&origin).route("host = \"api.test\"").await;
    proxy.fill("/a").await;
    let explain = async |arguments: &[&str]| proxy.command(&[&["explain"], arguments].concat()).await;

    let hit = explain(&["http://api.test/a"]).await;
    assert_eq!(hit.code, 0, "{hit:?}");
    for word in ["route", "upstream", "key", "request", "stored", "freshness", "purge", "answer", "because"] {
        assert!(hit.out.lines().any(|line| line.starts_with(word)), "no {word} in {}", hit.out);
    }
    assert!(hit.out.contains("dustgate; hit; ttl="), "{}", hit.out);
    assert!(hit.out.contains("\"a1\""), "{}", hit.out);
    // Names in the store are for those who look there.
    assert!(!hit.out.contains("_dust:"), "{}", hit.out);
    for more in ["-v", "--verbose"] {
        let more = explain(&["http://api.test/a", more]).await;
        assert_eq!(more.code, 0, "{more:?}");
        assert!(more.out.contains("\nentries    dustgate/1/") && more.out.contains("_dust:sf/"), "{more:?}");
        assert_eq!(more.out.lines().count(), hit.out.lines().count() + 1);
    }

    assert_eq!(explain(&["http://api.test/b"]).await.code, 3, "would miss");
    assert_eq!(explain(&["http://api.test/a", "-X", "POST"]).await.code, 4, "would pass");
    assert_eq!(explain(&["http://api.test/b", "-H", "Authorization: x"]).await.code, 4, "would pass");
    assert_eq!(explain(&["http://other.test/a"]).await.code, 2, "no route");
    assert_eq!(explain(&["not a url"]).await.code, 2);

    let json = explain(&["http://api.test/a", "--json"]).await;
    assert_eq!(json.code, 0);
    serde_json::from_str::<serde_json::Value>(&json.out).expect("JSON");
    assert_eq!(origin.total(), 1, "it never fetches");
}

#[tokio::test]
async fn purge_purges() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).admin("token = \"hunter2\"").await;
    proxy.fill("/a").await;
    proxy.fill("/b").await;
    let said = proxy.command(&["purge", "http://api.test/a"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("\"number\"") || said.out.contains("number"), "{said:?}");
    assert!(!proxy.get("/a").await.is_hit());
    assert!(proxy.get("/b").await.is_hit());
    assert_eq!(proxy.command(&["purge", "--all"]).await.code, 0);
    assert!(!proxy.get("/b").await.is_hit());
    // Nothing to purge, nobody to ask.
    assert_ne!(proxy.command(&["purge"]).await.code, 0);
    proxy.kill().await;
    let said = proxy.command(&["purge", "--all"]).await;
    assert_ne!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn demo_tells_what_to_try_and_what_it_tells_is_true() {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let process = Process::start(
        dustgate()
            .args(["demo", "--port", "0", "--admin-port", "0", "--delay-ms", "100"])
            .current_dir(&directory),
    );
    let line = process
        .err
        .find("listening on", |line| line.split_once("listening on http://").map(|(_, at)| at.to_owned()));
    let at: std::net::SocketAddr = line.await.trim().parse().unwrap();
    let curl = process
        .out
        .find("a curl line", |line| line.contains(&format!("curl -i http://{at}/slow")).then_some(()));
    curl.await;
    let get =
        |target: &str| crate::support::client::RequestFacts::new(at, "GET", target).host(&at.to_string());
    let miss = get("/slow").await;
    assert_eq!((miss.status, miss.cache_status()), (200, "dustgate; fwd=uri-miss; stored"));
    let filled = async |path: &str| {
        let is_it = |line: &str| (line.contains(" fill ") && line.contains(path)).then_some(());
        process.out.find(&format!("the line of a fill of {path}"), is_it).await;
    };
    filled("/slow").await;
    assert!(get("/slow").await.is_hit());
    assert!(get("/private").await.cache_status().contains("detail=private"));
    assert_eq!(get("/fail").await.status, 500);
    assert_eq!(get("/etag").await.status, 200);
    filled("/etag").await;
    assert!(get("/etag").await.cache_status().contains("fwd-status=304"));
    assert_eq!(get("/large?mb=3").await.body.len(), 3 << 20);
    let german = get("/vary").field("Accept-Language", "de").await;
    assert!(german.text().contains("de") && german.field("vary").eq_ignore_ascii_case("accept-language"));
    let count = get("/count").await.json();
    assert_eq!(count["/slow"], 1, "{count}");
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "it leaves nothing behind");
}

#[tokio::test]
async fn the_demos_fleet_asks_once_for_three_ports_with_a_server_and_without_one() {
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for (path, told) in [(path.as_os_str(), "server of their own at"), ("/".as_ref(), "in the memory of")] {
        let process = Process::start(
            dustgate()
                .args(["demo", "--fleet", "--port", "0", "--admin-port", "0", "--delay-ms", "100"])
                .env("PATH", path)
                .current_dir(&directory),
        );
        let told = process.out.find("where they meet", |line| line.contains(told).then_some(()));
        let curls = process.out.find("the curl lines", |line| {
            let words =
                line.split('\'').filter_map(|word| word.strip_prefix("http://")?.strip_suffix("/slow?fleet"));
            let ports: Vec<SocketAddr> = words.map(|at| at.parse().unwrap()).collect();
            (ports.len() == 3).then_some(ports)
        });
        let ((), ports) = tokio::join!(told, curls);
        let get = |at: SocketAddr, target: &str| RequestFacts::new(at, "GET", target).host("127.0.0.1");
        let answers = all(ports.iter().map(|at| get(*at, "/slow?fleet").send())).await;
        assert!(answers.iter().all(|answer| answer.text() == "fetch 1 of /slow?fleet\n"), "{answers:?}");
        until("it to be a hit everywhere", async || {
            let answers = all(ports.iter().map(|at| get(*at, "/slow?fleet").send())).await;
            answers.iter().all(Reply::is_hit).then_some(())
        })
        .await;
        assert_eq!(get(ports[0], "/count").await.json()["/slow?fleet"], 1);
        process.signal("INT");
        assert_eq!(process.ended().await.code(), Some(0));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "it leaves nothing behind");
    }
}

#[tokio::test]
async fn the_demos_origin_is_asked_whether_it_answers() {
    let process =
        Process::start(dustgate().args(["demo", "--origin-only", "127.0.0.1:0", "--delay-ms", "60000"]));
    let at = process
        .err
        .find("its address", |line| line.strip_prefix("a slow origin on http://").map(str::to_owned));
    let at = at.await;
    let live = ["demo", "--live", "--origin-only", &at];
    let said = run(&live).await;
    assert_eq!((said.code, said.out), (0, format!("a slow origin answers on http://{at}")));
    process.signal("TERM");
    process.ended().await;
    assert_eq!(run(&live).await.code, 1);
    assert_eq!(run(&["demo", "--live"]).await.code, 2);
}

#[tokio::test]
async fn the_settings_that_come_with_it_are_right() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["config/dustgate.toml", "config/reference.toml"] {
        let said: Said = run_in(root, &["check", "-c", file]).await;
        assert_eq!(said.code, 0, "{file}: {said:?}");
    }
}

#[tokio::test]
async fn help_and_version() {
    for (arguments, word) in [
        (&["--help"][..], "serve"),
        (&["serve", "--help"], "--config"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let said = run(arguments).await;
        assert_eq!(said.code, 0);
        assert!(said.out.contains(word), "{said:?}");
    }
    assert_eq!(run(&["no-such-command"]).await.code, 2);
}
