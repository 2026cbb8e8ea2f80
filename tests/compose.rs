//! The fleet in containers: what docker-compose.yml and the Dockerfile name is there and fits
//! together, as the compose tool itself reads it. Then the fleet is brought up, in the Docker engine that
//! runs here or in one of the tests' own.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "compose/engine.rs"]
mod engine;
#[path = "compose/images.rs"]
mod images;
#[path = "compose/scenarios.rs"]
mod scenarios;
#[path = "compose/stack.rs"]
mod stack;
#[path = "support/kit.rs"]
mod support;
#[path = "compose/tool.rs"]
mod tool;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use tool::{FILES, S3_FILES, VOLUME_FILES, config, root};

const PROXIES: [(&str, u16); 3] = [("proxy1", 0), ("proxy2", 1), ("proxy3", 2)];

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn dustgate(arguments: &[&str], env: &[(&str, &str)]) -> (bool, String) {
    let done = support::process::dustgate()
        .args(arguments)
        .envs(env.iter().copied())
        .current_dir(root())
        .output()
        .unwrap();
    (done.status.success(), [done.stdout, done.stderr].map(|out| String::from_utf8(out).unwrap()).concat())
}

/// The instructions of the Dockerfile, continued lines joined.
fn instructions() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    joined.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_fleet_is_three_proxies_a_store_and_an_origin() {
    let config = config(&FILES);
    let services = &config["services"];
    for (name, at) in PROXIES {
        let proxy = &services[name];
        let ports = proxy["ports"].to_string();
        for port in [8080 + at, 9080 + at] {
            assert!(ports.contains(&port.to_string()), "{name}: {port} is not in {ports}");
        }
        assert_eq!(proxy["depends_on"]["redis"]["condition"], "service_healthy", "{name}");
        assert_eq!((&proxy["init"], &proxy["restart"]), (&true.into(), &"unless-stopped".into()), "{name}");
        let check = texts(&proxy["healthcheck"]["test"]);
        assert_eq!(check[..4], ["CMD", "dustgate", "check", "--live"], "{name}");
        assert_eq!(texts(&proxy["command"])[..2], ["serve", "-c"], "{name}");
        let mounted = proxy["volumes"].to_string();
        assert!(mounted.contains("/etc/dustgate/fleet.toml"), "{mounted}");
        assert!(!mounted.contains("/var/lib/dustgate/data"), "{mounted}");
    }
    assert!(config["volumes"].is_null(), "the store is all that they share");
    let redis = &services["redis"];
    assert!(texts(&redis["command"]).contains(&"noeviction".to_owned()), "leases are not to be evicted");
    assert!(redis["healthcheck"]["test"].to_string().contains("ping"));
    assert_eq!(texts(&services["origin"]["command"])[..2], ["demo", "--origin-only"]);
    // Each is waited for, and fills no disk with its log.
    for (name, service) in services.as_object().unwrap() {
        let check = &service["healthcheck"];
        assert!(check["disable"] != true && !texts(&check["test"]).is_empty(), "{name}: {check}");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name}");
    }
    let asks = texts(&services["origin"]["healthcheck"]["test"]);
    assert_eq!(asks[..3], ["CMD", "dustgate", "demo"]);
    assert!(asks.contains(&"--live".to_owned()), "{asks:?}");
    // What depends on each other is there.
    for (name, service) in services.as_object().unwrap() {
        for on in service["depends_on"].as_object().into_iter().flatten().map(|(on, _)| on) {
            assert!(!services[on].is_null(), "{name} depends on {on}");
        }
    }
}

#[test]
fn with_a_volume_the_proxies_share_a_directory() {
    let config = config(&VOLUME_FILES);
    let services = &config["services"];
    let shared: Vec<_> = PROXIES.iter().map(|(name, _)| services[*name]["volumes"].to_string()).collect();
    assert!(shared.windows(2).all(|pair| pair[0] == pair[1]), "{shared:?}");
    for kept in ["/etc/dustgate/fleet.toml", "/var/lib/dustgate/data"] {
        assert!(shared[0].contains(kept), "{shared:?}");
    }
    let env = &services["proxy1"]["environment"];
    assert_eq!(env["ADMIN_TOKEN"], "demo", "the override keeps the rest");
    let set =
        ["DUSTGATE_BODIES__URL", "DUSTGATE_BODIES__SIZE"].map(|name| (name, env[name].as_str().unwrap()));
    assert!(set[0].1.starts_with("file:/var/lib/dustgate/data/"), "{set:?}");
    let (fine, said) =
        dustgate(&["check", "-c", "config/fleet.toml"], &[("ADMIN_TOKEN", "demo"), set[0], set[1]]);
    assert!(fine, "{said}");
}

