//! The data port: connections in, requests to the proxy.
//!
//! - `connection`: one connection, from its first byte to its last.
//! - `link`: what its stages have in common.
//! - `requests`: its requests, served by hyper until it ends or is idle.
//! - `rest`: its time without requests.
//! - `socket`: the socket as hyper sees it, which notes what is read and written.
//! - `refusal`: heads that hyper does not accept.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpListener;

use crate::drain::Guard;
use crate::proxy::state::Proxy;
use crate::telemetry::labels::Shed;

pub(crate) mod connection;
pub(crate) mod link;
pub(crate) mod refusal;
pub(crate) mod requests;
pub(crate) mod rest;
pub(crate) mod socket;

/// The count of connections that are open on all listeners.
#[derive(Debug, Default)]
pub struct Connections(AtomicUsize);

struct ConnectionSlot<'a>(&'a Connections);

/// How often it is checked at the end whether connections are open.
const LOOK: Duration = Duration::from_millis(10);
/// A client that sends nothing for this long is probed by TCP keepalive ...
const PROBE_AFTER: Duration = Duration::from_mins(1);
/// ... again after this ...
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// ... and this many times before its connection counts as dead.
const PROBES: u32 = 4;

impl Connections {
    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until none is open.
    pub async fn none_is_open(&self) {
        while self.open() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn enter(&self, most: usize) -> Option<ConnectionSlot<'_>> {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        let place = ConnectionSlot(self);
        (before < most).then_some(place)
    }
}

impl Drop for ConnectionSlot<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves a listener until the drain begins, and its connections until they have ended.
pub async fn serve(
    listener: Arc<TcpListener>,
    proxy: Arc<Proxy>,
    connections: Arc<Connections>,
    drain: Guard,
) {
    if let Err(error) = probe_silent_clients(&listener) {
        proxy.observer.unprobed(&error);
    }
    let mut stopping = pin!(drain.draining());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (proxy, connections, drain) = (proxy.clone(), connections.clone(), drain.clone());
                tokio::spawn(async move {
                    let Some(_place) = connections.enter(proxy.settings.server.max_connections) else {
                        proxy.observer.shed(Shed::Connections);
                        return;
                    };
                    connection::serve(socket, peer, &proxy, drain).await;
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: that passes, and retrying at once would not help.
                proxy.observer.accept_failed(&error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Sets keepalive, which finds clients whose machine is gone, or that have closed both sides and are not
/// written to. Accepted sockets inherit it from their listener, so it costs a connection nothing.
fn probe_silent_clients(listener: &TcpListener) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(listener, PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_are_probed_when_they_are_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        probe_silent_clients(&listener).expect("keepalive");
        let client = tokio::net::TcpStream::connect(listener.local_addr().expect("bound"));
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (_client, (accepted, _)) = (client.expect("connected"), accepted.expect("accepted"));
        assert!(sockopt::socket_keepalive(&accepted).expect("an option"));
        assert_eq!(sockopt::tcp_keepidle(&accepted).expect("an option"), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).expect("an option"), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).expect("an option"), PROBES);
    }
}
