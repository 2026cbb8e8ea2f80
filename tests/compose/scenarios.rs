//! What the fleet in containers is put through.

use serde_json::Value;

use super::engine::Engine;
use super::images::PRODUCT;
use super::stack::{PROXIES, Stack, degraded, fetches, get, herd};
use super::tool::{FILES, S3_FILES, VOLUME_FILES};

/// A body that is not small: it has a place of its own where bodies have one.
const LARGE: &str = "/large?mb=2";

/// The fleet of the README: its promises, and its parts that die.
pub fn the_fleet(engine: &Engine) {
    let stack = Stack::up(engine, &FILES);
    for (service, ..) in PROXIES {
        let lines = stack.log(service);
        let first: Value = serde_json::from_str(&lines[0]).unwrap_or_else(|_| panic!("{lines:?}"));
        assert_eq!(first["event"], "started", "{service}: the log is JSON from its first line");
        let host = stack.inspect(service)["HostConfig"].take();
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["LogConfig"]["Config"]["max-size"], "10m", "{service}");
        assert_eq!(stack.inspect(service)["Config"]["User"], "10001", "{service}");
        assert_eq!(stack.inspect(service)["RestartCount"], 0, "{service}");
    }
    for service in ["origin", "proxy1"] {
        let mounts = stack.inspect(service)["Mounts"].take();
        let volumes = mounts.as_array().unwrap().iter().filter(|mount| mount["Type"] == "volume");
        assert_eq!(volumes.count(), 0, "{service}: {mounts}");
    }

    println!("- a herd over three ports is one fetch");
    let answers = herd("/slow?herd", 10);
    assert!(answers.iter().all(|answer| answer == "fetch 1 of /slow?herd\n"), "{answers:?}");
    assert_eq!(fetches("/slow?herd"), 1);

    println!("- a proxy that is killed is missed by nobody else");
    engine.said(&["kill", &stack.id("proxy3")]);
    assert!(get(8081, "/slow?killed").is_ok());
    assert_eq!(get(8080, "/slow?killed").body(), "fetch 1 of /slow?killed\n");
    stack.compose(&["up", "--detach", "--no-build", "--no-deps", "proxy3"]);
    stack.until_healthy();
    assert!(get(8082, "/slow?killed").cache_status().contains("hit"), "what the fleet has, it has");

    println!("- without the store each goes on by itself, and meets the others again");
    engine.said(&["stop", &stack.id("redis")]);
    stack.until("the store to be missed", || {
        PROXIES.iter().all(|(_, _, admin)| degraded(*admin).is_some_and(|parts| parts.contains("dust")))
    });
    let answers = herd("/slow?alone", 2);
    assert!(answers.iter().all(|answer| answer.starts_with("fetch ")), "{answers:?}");
    assert!((1..=3).contains(&fetches("/slow?alone")), "one each");
    engine.said(&["start", &stack.id("redis")]);
    whole(&stack);
    let answers = herd("/slow?again", 3);
    assert!(answers.iter().all(|answer| answer == "fetch 1 of /slow?again\n"), "{answers:?}");

    println!("- a store that is lost is another life");
    stack.compose(&["up", "--detach", "--no-build", "--no-deps", "--force-recreate", "redis"]);
    stack.until_healthy();
    whole(&stack);
    assert!(herd("/slow?reborn", 3).iter().all(|answer| answer == "fetch 1 of /slow?reborn\n"));

    println!("- one after the other is made anew, and what is under way ends");
    for (service, port, _) in PROXIES {
        let target = format!("/drip?{service}");
        let under_way = std::thread::spawn({
            let target = target.clone();
            move || get(port, &target)
        });
        stack.until("it to be asked", || stack_sees(&target));
        stack.compose(&["up", "--detach", "--no-build", "--no-deps", "--force-recreate", service]);
        let answer = under_way.join().unwrap();
        assert!(answer.is_ok() && answer.body().contains("part 10 of 10"), "{service}: {answer:?}");
        stack.until_healthy();
        assert!(get(port, &format!("/slow?new-{service}")).is_ok(), "{service}");
    }
    stack.down();
}

