//! Bodies in a bucket, on a real server that speaks S3.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::proxy::Setup;
use crate::support::relay::{Mode, Relay};
use crate::support::{Answer, End, Origin, Proxy, S3, command};

mod ahead;
mod away;
mod bodies;

fn before(origin: &Origin, url: &str) -> Setup {
    let mut setup = Proxy::before(origin).bodies(&format!("url = \"{url}\"")).bodies("small = \"0B\"");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        setup = setup.env(name, &S3::env(name).unwrap());
    }
    setup
}

#[tokio::test]
async fn a_hit_from_the_bucket_outlives_the_process() {
    let s3 = S3::start().await;
    let origin = Origin::start().await;
    origin.on("/small", Answer::cacheable("hello"));
    origin.on("/large", Answer::status(200).cache("max-age=60").pattern(3 << 20));
    let proxy = before(&origin, &s3.url("fleet/a")).await;
    let small = proxy.fill("/small").await;
    let large = proxy.fill("/large").await;
    assert!(s3.objects().iter().all(|key| key.starts_with("fleet/a/")), "{:?}", s3.objects());
    assert!(s3.objects().len() >= 5, "{:?}", s3.objects());
    let proxy = proxy.restart().await;
    for (path, before) in [("/small", small), ("/large", large)] {
        let after = proxy.get(path).await;
        assert!(after.is_hit(), "{path}: {:?}", after.fields);
        assert_eq!((&after.body, after.end), (&before.body, End::Clean));
    }
    let part = proxy.get("/large").field("Range", "bytes=1048570-1048585").await;
    assert_eq!((part.status, part.body.len()), (206, 16));
    assert_eq!((origin.count("/small"), origin.count("/large")), (1, 1));
}

#[tokio::test]
async fn a_bucket_that_fails_is_a_proxy_that_does_not_store() {
    let s3 = S3::start().await;
    let relay = Relay::before(s3.at);
    let origin = Origin::start().await;
    let proxy = before(&origin, &S3::url_by(relay.at, "fleet")).await;
    for (mode, name) in [(Mode::Unavailable, "503"), (Mode::Close, "down"), (Mode::Hang, "hangs")] {
        relay.set(mode);
        let (small, large) = (format!("/{name}"), format!("/{name}/large"));
        origin.on(&small, Answer::cacheable("hello"));
        origin.on(&large, Answer::status(200).cache("max-age=60").pattern(24 << 20));
        // Nobody waits for it, unless more is in memory than may be.
        let began = Instant::now();
        let first = proxy.get(&small).await;
        assert_eq!((first.status, first.text(), first.end), (200, "hello", End::Clean));
        assert!(began.elapsed() < Duration::from_secs(2), "{mode:?}: {:?}", began.elapsed());
        let failed = |n: f64| n >= 1.0;
        proxy.until_metric("dustgate_bodies_errors_total", &[("op", "put")], failed).await;
        let reply = proxy.get(&large).await;
        assert_eq!((reply.status, reply.body.len(), reply.end), (200, 24 << 20, End::Clean), "{mode:?}");
    }
    relay.set(Mode::Pass);
    origin.on("/after", Answer::cacheable("stored again"));
    proxy.fill("/after").await;
    assert!(proxy.get("/after").await.is_hit());
}

#[tokio::test]
async fn settings_that_name_no_bucket_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (url, why) in [
        ("s3://", "the bucket is missing"),
        ("s3://bodies?secret=abc", "?secret is not known: endpoint, region, path_style and credentials"),
        ("s3://bodies?endpoint=localhost", "?endpoint=localhost: a URL is meant"),
        ("s3://me:secret@bodies", "AWS_SECRET_ACCESS_KEY"),
    ] {
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, format!("[bodies]\nurl = \"{url}\"\n")).unwrap();
        let said = command::run(&["check", "-c", file.to_str().unwrap()]).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("bodies.url") && said.err.contains(why), "{url}: {}", said.err);
        assert!(!said.err.contains("me:secret"), "{}", said.err);
    }
}

#[tokio::test]
async fn without_credentials_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    let text = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[dust]\nurl = \
                \"embedded:\"\n[bodies]\nurl = \"s3://bodies\"\n";
    std::fs::write(&file, text).unwrap();
    let mut serve = crate::support::process::dustgate();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        serve.env_remove(name);
    }
    let said = command::finish(serve.args(["serve", "-c", file.to_str().unwrap()])).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("bodies.url: ") && said.err.contains("set AWS_ACCESS_KEY_ID"), "{}", said.err);
}
