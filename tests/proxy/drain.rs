//! The end of life: what is under way ends, nothing new begins, and the exit code tells which
//! end it was.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::process::{Process, dustgate};
use crate::support::{Answer, End, Gate, Origin, Proxy, all, until, within};

async fn is_ready(proxy: &Proxy) -> bool {
    proxy.admin_get("/readyz").await.status == 200
}

#[tokio::test]
async fn what_is_under_way_ends_before_the_process_does() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::shut();
        let origin = Origin::answering(Answer::cacheable("one,").gate(&gate).part("two").chunked()).await;
        let proxy = Proxy::before(&origin).await;
        let mut leader = proxy.get("/a").begin().await;
        leader.at_least(4).await;
        let follower = proxy.get("/a").begin().await;
        let post = proxy.ask("POST", "/b").content("x").begin().await;
        proxy.signal(signal);
        until("the port to be closed", async || TcpStream::connect(proxy.at).await.is_err().then_some(()))
            .await;
        gate.open();
        for (reading, whole) in [(leader, "two"), (follower, "one,two"), (post, "one,two")] {
            reading.rest().await.assert(200, whole);
        }
        assert_eq!(proxy.ended().await.code(), Some(0), "{signal}");
        // What was fetched on the way out is not lost.
        let proxy = proxy.start_again().await;
        proxy.get("/a").await.assert(200, "one,two");
        assert_eq!(origin.count("/a"), 1);
    }
}

#[tokio::test]
async fn a_fill_that_nobody_waits_for_ends_too() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let client = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    drop(client);
    proxy.signal("TERM");
    until("the port to be closed", async || TcpStream::connect(proxy.at).await.is_err().then_some(())).await;
    gate.open();
    assert_eq!(proxy.ended().await.code(), Some(0));
    let proxy = proxy.start_again().await;
    assert!(proxy.get("/a").await.is_hit());
}

#[tokio::test]
async fn readiness_fails_first() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).server("drain_delay = \"2s\"").await;
    assert_eq!(proxy.admin_get("/readyz").await.json(), json!({"ready": true, "degraded": []}));
    proxy.signal("TERM");
    until("readiness to fail", async || (!is_ready(&proxy).await).then_some(())).await;
    // Whoever has not heard of it yet is served.
    proxy.get("/a").await.assert(200, "hello");
    let told = proxy.admin_get("/readyz").await;
    assert_eq!((told.status, told.json()), (503, json!({"ready": false, "reason": "draining"})));
    assert_eq!(proxy.admin_get("/healthz").await.status, 200);
    assert_eq!(proxy.metrics().await.sum("dustgate_draining", &[]), 1.0);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn idle_connections_hold_nothing_up() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let idle = proxy.connect().await;
    let mut kept = proxy.connect().await;
    kept.send(proxy.get("/a").bytes()).await;
    let (reply, kept) = kept.reply().await.expect("an answer");
    reply.assert(200, "hello");
    proxy.signal("TERM");
    assert!(idle.closed().await && kept.closed().await);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_last_answer_on_a_connection_says_so() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let asked = proxy.get("/a").asked().await;
    gate.reached_by(1).await;
    proxy.signal("TERM");
    until("the port to be closed", async || TcpStream::connect(proxy.at).await.is_err().then_some(())).await;
    gate.open();
    let reply = asked.head().await.expect("an answer").rest().await;
    reply.assert(200, "hello");
    assert_eq!(reply.field("connection"), "close");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("one,").gate(&gate).part("two").chunked()).await;
    let proxy = Proxy::before(&origin).await;
    let mut reading = proxy.get("/a").begin().await;
    reading.at_least(4).await;
    proxy.signal("TERM");
    until("the drain", async || (!is_ready(&proxy).await).then_some(())).await;
    proxy.signal("TERM");
    let code = proxy.ended().await.code().expect("an exit code and no signal");
    assert_ne!(code, 0);
    // It is told by a break that this was not all.
    assert_eq!(reading.rest().await.end, End::Broken);
}

#[tokio::test]
async fn the_grace_period_is_kept_to() {
    let origin = Origin::answering(Answer::cacheable("one,").chunked().then_silence()).await;
    let proxy = Proxy::before(&origin).server("drain = \"300ms\"").await;
    let mut reading = proxy.get("/a").begin().await;
    reading.at_least(4).await;
    proxy.signal("TERM");
    let late = proxy.ended().await.code().expect("an exit code and no signal");
    assert_ne!(late, 0);
    assert_eq!(reading.rest().await.end, End::Broken);
}

#[tokio::test]
async fn a_request_that_is_cut_at_the_end_of_the_drain_has_its_line_in_the_log() {
    let origin = Origin::start().await;
    origin.on("/begun", Answer::ok("one,").cache("no-store").chunked().then_silence());
    origin.on("/waits", Answer::silence());
    let late = |signals: usize| (signals, if signals == 1 { "300ms" } else { "30s" });
    for (signals, drain) in [late(1), late(2)] {
        let proxy = Proxy::before(&origin).server(&format!("drain = \"{drain}\"")).await;
        let mut reading = proxy.get("/begun").begin().await;
        reading.at_least(4).await;
        let waiting = proxy.get("/waits").asked().await;
        until("both to be asked", async || (origin.count("/waits") >= signals).then_some(())).await;
        proxy.signal("TERM");
        if signals == 2 {
            until("the drain", async || (!is_ready(&proxy).await).then_some(())).await;
            proxy.signal("INT");
        }
        proxy.ended().await;
        proxy.log.ended().await;
        for (path, bytes) in [("/begun", 4), ("/waits", 0)] {
            let line = &proxy.log.json(|line| line["path"] == path && line["method"].is_string())[0];
            assert_eq!((&line["aborted"], &line["error"]), (&true.into(), &"drain".into()), "{line}");
            assert_eq!(line["bytes_out"], bytes, "{line}");
        }
        drop((reading, waiting));
    }
}

