//! A way between a client and a server that a test can cut, slow down, freeze, or have lose what it
//! carries.
//!
//! It has a thread of its own: among a herd's tasks it would wait for its turn, and its ends would
//! take that for a slow server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the server looks from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Pass,
    /// It sends so many bytes a second.
    Slow(usize),
    /// What clients send is lost.
    LoseRequests,
    /// What the server sends is lost.
    LoseAnswers,
    /// Connections stay, new ones are taken, and no byte moves. It is carried on later.
    Freeze,
    /// Takes everything and says nothing.
    Hang,
    /// Answers HTTP requests with 503.
    Unavailable,
    /// Connections are taken, and closed at once.
    Close,
    /// Nobody listens.
    Down,
}

/// The way. Gone with this value, and its connections with it.
#[derive(Debug)]
pub struct Relay {
    pub at: SocketAddr,
    way: watch::Sender<Way>,
    trips: Arc<AtomicU64>,
}

/// One connection's round trips, counted with those of all.
#[derive(Debug)]
struct Trips {
    all: Arc<AtomicU64>,
    /// The client spoke last.
    asked: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Way {
    mode: Mode,
    far: SocketAddr,
    /// How often all connections were broken.
    breaks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

// === impl Mode ===

impl Mode {
    /// Whether connections lead to the server. Between a mode of which this holds and one of which
    /// it does not, they break.
    fn leads(self) -> bool {
        !matches!(self, Self::Hang | Self::Unavailable | Self::Close | Self::Down)
    }

    fn loses(self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self == Self::LoseRequests,
            Direction::ToClient => self == Self::LoseAnswers,
        }
    }
}

// === impl Trips ===

impl Trips {
    fn went(&self, direction: Direction) {
        let asks = direction == Direction::ToServer;
        if !self.asked.swap(asks, Ordering::Relaxed) && asks {
            self.all.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Relay ===

impl Relay {
    /// Before a port of this machine.
    pub fn to(port: u16) -> Self {
        Self::before(([127, 0, 0, 1], port).into())
    }

    /// Before a server.
    pub fn before(far: SocketAddr) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), far)
    }

    /// Before a server, at an address of its own.
    pub fn at(near: SocketAddr, far: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(near).unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let (way, seen) = watch::channel(Way { mode: Mode::Pass, far, breaks: 0 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let trips = Arc::new(AtomicU64::new(0));
        let counted = trips.clone();
        std::thread::spawn(move || {
            let listener = || TcpListener::from_std(listener).unwrap();
            runtime.block_on(async { serve(listener(), at, seen, counted).await });
        });
        Self { at, way, trips }
    }

    /// How often a client spoke after the server had, on all connections so far.
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// From now on the server looks like this.
    pub fn set(&self, mode: Mode) {
        self.way.send_modify(|way| {
            way.breaks += u64::from(way.mode != mode && !(way.mode.leads() && mode.leads()));
            way.mode = mode;
        });
    }

    /// Breaks all connections; new ones lead to that port.
    pub fn leads_to(&self, port: u16) {
        self.way.send_modify(|way| {
            way.breaks += 1;
            way.far.set_port(port);
        });
    }
}

/// Until the relay is dropped.
async fn serve(listener: TcpListener, at: SocketAddr, mut ways: watch::Receiver<Way>, trips: Arc<AtomicU64>) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let way = *ways.borrow_and_update();
        if way.mode == Mode::Down {
            listener = None;
        } else if listener.is_none() {
            listener = again(at);
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = ways.changed() => if changed.is_err() { return },
            accepted = accept => {
                let Ok((near, _)) = accepted else { continue };
                let mut broken = ways.clone();
                let trips = Trips { all: trips.clone(), asked: AtomicBool::new(false) };
                connections.spawn(async move {
                    let carried = broken.clone();
                    tokio::select! {
                        _ = broken.wait_for(|now| now.breaks != way.breaks) => {}
                        _ = connection(near, way, carried, &trips) => {}
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

/// The same port once more: connections to it may linger.
fn again(at: SocketAddr) -> Option<TcpListener> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(at).ok()?;
    socket.listen(1024).ok()
}

async fn connection(
    mut near: TcpStream,
    way: Way,
    ways: watch::Receiver<Way>,
    trips: &Trips,
) -> std::io::Result<()> {
    let mut sink = vec![0; 64 << 10];
    match way.mode {
        Mode::Close | Mode::Down => return Ok(()),
        Mode::Hang => {}
        Mode::Unavailable => {
            if near.read(&mut sink).await? == 0 {
                return Ok(());
            }
            let unavailable =
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            near.write_all(unavailable.as_bytes()).await?;
        }
        _ => {
            let far = TcpStream::connect(way.far).await?;
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // One direction's end is the end of both: neither side speaks on by itself.
            tokio::select! {
                () = carry(near_in, far_out, ways.clone(), Direction::ToServer, trips) => {}
                () = carry(far_in, near_out, ways, Direction::ToClient, trips) => {}
            }
            return Ok(());
        }
    }
    while near.read(&mut sink).await? > 0 {}
    Ok(())
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut ways: watch::Receiver<Way>,
    direction: Direction,
    trips: &Trips,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let most = match ways.borrow().mode {
            Mode::Slow(rate) if direction == Direction::ToClient => buffer.len().min(rate / 20),
            _ => buffer.len(),
        };
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        let Ok(mode) = ways.wait_for(|way| way.mode != Mode::Freeze).await.map(|way| way.mode) else {
            return;
        };
        if mode.loses(direction) {
            continue;
        }
        trips.went(direction);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if let (Mode::Slow(rate), Direction::ToClient) = (mode, direction) {
            tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await;
        }
    }
}
