//! What is left of a process that was killed, and what the next one makes of it.

use std::path::{Path, PathBuf};

use crate::support::process::{Process, dustgate};
use crate::support::{Answer, End, Gate, Origin, Proxy, until};

/// All objects of the body store, but the one that only says that it is there.
fn objects(proxy: &Proxy) -> Vec<PathBuf> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path
                .file_name()
                .is_some_and(|name| name != "here" && !name.to_string_lossy().contains('#'))
            {
                // A half-written file has a `#` in its name, and stays for as long as a put may take.
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&proxy.directory().join("bodies"), &mut found);
    found.sort();
    found
}

#[tokio::test]
async fn records_outlive_the_process() {
    let origin = Origin::start().await;
    origin.on("/small", Answer::cacheable("hello").field("ETag", "\"a\"").field("X-Own", "kept"));
    origin.on("/large", Answer::status(200).cache("max-age=60").pattern(3 << 20));
    origin.on("/vary", Answer::cacheable("varies").field("Vary", "Accept"));
    origin.on("/gone", Answer::status(404).cache("max-age=60").part("gone"));
    let proxy = Proxy::before(&origin).await;
    let mut before = Vec::new();
    for path in ["/small", "/large", "/vary", "/gone"] {
        before.push(proxy.filled_by(proxy.get(path).field("Accept", "text/plain")).await);
    }
    let proxy = proxy.restart().await;
    for (path, before) in ["/small", "/large", "/vary", "/gone"].iter().zip(before) {
        for _ in 0..2 {
            let after = proxy.get(path).field("Accept", "text/plain").await;
            assert!(after.is_hit(), "{path}: {:?}", after.fields);
            assert_eq!((after.status, &after.body, after.end), (before.status, &before.body, before.end));
            assert_eq!(after.field("x-own"), before.field("x-own"));
        }
        assert_eq!(origin.count(path), 1);
    }
}

#[tokio::test]
async fn killed_in_mid_fill() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    origin.on("/kept", Answer::cacheable("kept"));
    // Enough that some of it is in the body store when the process dies.
    let half = Answer::status(200).cache("max-age=60").pattern(3 << 20).gate(&gate).part("end").chunked();
    origin.on("/half", half);
    let proxy = Proxy::before(&origin).bodies("linger = \"1s\"").await;
    proxy.fill("/kept").await;
    let kept = objects(&proxy);
    let mut reading = proxy.get("/half").begin().await;
    reading.at_least(3 << 20).await;
    until("some of it to be written", async || (objects(&proxy).len() > kept.len()).then_some(())).await;

    proxy.kill().await;
    assert_eq!(reading.rest().await.end, End::Broken);
    let orphans: Vec<_> = objects(&proxy).into_iter().filter(|path| !kept.contains(path)).collect();
    let proxy = proxy.start_again().await;

    let hit = proxy.get("/kept").await;
    hit.assert(200, "kept");
    assert!(hit.is_hit());
    assert_eq!(origin.count("/kept"), 1);
    // What the dead one left is swept, and what is named stays.
    until("the orphans to be swept", async || orphans.iter().all(|path| !path.exists()).then_some(())).await;
    assert!(kept.iter().all(|path| path.exists()));
    gate.open();
    origin.on("/half", Answer::cacheable("whole"));
    proxy.fill("/half").await.assert(200, "whole");
    assert!(proxy.get("/half").await.is_hit());
}