#[tokio::test]
async fn the_exit_codes_can_be_told_apart() {
    let origin = Origin::answering(Answer::ok("one,").cache("no-store").chunked().then_silence()).await;
    let mut codes = Vec::new();
    for (drain, again) in [("300ms", false), ("30s", true)] {
        let proxy = Proxy::before(&origin).server(&format!("drain = \"{drain}\"")).await;
        let mut reading = proxy.get("/a").begin().await;
        reading.at_least(4).await;
        proxy.signal("TERM");
        if again {
            until("the drain", async || (!is_ready(&proxy).await).then_some(())).await;
            proxy.signal("INT");
        }
        codes.push(proxy.ended().await.code());
    }
    assert_ne!(codes[0], codes[1], "late and hurried");
}

#[tokio::test]
async fn the_operators_port_can_begin_it() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    let reply = proxy.admin_post("/v1/drain", &json!({})).await;
    assert!((200..300).contains(&reply.status), "{reply:?}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sighup_says_that_it_does_nothing_yet() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    proxy.signal("HUP");
    let hears = |line: &str| (line.contains("SIGHUP") || line.contains("reload")).then_some(());
    tokio::select! {
        () = proxy.errors.find("a word about SIGHUP", hears) => {}
        () = proxy.log.find("a word about SIGHUP", hears) => {}
    }
    proxy.get("/a").await.assert(200, "hello");
}

#[tokio::test]
async fn a_herd_at_the_end_is_served_whole() {
    let gate = Gate::shut();
    let origin = Origin::answering(Answer::cacheable("hello").held_by(&gate)).await;
    let proxy = Proxy::before(&origin).await;
    let asked = all((0..30).map(|_| proxy.get("/a").asked())).await;
    proxy.until_followers(29).await;
    proxy.signal("TERM");
    until("the port to be closed", async || TcpStream::connect(proxy.at).await.is_err().then_some(())).await;
    gate.open();
    for asked in asked {
        asked.head().await.expect("an answer").rest().await.assert(200, "hello");
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A bucket that takes everything and never answers requests in whose head this stands. Tells when
/// it was asked one.
async fn bucket_that_is_silent_at(word: &'static str) -> (SocketAddr, watch::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (asked, was_asked) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 16 << 10];
                let read = client.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                if head.contains(word) {
                    asked.send_replace(true);
                    std::future::pending::<()>().await;
                }
                let status = if head.starts_with("GET") { "404 Not Found" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nETag: \"e\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                client.write_all(answer.as_bytes()).await.unwrap();
                // The rest of an upload, and its end.
                let mut rest = Vec::new();
                let _ = client.read_to_end(&mut rest).await;
            });
        }
    });
    (at, was_asked)
}

#[tokio::test]
async fn a_sweep_under_way_does_not_hold_the_end_up() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let (at, mut asked) = bucket_that_is_silent_at("list-type=2").await;
    let proxy = Proxy::before(&origin)
        .server("drain = \"2s\"")
        .bodies(&format!("url = \"s3://bodies?endpoint=http://{at}\""))
        .env("AWS_ACCESS_KEY_ID", "name")
        .env("AWS_SECRET_ACCESS_KEY", "key")
        .await;
    within("the sweep of the start", asked.wait_for(|asked| *asked)).await.unwrap();
    proxy.signal("TERM");
    // A listing may take longer than the grace period; 3 would say that something was cut off.
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn told_to_leave_while_it_waits_for_a_store_it_leaves() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let directory = tempfile::TempDir::with_prefix("dustgate-").unwrap();
    let config = directory.path().join("dustgate.toml");
    for signal in ["TERM", "INT"] {
        let (at, mut asked) = bucket_that_is_silent_at("HTTP/1.1").await;
        let setup = Proxy::before(&origin).bodies(&format!("url = \"s3://bodies?endpoint=http://{at}\""));
        std::fs::write(&config, setup.text(directory.path())).unwrap();
        let process = Process::start(
            dustgate()
                .args(["serve", "-c", config.to_str().unwrap()])
                .envs([("AWS_ACCESS_KEY_ID", "name"), ("AWS_SECRET_ACCESS_KEY", "key")])
                .current_dir(directory.path()),
        );
        within("the store to be asked", asked.wait_for(|asked| *asked)).await.unwrap();
        process.signal(signal);
        assert_eq!(process.ended().await.code(), Some(0), "{signal}: {:?}", process.err.so_far());
    }
}

#[tokio::test]
async fn signals_that_mean_nothing_here_do_nothing() {
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let proxy = Proxy::before(&origin).await;
    for signal in ["USR1", "USR2", "HUP", "ALRM", "VTALRM", "XFSZ", "PIPE"] {
        proxy.signal(signal);
        if !matches!(signal, "XFSZ" | "PIPE") {
            // A line of a kind is not written again and again: the first tells.
            let is_it = |line: &Value| line["event"] == if signal == "HUP" { "sighup" } else { "signal" };
            proxy.log.json_lines(1, &format!("a word about SIG{signal}"), is_it).await;
        }
        proxy.get("/a").await.assert(200, "hello");
    }
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}
