//! A connection at rest: no byte of a head has come, and nothing but its socket is held for it.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::time::{Instant, Sleep};

use crate::proxy::connection::Phase;
use crate::proxy::listener::link::Link;
use crate::proxy::listener::socket::{Next, Socket};
use crate::proxy::settings::Server;
use crate::telemetry::labels::Closed;

/// How a connection's rest ended.
pub(crate) enum Rested {
    /// Bytes wait to be read.
    Bytes,
    /// The client has closed the connection, or this process is told to leave.
    Over,
    /// The client has sent nothing for too long.
    Late(Closed),
}

/// Waits for the first byte of a head.
pub(crate) async fn rest(
    link: Link<'_>,
    socket: &Socket,
    mut timer: Pin<&mut Sleep>,
    mut stopping: Pin<&mut impl Future<Output = ()>>,
) -> Rested {
    let Link { proxy, phase, .. } = link;
    let server = &proxy.settings.server;
    timer.as_mut().reset(until(phase, server));
    loop {
        tokio::select! {
            biased;
            next = poll_fn(|cx| socket.poll_next(cx)) => return match next {
                Next::Bytes => Rested::Bytes,
                Next::End => Rested::Over,
            },
            () = stopping.as_mut() => return Rested::Over,
            () = timer.as_mut() => {
                if let Some(why) = phase.expired(server) {
                    return Rested::Late(why);
                }
                timer.as_mut().reset(until(phase, server));
            }
        }
    }
}

/// No other phase begins while a connection rests, so its deadline is the next thing to look at.
fn until(phase: &Phase, server: &Server) -> Instant {
    phase.deadline(server).unwrap_or_else(|| phase.next_look(server))
}
