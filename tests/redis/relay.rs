//! A way to a server that loses requests or answers, or leads to another server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is lost on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    Nothing,
    Requests,
    Answers,
}

/// The way.
pub struct Relay {
    pub port: u16,
    to: Arc<AtomicU16>,
    loses: Arc<watch::Sender<Loses>>,
    cut: Arc<watch::Sender<u64>>,
    _serving: JoinSet<()>,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(port));
        let (loses, cut) = (Arc::new(watch::Sender::new(Loses::Nothing)), Arc::new(watch::Sender::new(0)));
        let (target, lost, cuts) = (to.clone(), loses.clone(), cut.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let port = target.load(Ordering::SeqCst);
                ways.spawn(way(client, port, lost.subscribe(), cuts.subscribe()));
            }
        });
        Self { port: at, to, loses, cut, _serving: serving }
    }

    /// From now on this is lost.
    pub fn loses(&self, what: Loses) {
        self.loses.send_replace(what);
    }

    /// Breaks all connections; new ones lead to that port.
    pub fn leads_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn way(client: TcpStream, port: u16, loses: watch::Receiver<Loses>, mut cut: watch::Receiver<u64>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    cut.mark_unchanged();
    tokio::select! {
        () = carry(from_client, to_server, loses.clone(), Loses::Requests) => {}
        () = carry(from_server, to_client, loses, Loses::Answers) => {}
        _ = cut.changed() => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, loses: watch::Receiver<Loses>, these: Loses) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        if *loses.borrow() != these && to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}
