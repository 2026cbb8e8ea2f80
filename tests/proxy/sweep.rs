//! What `dustgate sweep --dry-run` says would go, and that it takes nothing.

use std::path::{Path, PathBuf};

use crate::support::command::{Said, finish};
use crate::support::process::dustgate;
use crate::support::{Answer, Origin, Proxy};

/// All files below a directory.
fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

async fn sweep(proxy: &Proxy, linger: &str, arguments: &[&str]) -> Said {
    let mut command = dustgate();
    command.arg("sweep").args(arguments).args(["-c", proxy.config()]).current_dir(proxy.directory());
    command.env("DUSTGATE_BODIES__LINGER", linger);
    finish(&mut command).await
}

/// A proxy that has ended, with a body that a record names and one that none names any more.
async fn with_an_orphan() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.on("/a", Answer::cacheable(vec![b'a'; 100_000]));
    origin.on("/b", Answer::cacheable(vec![b'b'; 50_000]));
    let proxy = Proxy::before(&origin).bodies("linger = \"10m\"").await;
    proxy.fill("/a").await;
    proxy.purge_url("/a").await;
    for path in ["/a", "/b"] {
        proxy.fill(path).await;
    }
    proxy.signal("TERM");
    proxy.ended().await;
    (origin, proxy)
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_why_and_takes_nothing() {
    let (origin, proxy) = with_an_orphan().await;
    let bodies = proxy.directory().join("bodies");
    let before = files(&bodies);
    let young = sweep(&proxy, "1h", &["--dry-run"]).await;
    assert_eq!(young.code, 0, "{young:?}");
    assert!(
        young.out.contains("1 objects of") && young.out.contains("younger than bodies.linger"),
        "{young:?}"
    );
    assert!(young.out.contains("\n0 objects of 0 B would go"), "{young:?}");
    let old = sweep(&proxy, "1ms", &["--dry-run"]).await;
    assert!(old.code == 0 && old.out.contains("\n1 objects of"), "{old:?}");
    assert!(old.out.contains(" would go: no record names them"), "{old:?}");
    assert_eq!(old.out.lines().filter(|line| line.starts_with("  ")).count(), 1, "{old:?}");
    assert_eq!(files(&bodies), before);
    // A sweep takes what was said, and what records name is served without the origin.
    let swept = sweep(&proxy, "1ms", &[]).await;
    assert!(swept.code == 0 && swept.out.contains("; 1 removed"), "{swept:?}");
    let none = sweep(&proxy, "1ms", &["--dry-run"]).await;
    assert!(none.out.contains("\n0 objects of 0 B would go"), "{none:?}");
    let fetched = origin.total();
    let proxy = proxy.start_again().await;
    for (path, length) in [("/a", 100_000), ("/b", 50_000)] {
        let reply = proxy.get(path).await;
        assert!(reply.is_hit() && reply.body.len() == length, "{path}");
    }
    assert_eq!(origin.total(), fetched);
}