#[test]
fn with_a_bucket_the_proxies_have_its_url_and_keys() {
    let config = config(&S3_FILES);
    let services = &config["services"];
    for (name, _) in PROXIES {
        let proxy = &services[name];
        let env = &proxy["environment"];
        let url = env["DUSTGATE_BODIES__URL"].as_str().unwrap();
        assert!(url.starts_with("s3://"), "{url}");
        assert_eq!(proxy["depends_on"]["bucket"]["condition"], "service_completed_successfully");
        assert_eq!(proxy["depends_on"]["redis"]["condition"], "service_healthy");
        assert_eq!(env["AWS_ACCESS_KEY_ID"], services["s3"]["environment"]["RUSTFS_ACCESS_KEY"]);
        assert_eq!(env["AWS_SECRET_ACCESS_KEY"], services["s3"]["environment"]["RUSTFS_SECRET_KEY"]);
        assert_eq!(env["ADMIN_TOKEN"], "demo", "the override keeps the rest");
        let set = [("ADMIN_TOKEN", "demo"), ("DUSTGATE_BODIES__URL", url)];
        let (fine, said) = dustgate(&["check", "-c", "config/fleet.toml"], &set);
        assert!(fine, "{said}");
        let bucket = url.trim_start_matches("s3://").split(['/', '?']).next().unwrap();
        let made = services["bucket"]["command"].to_string();
        assert!(made.contains(&format!("--bucket {bucket}")), "{made}");
    }
}

#[test]
fn the_settings_of_the_fleet_are_accepted() {
    let (fine, said) = dustgate(&["check", "-c", "config/fleet.toml"], &[("ADMIN_TOKEN", "demo")]);
    assert!(fine, "{said}");
    let settings = std::fs::read_to_string(root().join("config/fleet.toml")).unwrap();
    let config = config(&FILES);
    // The names that the settings have for the others are those of services.
    for (url, service) in [("redis://redis:6379", "redis"), ("http://origin:8000", "origin")] {
        assert!(settings.contains(url) && !config["services"][service].is_null(), "{url}");
    }
    for port in ["8080", "8090"] {
        assert!(settings.contains(&format!("0.0.0.0:{port}")), "{port} is what is published");
    }
}

#[test]
fn the_image_has_what_it_names() {
    let instructions = instructions();
    let of = |word: &str| -> Vec<Vec<String>> {
        let found = instructions.iter().filter_map(|line| line.strip_prefix(&format!("{word} ")));
        found.map(|rest| rest.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut copied = Vec::new();
    for words in of("COPY") {
        if words[0] == "--from=build" {
            assert_eq!(words[1], "/src/target/release/dustgate");
        }
        if words[0].starts_with("--from=") {
            continue;
        }
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{source} is copied and not there");
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is ignored");
            copied.push(source.clone());
        }
    }
    // All that the build reads.
    for source in ["Cargo.toml", "Cargo.lock", "src"] {
        assert!(copied.iter().any(|copy| copy == source), "{source} is not copied");
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("default-run = \"dustgate\""), "the binary has another name");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let rust = rust.trim_matches('"');
    assert!(of("FROM")[0][0].starts_with(&format!("rust:{rust}-")), "the compiler");
    let toolchain = std::fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    assert!(toolchain.contains(&format!("channel = \"{rust}.")), "the compiler that tests it");
    let uid = &of("USER")[0][0];
    assert!(uid.parse::<u32>().is_ok_and(|uid| uid > 0), "a number, so that it can be seen not to be root");
    assert!(of("RUN").concat().iter().any(|word| word.contains(&format!(":{uid}:"))), "the user is made");
    assert_eq!(of("STOPSIGNAL"), [["SIGTERM"]]);
    // Every command of ours is one that the binary has.
    for line in &instructions {
        if let Some(at) = line.find("CMD [") {
            let words: Vec<String> = serde_json::from_str(&line[at + 4..]).unwrap();
            let words: Vec<_> = words.iter().map(String::as_str).filter(|word| *word != "dustgate").collect();
            let (fine, help) = dustgate(&[words[0], "--help"], &[]);
            assert!(fine, "{line}: {help}");
            for flag in words.iter().filter(|word| word.starts_with('-')) {
                assert!(help.contains(flag), "{line}: {flag}");
            }
        }
    }
}

/// The first layers of the build have no source of ours: the lock file fits them all the same.
#[test]
fn the_layer_of_dependencies_can_be_built() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let instructions = instructions();
    let before = instructions.iter().take_while(|line| !line.starts_with("RUN "));
    for line in before.filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let (below, files) = words.split_last().expect("where to stands last");
        for file in files {
            let name = file.rsplit('/').next().expect("a path has a last part");
            std::fs::create_dir_all(at(below)).unwrap();
            std::fs::copy(root().join(file), at(below).join(name)).unwrap();
        }
    }
    std::fs::create_dir(at("src")).unwrap();
    std::fs::write(at("src/main.rs"), "fn main() {}\n").unwrap();
    std::fs::write(at("src/lib.rs"), "").unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let read = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--edges", "normal,build"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

#[test]
fn the_fleet_comes_up_in_containers_and_bears_what_the_pages_say() {
    let engine = engine::Engine::find();
    if engine.is_own() {
        images::make(&engine);
        scenarios::one_container(&engine);
    }
    scenarios::with_a_volume(&engine);
    scenarios::with_a_bucket(&engine);
    scenarios::the_fleet(&engine);
    if !engine.is_own() {
        // Only now does it have the image.
        scenarios::one_container(&engine);
    }
}

#[test]
fn the_files_are_where_the_readers_look() {
    for file in FILES.iter().chain(&VOLUME_FILES).chain(&S3_FILES) {
        assert!(Path::new(&root().join(file)).is_file(), "{file}");
    }
}
