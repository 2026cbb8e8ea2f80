//! The balancer of config/haproxy.cfg: a rolling restart behind it fails no request.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::client::RequestFacts;
use crate::support::server::{Server, free_port};
use crate::support::{Answer, Conn, End, Origin, Proxy, all, until};

/// HAProxy with the file of the pages, but for its ports. Ended with this value.
struct Balancer {
    child: Child,
    at: SocketAddr,
    _directory: TempDir,
}

impl Balancer {
    async fn before(instances: &[(u16, u16)]) -> Self {
        let text = include_str!("../../config/haproxy.cfg");
        let at: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let mut text = text.replace("bind :8000", &format!("bind {at}"));
        for (nth, (data, admin)) in instances.iter().enumerate() {
            let server = format!("127.0.0.1:{} port {}", 8080 + nth, 9080 + nth);
            assert!(text.contains(&server), "{server}");
            text = text.replace(&server, &format!("127.0.0.1:{data} port {admin}"));
        }
        let directory = TempDir::with_prefix("dustgate-haproxy-").unwrap();
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let usual = "/usr/sbin/haproxy";
        let program = if Path::new(usual).exists() { usual } else { "haproxy" };
        // In the foreground, without a master.
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("haproxy does not start ({error}): tests/run installs it"));
        until("HAProxy to listen", async || TcpStream::connect(at).await.is_ok().then_some(())).await;
        Self { child, at, _directory: directory }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks through the balancer until it is over, and collects what failed. Half of the clients keep their
/// connection.
async fn ask(at: SocketAddr, keeps: bool, asked: &AtomicUsize, over: &AtomicBool) -> Vec<String> {
    let (mut failed, mut kept): (Vec<String>, Option<Conn>) = (Vec::new(), None);
    while !over.load(Ordering::Relaxed) {
        let path = format!("/{}", asked.fetch_add(1, Ordering::Relaxed) / 20);
        let facts = RequestFacts::new(at, "GET", &path);
        let answer = if keeps {
            let mut conn = match kept.take() {
                Some(conn) => conn,
                None => Conn::open(at).await,
            };
            conn.send(facts.bytes()).await;
            conn.reply().await.map(|(reply, conn)| {
                kept = Some(conn);
                reply
            })
        } else {
            match facts.asked().await.head().await {
                Some(head) => Some(head.rest().await),
                None => None,
            }
        };
        match answer {
            Some(reply) if reply.status == 200 && reply.end == End::Clean && reply.text() == path => {}
            other => failed.push(format!("{path}: {other:?}")),
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_haproxy_fails_no_request() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| Answer::cacheable(seen.target.clone()).after(Duration::from_millis(30)));
    let redis = Server::start(&[]).await;
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
    let mut instances = Vec::new();
    for (data, admin) in &ports {
        let setup = Proxy::before(&origin)
            .dust(&format!("url = \"redis://127.0.0.1:{}\"", redis.port))
            .bodies("url = \"dust:\"")
            .server(&format!("listen = \"127.0.0.1:{data}\""))
            .server("drain_delay = \"3s\"")
            .admin(&format!("listen = \"127.0.0.1:{admin}\""));
        instances.push(setup.await);
    }
    let balancer = Balancer::before(&ports).await;
    let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|nth| {
            let (asked, over, at) = (asked.clone(), over.clone(), balancer.at);
            tokio::spawn(async move { ask(at, nth % 2 == 0, &asked, &over).await })
        })
        .collect();
    for instance in instances {
        let load = asked.load(Ordering::Relaxed) + 100;
        until("some load", async || (asked.load(Ordering::Relaxed) >= load).then_some(())).await;
        let instance = instance.restart().await;
        instance.ready().await;
        // The balancer has it back before the next one leaves.
        instance.until_metric("dustgate_requests_total", &[], |n| n > 0.0).await;
        tokio::spawn(async move { instance.ended().await });
    }
    over.store(true, Ordering::Relaxed);
    let failed: Vec<String> = all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(failed, Vec::<String>::new(), "of {}", asked.load(Ordering::Relaxed));
}
