//! Instances are restarted one after the other, under load, behind a balancer that follows
//! `/readyz`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::client::RequestFacts;
use crate::support::fleet::Fleet;
use crate::support::{Answer, End, Gate, all, until};

/// How many requests go to one path before the next one is begun.
const EACH: usize = 40;

/// Which instances there are, by their ports for clients and for operators.
#[derive(Default)]
struct Balancer {
    rotation: Mutex<Vec<(SocketAddr, SocketAddr)>>,
    next: AtomicUsize,
    over: AtomicBool,
    failed: Mutex<Vec<String>>,
}

impl Balancer {
    /// Sends a request to one that is ready; no connection is no request yet.
    async fn ask(&self, path: &str) -> Result<(), String> {
        for _ in 0..30 {
            let rotation = self.rotation.lock().unwrap().clone();
            let (at, admin) = rotation[self.next.fetch_add(1, Ordering::Relaxed) % rotation.len()];
            if TcpStream::connect(admin).await.is_err() || TcpStream::connect(at).await.is_err() {
                continue;
            }
            let ready =
                RequestFacts::new(admin, "GET", "/readyz").host("localhost").asked().await.head().await;
            if ready.is_none_or(|ready| ready.status != 200) {
                continue;
            }
            let answer = RequestFacts::new(at, "GET", path).asked().await.head().await;
            let reply = answer.ok_or_else(|| format!("{path}: closed without an answer"))?.rest().await;
            let right = reply.status == 200 && reply.end == End::Clean && reply.body == path.as_bytes();
            return if right { Ok(()) } else { Err(format!("{path}: {reply:?}")) };
        }
        Err("no instance is ready".to_owned())
    }

    async fn work(&self, asked: &AtomicUsize) {
        while !self.over.load(Ordering::Relaxed) {
            let path = format!("/load/{}", asked.fetch_add(1, Ordering::Relaxed) / EACH);
            if let Err(failed) = self.ask(&path).await {
                self.failed.lock().unwrap().push(failed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_and_costs_no_more_than_its_drains_explain() {
    let mut fleet = Fleet::with(3, |setup| setup.server("drain_delay = \"500ms\"")).await;
    fleet.origin.on_each("*", |seen| Answer::cacheable(seen.target.clone()).after(Duration::from_millis(30)));
    let balancer = Arc::new(Balancer::default());
    for instance in &fleet.of {
        balancer.rotation.lock().unwrap().push((instance.at, instance.admin));
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (balancer, asked) = (balancer.clone(), asked.clone());
            tokio::spawn(async move { balancer.work(&asked).await })
        })
        .collect();
    let path_now = || asked.load(Ordering::Relaxed) / EACH;
    let mut drains = Vec::new();
    for n in 0..3 {
        let target = asked.load(Ordering::Relaxed) + 3 * EACH;
        until("some load", async || (asked.load(Ordering::Relaxed) >= target).then_some(())).await;
        // And something long is under way on it, with others who ride it.
        let (path, gate) = (format!("/long/{n}"), Gate::shut());
        fleet.origin.on(&path, Answer::cacheable("the beginning ").gate(&gate).part("and the end"));
        let mut long = fleet.of[0].get(&path).begin().await;
        long.at_least(14).await;
        let mut riding = fleet.of[1].get(&path).begin().await;
        riding.at_least(14).await;
        let drained_from = path_now().saturating_sub(1);
        fleet.of[0].signal("TERM");
        let leaving = fleet.of.remove(0);
        until("its port to be closed", async || TcpStream::connect(leaving.at).await.is_err().then_some(()))
            .await;
        gate.open();
        for reading in [long, riding] {
            let rest = reading.rest().await;
            assert_eq!((rest.text(), rest.end), ("and the end", End::Clean));
        }
        assert_eq!(leaving.ended().await.code(), Some(0));
        drains.push(drained_from..=path_now());
        fleet.join().await;
        let came = fleet.of.last().unwrap();
        let mut rotation = balancer.rotation.lock().unwrap();
        rotation.retain(|(at, _)| *at != leaving.at);
        rotation.push((came.at, came.admin));
        drop(rotation);
        assert_eq!(fleet.origin.count(&path), 1);
    }
    balancer.over.store(true, Ordering::Relaxed);
    all(workers).await;
    assert_eq!(*balancer.failed.lock().unwrap(), Vec::<String>::new());
    let mut counts = HashMap::new();
    for path in fleet.origin.order() {
        *counts.entry(path).or_insert(0) += 1;
    }
    assert!(counts.len() > 9, "{} paths", counts.len());
    // What a leaving instance hands over is fetched once more, and nothing else is.
    counts.retain(|path, count| {
        let number = path.strip_prefix("/load/").and_then(|number| number.parse().ok());
        let drained = number.is_some_and(|number: usize| drains.iter().any(|drain| drain.contains(&number)));
        *count > 1 + usize::from(drained)
    });
    assert_eq!(counts, HashMap::new(), "fetched more than once");
}
