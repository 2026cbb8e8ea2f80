//! One connection, from its first byte to its last.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::sleep_until;

use crate::drain::Guard;
use crate::proxy::cause::Cause;
use crate::proxy::connection::Phase;
use crate::proxy::listener::link::Link;
use crate::proxy::listener::refusal;
use crate::proxy::listener::requests::{self, Parser, Served};
use crate::proxy::listener::rest::{self, Rested};
use crate::proxy::listener::socket::Socket;
use crate::proxy::{Client, Proxy};
use crate::telemetry::Access;
use crate::telemetry::labels::Cache;

/// Serves a connection until it has ended.
///
/// What requests need is made when bytes come, and given back when the connection has been idle for a moment.
/// So each stage has its own allocation: this future, which lives as long as the connection, is small.
pub(crate) async fn serve(socket: TcpStream, peer: SocketAddr, proxy: &Arc<Proxy>, drain: Guard) {
    let server = &proxy.settings.server;
    // Small responses are written in one piece: waiting for more would only delay them.
    let _ = socket.set_nodelay(true);
    let client = Client::at(peer);
    let phase = Arc::new(Phase::new(client.presence.clone()));
    let link = Link { proxy, client: &client, phase: &phase };
    let mut socket = Socket::new(socket, phase.clone(), proxy.sheets.clone(), server);
    let mut stopping = pin!(drain.draining());
    let mut leaving = false;
    let mut parser = Parser::for_fields(server.max_fields);
    let mut timer = pin!(sleep_until(phase.next_look(server)));
    loop {
        if socket.can_rest() && !leaving {
            match rest::rest(link, &socket, timer.as_mut(), stopping.as_mut()).await {
                Rested::Bytes => {}
                Rested::Over => return,
                Rested::Late(why) => {
                    phase.closes(why);
                    return proxy.observer.closed(why);
                }
            }
        }
        let serving = requests::serve(link, socket, parser, &mut leaving, timer.as_mut(), stopping.as_mut());
        match Box::pin(serving).await {
            Served::Rests(idle) => socket = idle,
            Served::Again(same, with) => (socket, parser) = (same, with),
            Served::Over => return,
            Served::Unanswered(socket, answer) => return Box::pin(socket.finish(&answer)).await,
            Served::Refused(socket, cause) => return Box::pin(refuse(socket, link, cause)).await,
        }
    }
}

/// Answers a head that hyper did not accept, logs it, and closes the connection.
async fn refuse(socket: Socket, link: Link<'_>, cause: Cause) {
    let Link { proxy, client, phase } = link;
    let (now, line) = (proxy.now_ms(), refusal::line(socket.opening()));
    let (answer, content) = cause.raw(now);
    proxy.observer.refused(cause.as_str());
    let log = &proxy.observer.log;
    if log.wants_requests() {
        let took = phase.age();
        log.access(Access {
            ts: now.saturating_sub(crate::clock::millis(took)),
            id: proxy.observer.next_id(),
            client: Some(client.peer.ip().to_canonical()),
            method: line.method.unwrap_or_else(unknown),
            scheme: "http",
            path: line.path,
            status: cause.status().as_u16(),
            bytes_out: content as u64,
            duration: took,
            first_byte: Some(took),
            cache: Cache::Error,
            error: Some(cause.as_str()),
            ..Access::default()
        });
    }
    socket.finish(&answer).await;
}

/// The log's method for one that can't be read.
fn unknown() -> http::Method {
    http::Method::from_bytes(b"-").unwrap_or_default()
}