/// All but small bodies are in a directory that the proxies share.
pub fn with_a_volume(engine: &Engine) {
    let stack = Stack::up(engine, &VOLUME_FILES);
    shares_large_bodies(&stack);
    stack.down();
}

/// All but small bodies are in a bucket, which may be away.
pub fn with_a_bucket(engine: &Engine) {
    let stack = Stack::up(engine, &S3_FILES);
    shares_large_bodies(&stack);

    println!("- a proxy that starts while the bucket is away serves, and does not start over and over");
    engine.said(&["stop", &stack.id("s3")]);
    stack.compose(&["up", "--detach", "--no-build", "--no-deps", "--force-recreate", "proxy3"]);
    stack.until("it to serve", || get(8082, "/slow?away").is_ok());
    assert_eq!(degraded(9082).as_deref(), Some("[\"bodies\"]"));
    let passed = get(8082, "/large?mb=2&away");
    assert!(passed.is_ok() && !passed.cache_status().contains("stored"), "{}", passed.cache_status());
    assert_eq!(stack.inspect("proxy3")["RestartCount"], 0);
    engine.said(&["start", &stack.id("s3")]);
    whole(&stack);
    stack.until("it to have what the others have", || get(8082, LARGE).cache_status().contains("hit"));
    stack.down();
}

/// What one container is told at its start.
pub fn one_container(engine: &Engine) {
    let work = tempfile::TempDir::with_prefix_in("mounted-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = work.path().join("dustgate.toml");
    std::fs::write(
        &config,
        "[dust]\nurl = \"embedded:\"\n[[routes]]\nname = \"a\"\nupstream = \"http://127.0.0.1:9\"\n",
    )
    .unwrap();
    let mounted = format!("{}:/etc/dustgate/dustgate.toml:ro", config.display());
    let said = |arguments: &[&str], command: &[&str]| {
        let mut words = vec!["run", "--rm", "--network", "none", "-v", &mounted];
        words.extend(arguments);
        words.push(PRODUCT);
        words.extend(command);
        let done = engine.docker(&words);
        let text = [done.stdout, done.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat();
        (done.status.code(), text)
    };

    println!("- memory that it may not have is warned of");
    let check = ["check", "-c", "/etc/dustgate/dustgate.toml"];
    let (code, told) = said(&["--memory", "96m"], &check);
    assert!(
        code == Some(0) && told.contains("memory.size = \"256MiB\": does not fit into the 96MiB"),
        "{told}"
    );
    let (_, told) = said(&[], &check);
    assert!(!told.contains("does not fit"), "{told}");

    println!("- a directory that it can't write to is told at the start, with what to do");
    let data = work.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let volume = format!("{}:/var/lib/dustgate/data", data.display());
    let (code, told) = said(&["-v", &volume], &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("user 10001 can't write to") && told.contains("chown 10001"), "{told}");
    let (code, told) = said(&["--read-only"], &[]);
    assert!(code == Some(2) && told.contains("read-only file system"), "{told}");
}

fn shares_large_bodies(stack: &Stack<'_>) {
    println!("- a large body that one has fetched, all have");
    let body = get(8080, LARGE);
    assert!(body.is_ok() && body.body().len() == 2 << 20, "{}", body.cache_status());
    for port in [8081, 8082] {
        stack.until("a hit elsewhere", || get(port, LARGE).cache_status().contains("hit"));
        assert_eq!(get(port, LARGE).body().len(), 2 << 20);
    }
    assert_eq!(fetches(LARGE), 1);
}

/// Waits until no proxy misses a part.
fn whole(stack: &Stack<'_>) {
    for (service, _, admin) in PROXIES {
        stack.until(&format!("{service} to be whole"), || degraded(admin).as_deref() == Some("[]"));
    }
}

/// Whether the origin has been asked for that, by whichever proxy can say.
fn stack_sees(target: &str) -> bool {
    PROXIES.iter().any(|(_, port, _)| get(*port, "/count").body().contains(target))
}