/// Stores one body, ends the process, harms the object with this number, starts another.
async fn harmed(len: u64, which: usize, harm: impl Fn(&Path)) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.on("/a", Answer::status(200).cache("max-age=60").pattern(len));
    let proxy = Proxy::before(&origin).bodies("small = \"0B\"").await;
    assert_eq!(proxy.fill("/a").await.body.len() as u64, len);
    assert!(proxy.get("/a").await.is_hit());
    let objects = objects(&proxy);
    proxy.signal("TERM");
    proxy.ended().await;
    harm(&objects[which]);
    (origin, proxy.start_again().await)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_harmed_small_body_is_a_miss() {
    for harm in [flip, cut, remove] {
        let (origin, proxy) = harmed(1000, 0, harm).await;
        let reply = proxy.fill("/a").await;
        assert!(reply.body == crate::support::pattern::Pattern::whole(1000) && reply.end == End::Clean);
        assert!(!reply.is_hit());
        assert_eq!(origin.count("/a"), 2);
        assert!(proxy.get("/a").await.is_hit(), "stored anew");
        let metrics = proxy.metrics().await;
        let noticed = metrics.sum("dustgate_integrity_failures_total", &[("what", "segment")])
            + metrics.sum("dustgate_segments_missing_total", &[]);
        assert_eq!(noticed, 1.0);
    }
}

#[tokio::test]
async fn a_harmed_segment_is_never_passed_on() {
    const LEN: u64 = 4 << 20;
    let whole = crate::support::pattern::Pattern::whole(LEN);
    for harm in [flip, cut, remove] {
        for which in [0, 1, 2] {
            let (origin, proxy) = harmed(LEN, which, harm).await;
            // The first may have had its head before it was found; it is broken off then.
            let reply = proxy.get("/a").await;
            assert!(whole.starts_with(&reply.body), "bytes that nobody sent");
            assert_eq!(reply.end == End::Clean, reply.body == whole);
            let again = proxy.get("/a").await;
            assert!(again.body == whole && again.end == End::Clean, "{} bytes", again.body.len());
            assert_eq!(origin.count("/a"), 2);
        }
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let origin = Origin::start().await;
    let proxy = Proxy::before(&origin).await;
    let second =
        Process::start(dustgate().args(["serve", "-c", proxy.config()]).current_dir(proxy.directory()));
    let code = second.ended().await.code().expect("an exit code");
    assert_ne!(code, 0);
    second.err.ended().await;
    let said = second.err.so_far().join("\n");
    assert!(said.contains("dust"), "{said}");
    proxy.get("/a").await;
}

#[tokio::test]
async fn a_body_store_that_is_another_one_is_refused() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.fill("/a").await;
    proxy.kill().await;
    std::fs::remove_dir_all(proxy.directory().join("bodies")).unwrap();
    let next =
        Process::start(dustgate().args(["serve", "-c", proxy.config()]).current_dir(proxy.directory()));
    assert_ne!(next.ended().await.code(), Some(0));
    next.err.ended().await;
    let said = next.err.so_far().join("\n");
    assert!(said.contains("dust.url") && said.contains("bodies.url"), "{said}");
}

#[tokio::test]
async fn killed_again_and_again() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(format!("body of {}", seen.target)));
    let mut proxy = Proxy::before(&origin).await;
    for round in 0..5 {
        for n in 0..20 {
            let path = format!("/{round}/{n}");
            proxy.fill(&path).await.assert(200, &format!("body of {path}"));
        }
        proxy = proxy.restart().await;
        for n in 0..20 {
            let path = format!("/{round}/{n}");
            let reply = proxy.get(&path).await;
            reply.assert(200, &format!("body of {path}"));
            assert!(reply.is_hit(), "{path} was answered, and is lost");
        }
    }
    assert_eq!(origin.total(), 100);
}

#[tokio::test]
async fn bodies_are_kept_below_their_size() {
    const EACH: u64 = 1 << 20;
    let origin = Origin::answering(Answer::status(200).cache("max-age=60").pattern(EACH)).await;
    let proxy = Proxy::before(&origin).bodies("size = \"4MiB\"").bodies("linger = \"1s\"").await;
    for n in 0..12 {
        let reply = proxy.fill(&format!("/{n}")).await;
        assert_eq!((reply.body.len() as u64, reply.end), (EACH, End::Clean));
    }
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n <= 4.0 * EACH as f64).await;
    until("the objects to go", async || (objects(&proxy).len() <= 4).then_some(())).await;
    // What had to go is a miss, and what is there is whole.
    for n in 0..12 {
        let reply = proxy.get(&format!("/{n}")).await;
        assert_eq!((reply.body.len() as u64, reply.end), (EACH, End::Clean));
    }
}
