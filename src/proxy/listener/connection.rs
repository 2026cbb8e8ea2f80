//! One connection, from its first byte to its last.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use crate::drain::Guard;
use crate::proxy::cause::Cause;
use crate::proxy::connection::Phase;
use crate::proxy::listener::refusal::{self, Judged};
use crate::proxy::listener::socket::Socket;
use crate::proxy::respond::body::ReplyBody;
use crate::proxy::{Client, Proxy, handle};
use crate::telemetry::Access;
use crate::telemetry::labels::{Cache, Closed};

/// How many bytes above the limit of a head are still read.
const HEAD_SLACK: usize = 4096;

/// How many fields of a head the parser has room for.
#[derive(Clone, Copy)]
enum Parser {
    /// As many as it has on its stack. Any explicit number makes each request cost more.
    Usual,
    /// This many.
    Told(usize),
}

/// hyper's default.
const USUAL_FIELDS: usize = 100;

/// How hyper's service of a connection ended, or which deadline passed.
enum Ended {
    ByItself(hyper::Result<()>),
    Late(Closed),
}

impl Parser {
    /// The parser to begin with: few requests have more than the usual number of fields, and one that has is
    /// read again with more room.
    fn for_fields(most: usize) -> Self {
        if most < USUAL_FIELDS { Self::Told(most) } else { Self::Usual }
    }

    fn takes(self) -> usize {
        match self {
            Self::Usual => USUAL_FIELDS,
            Self::Told(fields) => fields,
        }
    }
}

/// Serves a connection until it has ended.
pub(crate) async fn serve(socket: TcpStream, peer: SocketAddr, proxy: &Arc<Proxy>, drain: Guard) {
    let server = &proxy.settings.server;
    // Small responses are written in one piece: waiting for more would only delay them.
    let _ = socket.set_nodelay(true);
    let client = Client::at(peer);
    let phase = Arc::new(Phase::new(client.presence.clone()));
    let mut socket = Socket::new(socket, phase.clone(), server);
    let mut stopping = pin!(drain.draining());
    let mut leaving = false;
    let mut parser = Parser::for_fields(server.max_fields);
    let mut timer = pin!(sleep_until(phase.next_look(server)));
    loop {
        let service = service_fn(|request: Request<Incoming>| {
            let busy = phase.busy();
            let request = request.map(|body| phase.content(body));
            let client = &client;
            async move {
                let is_old = request.version() == Version::HTTP_10 && request.method() != Method::HEAD;
                let response = handle::handle(proxy, client, request).await;
                if is_old && is_endless(&response) {
                    busy.ends_by_closing();
                }
                Ok::<_, std::convert::Infallible>(response.map(|body| body.on_connection(busy)))
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(None);
        // A client may end its side after its request (RFC 9112 §9.6): it is answered all the same.
        builder.half_close(true);
        // A little above the limit, so that a head over it is read and answered by this proxy.
        builder.max_buf_size(server.max_header_size.max(8192).saturating_add(HEAD_SLACK));
        if let Parser::Told(fields) = parser {
            builder.max_headers(fields);
        }
        let mut conn = builder.serve_connection(TokioIo::new(socket), service);
        if leaving {
            Pin::new(&mut conn).graceful_shutdown();
        }
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut conn => break Ended::ByItself(ended),
                () = &mut stopping, if !leaving => {
                    leaving = true;
                    Pin::new(&mut conn).graceful_shutdown();
                }
                () = timer.as_mut() => {
                    if let Some(why) = phase.expired(server) {
                        break Ended::Late(why);
                    }
                    timer.as_mut().reset(phase.next_look(server));
                }
            }
        };
        let cause = match ended {
            Ended::ByItself(Ok(())) => return,
            Ended::ByItself(Err(error)) => {
                proxy.observer.connection_error(&error);
                if let Some(why) = phase.closed() {
                    proxy.observer.closed(why);
                    return conn.into_parts().io.into_inner().reset();
                }
                if let Some(cause) = phase.answer().instead() {
                    let (answer, _) = cause.raw(proxy.now_ms());
                    return conn.into_parts().io.into_inner().finish(&answer).await;
                }
                if !error.is_parse() || !phase.is_unasked() {
                    return;
                }
                let parts = conn.into_parts();
                socket = parts.io.into_inner();
                match refusal::judge(&error, &parts.read_buf, server.max_target, parser.takes()) {
                    Judged::Again(bytes) => {
                        socket.again(bytes);
                        continue;
                    }
                    Judged::ManyFields if parser.takes() < server.max_fields => {
                        parser = Parser::Told(server.max_fields);
                        socket.again(parts.read_buf);
                        continue;
                    }
                    Judged::ManyFields => Cause::HeadTooLarge,
                    Judged::Refused(cause) => cause,
                }
            }
            Ended::Late(why) => {
                phase.closes(why);
                proxy.observer.closed(why);
                if why == Closed::Idle {
                    return;
                }
                socket = conn.into_parts().io.into_inner();
                if why == Closed::Send {
                    return socket.reset();
                }
                if !phase.is_in_head() {
                    return;
                }
                Cause::HeadTimeout
            }
        };
        return refuse(socket, &client, &phase, proxy, cause).await;
    }
}

/// Returns whether a response to an HTTP/1.0 request has no other end than the connection's.
fn is_endless(response: &Response<ReplyBody>) -> bool {
    response.body().size_hint().exact().is_none() && !response.headers().contains_key(CONTENT_LENGTH)
}

/// Answers a head that hyper did not accept, logs it, and closes the connection.
async fn refuse(socket: Socket, client: &Client, phase: &Phase, proxy: &Proxy, cause: Cause) {
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
