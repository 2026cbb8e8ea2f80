//! A relay between the instances and the store. It is killed and frozen instead of the store: the
//! user's own store is left alone.
//!
//! It has a thread of its own. Among the tasks of the herd it would be delayed, and instances would
//! take that for a slow store.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The relay. When it is dropped, it stops.
#[derive(Debug)]
pub struct Relay {
    /// Its address.
    pub at: SocketAddr,
    state: watch::Sender<RelayState>,
}

/// How the store behaves, as instances see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// As it really does.
    Up,
    /// Connections stay, new ones are taken, and no byte moves.
    Frozen,
    /// Connections break, and new ones are refused.
    Down,
}

// === impl Relay ===

impl Relay {
    /// Starts a relay at an address, in front of a host and port. The address may have port 0, for any.
    ///
    /// # Errors
    /// The port can't be bound, or the thread can't be made.
    pub fn start(near: SocketAddr, host: String, port: u16) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(near)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let (state, seen) = watch::channel(RelayState::Up);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, at, host, port, seen).await,
                    // Instances can't connect, and report that.
                    Err(error) => eprintln!("error: no relay: {error}"),
                }
            });
        })?;
        Ok(Self { at, state })
    }

    /// From now on the store behaves like this.
    pub fn set(&self, state: RelayState) {
        self.state.send_replace(state);
    }
}

/// Runs until the relay is dropped. Connections end with it.
async fn serve(
    listener: TcpListener,
    at: SocketAddr,
    host: String,
    port: u16,
    mut state: watch::Receiver<RelayState>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let now = *state.borrow_and_update();
        if now == RelayState::Down {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            listener = again(at);
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        }
        let accept = async {
            match &listener {
                Some(listener) => loop {
                    if let Ok(accepted) = listener.accept().await {
                        return accepted;
                    }
                    // Most likely descriptors are out: some come back with time.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            (near, _) = accept => {
                let (host, state) = (host.clone(), state.clone());
                connections.spawn(async move {
                    if let Ok(far) = TcpStream::connect((host.as_str(), port)).await {
                        carry(near, far, state).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

/// Binds the same port again, although old connections to it may linger.
fn again(at: SocketAddr) -> Option<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(at).ok()?;
    socket.listen(1024).ok()
}

async fn carry(near: TcpStream, far: TcpStream, state: watch::Receiver<RelayState>) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // When one direction ends, both end: neither side sends on by itself.
    tokio::select! {
        () = one_way(near_in, far_out, state.clone()) => {}
        () = one_way(far_in, near_out, state) => {}
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<RelayState>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if state.wait_for(|state| *state == RelayState::Up).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        at
    }

    async fn say(stream: &mut TcpStream, word: &[u8; 4]) -> std::io::Result<[u8; 4]> {
        stream.write_all(word).await?;
        let mut back = [0; 4];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn it_carries_freezes_breaks_and_comes_back() {
        let far = echo().await;
        let relay = Relay::start("127.0.0.1:0".parse().unwrap(), far.ip().to_string(), far.port()).unwrap();
        let mut stream = TcpStream::connect(relay.at).await.unwrap();
        assert_eq!(&say(&mut stream, b"ping").await.unwrap(), b"ping");

        relay.set(RelayState::Frozen);
        let frozen = tokio::time::timeout(Duration::from_millis(50), say(&mut stream, b"pong")).await;
        assert!(frozen.is_err(), "{frozen:?}");
        // New connections are taken, as by the backlog of a stopped process.
        TcpStream::connect(relay.at).await.unwrap();
        relay.set(RelayState::Up);
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"pong", "what was held is carried on");

        relay.set(RelayState::Down);
        assert!(say(&mut stream, b"ping").await.is_err());
        assert!(TcpStream::connect(relay.at).await.is_err());
        relay.set(RelayState::Up);
        let mut stream = loop {
            match TcpStream::connect(relay.at).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(&say(&mut stream, b"ping").await.unwrap(), b"ping");
    }
}
