//! The requests of a connection: hyper serves them until the connection ends or is idle.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep};

use crate::proxy::cause::Cause;
use crate::proxy::connection::Phase;
use crate::proxy::handle;
use crate::proxy::listener::link::Link;
use crate::proxy::listener::refusal::{self, Judged};
use crate::proxy::listener::socket::Socket;
use crate::proxy::respond::body::ReplyBody;
use crate::proxy::settings::Server;
use crate::telemetry::labels::Closed;

/// How many bytes above the limit of a head are still read.
const HEAD_SLACK: usize = 4096;
/// How often it is checked whether a connection is idle. What hyper holds for one that is, some 18 KiB, is
/// given back. Building it again costs more than a small hit, so a client that asks often never pays for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A connection that has been idle for this long is taken for idle.
const IDLE_AFTER: Duration = Duration::from_millis(200);

/// How many fields of a head the parser has room for.
#[derive(Clone, Copy)]
pub(crate) enum Parser {
    /// As many as it has on its stack. Any explicit number makes each request cost more.
    Usual,
    /// This many.
    Told(usize),
}

/// hyper's default.
const USUAL_FIELDS: usize = 100;

/// Why a connection is not served by this hyper any more.
pub(crate) enum Served {
    /// It has been idle for a while.
    Rests(Socket),
    /// The head is read again, by this parser.
    Again(Socket, Parser),
    /// It has ended.
    Over,
    /// The response broke off before a byte of it was sent. The client gets these bytes instead.
    Unanswered(Socket, Vec<u8>),
    /// The head is refused.
    Refused(Socket, Cause),
}

/// How hyper's service of a connection ended, or why it is ended.
enum Ended {
    ByItself(hyper::Result<()>),
    Late(Closed),
    Idle,
    /// The end of the process waits no longer.
    Cut,
}

// === impl Parser ===

impl Parser {
    /// The parser to begin with: few requests have more than the usual number of fields, and one that has is
    /// read again with more room.
    pub(crate) fn for_fields(most: usize) -> Self {
        if most < USUAL_FIELDS { Self::Told(most) } else { Self::Usual }
    }

    fn takes(self) -> usize {
        match self {
            Self::Usual => USUAL_FIELDS,
            Self::Told(fields) => fields,
        }
    }
}

/// Serves requests until the connection ends, is idle, or sends a head that is not accepted.
pub(crate) async fn serve(
    link: Link<'_>,
    socket: Socket,
    parser: Parser,
    leaving: &mut bool,
    mut timer: Pin<&mut Sleep>,
    mut stopping: Pin<&mut impl Future<Output = ()>>,
) -> Served {
    let Link { proxy, client, phase } = link;
    let server = &proxy.settings.server;
    let service = service_fn(|request: Request<Incoming>| {
        let busy = phase.busy();
        let request = request.map(|body| phase.content(body));
        async move {
            let is_old = request.version() == Version::HTTP_10 && request.method() != Method::HEAD;
            let response = handle::handle(proxy, client, request).await;
            if is_old && is_endless(&response) {
                busy.ends_by_closing();
            }
            Ok::<_, Infallible>(response.map(|body| body.on_connection(busy)))
        }
    });
    let mut conn = builder(server, parser).serve_connection(TokioIo::new(socket), service);
    if *leaving {
        Pin::new(&mut conn).graceful_shutdown();
    }
    timer.as_mut().reset(next_look(phase, server));
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut conn => break Ended::ByItself(ended),
            () = stopping.as_mut(), if !*leaving => {
                *leaving = true;
                Pin::new(&mut conn).graceful_shutdown();
            }
            () = timer.as_mut() => {
                if let Some(why) = phase.expired(server) {
                    break Ended::Late(why);
                }
                if proxy.drain.is_cut() {
                    break Ended::Cut;
                }
                if phase.is_idle_for(IDLE_AFTER) && !*leaving {
                    break Ended::Idle;
                }
                timer.as_mut().reset(next_look(phase, server));
            }
        }
    };
    match ended {
        Ended::ByItself(Ok(())) | Ended::Cut => Served::Over,
        Ended::ByItself(Err(error)) => {
            proxy.observer.connection_error(&error);
            if let Some(why) = phase.closed() {
                proxy.observer.closed(why);
                conn.into_parts().io.into_inner().reset();
                return Served::Over;
            }
            if let Some(cause) = phase.answer().instead() {
                let (answer, _) = cause.raw(proxy.now_ms());
                return Served::Unanswered(conn.into_parts().io.into_inner(), answer);
            }
            if !error.is_parse() || !phase.is_unasked() {
                return Served::Over;
            }
            let parts = conn.into_parts();
            let mut socket = parts.io.into_inner();
            let cause = match refusal::judge(&error, &parts.read_buf, server.max_target, parser.takes()) {
                Judged::Again(bytes) => {
                    socket.again(bytes);
                    return Served::Again(socket, parser);
                }
                Judged::ManyFields if parser.takes() < server.max_fields => {
                    socket.again(parts.read_buf);
                    return Served::Again(socket, Parser::Told(server.max_fields));
                }
                Judged::ManyFields => Cause::HeadTooLarge,
                Judged::Refused(cause) => cause,
            };
            Served::Refused(socket, cause)
        }
        Ended::Late(why) => {
            phase.closes(why);
            proxy.observer.closed(why);
            if why == Closed::Idle {
                return Served::Over;
            }
            let socket = conn.into_parts().io.into_inner();
            if why == Closed::Send {
                socket.reset();
            } else if phase.is_in_head() {
                return Served::Refused(socket, Cause::HeadTimeout);
            }
            Served::Over
        }
        Ended::Idle => {
            let parts = conn.into_parts();
            let mut socket = parts.io.into_inner();
            if !parts.read_buf.is_empty() {
                // The beginning of a head that came with the request before it.
                socket.again(parts.read_buf);
            }
            Served::Rests(socket)
        }
    }
}

fn builder(server: &Server, parser: Parser) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    // A client may end its side after its request (RFC 9112 §9.6): it is answered all the same.
    builder.half_close(true);
    // A little above the limit, so that a head over it is read and answered by this proxy.
    builder.max_buf_size(server.max_header_size.max(8192).saturating_add(HEAD_SLACK));
    if let Parser::Told(fields) = parser {
        builder.max_headers(fields);
    }
    builder
}

fn next_look(phase: &Phase, server: &Server) -> Instant {
    phase.next_look(server).min(Instant::now() + LOOK_EVERY)
}

/// Returns whether a response to an HTTP/1.0 request has no other end than the connection's.
fn is_endless(response: &Response<ReplyBody>) -> bool {
    response.body().size_hint().exact().is_none() && !response.headers().contains_key(CONTENT_LENGTH)
}
