//! The task of one WebSocket: it reads frames, sends what is due, and ends when nothing was heard for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Core;
use super::world::{Line, Out};

/// The most bytes of a frame.
pub(super) const MOST_BYTES: usize = 8_000_000;
const IDLE: u16 = 1002;
const TOO_BIG: u16 = 1009;
const UNREADABLE: u16 = 1011;
/// How long a closing waits for the other side.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ends.
enum End {
    With(u16),
    Gone,
}

pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MOST_BYTES)).max_frame_size(Some(MOST_BYTES))
}

/// Serves one connection to its end.
pub(super) async fn serve<S>(core: Arc<Core>, mut socket: WebSocketStream<S>, token: usize, device: String)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (out, todo) = unbounded_channel();
    let id = {
        let mut world = core.world();
        world.next_line += 1;
        let id = world.next_line;
        world.lines.insert(id, Line { token, device, topics: BTreeMap::new(), out, held: Vec::new() });
        id
    };
    let end = talk(&core, &mut socket, id, todo).await;
    core.world().lines.remove(&id);
    if let End::With(code) = end {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        // The other side may be gone; what is on its way is read, so that it can read the code.
        let farewell = async {
            let _ = socket.send(Message::Close(Some(frame))).await;
            let _ = socket.flush().await;
            let mut rest = vec![0; 64 * 1024];
            while matches!(socket.get_mut().read(&mut rest).await, Ok(1..)) {}
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

async fn talk<S>(
    core: &Core,
    socket: &mut WebSocketStream<S>,
    id: u64,
    mut todo: UnboundedReceiver<Out>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What is sent later, by the time at which it is due and the order in which it was said.
    let mut later: BTreeMap<(Instant, u64), String> = BTreeMap::new();
    let mut said = 0_u64;
    let mut last_heard = core.now();
    loop {
        let changed = core.changed.notified();
        let now = core.now();
        let is_frozen = core.is_frozen();
        if is_frozen {
            // What it does not read, nobody can be blamed for.
            last_heard = now;
        }
        let idle = now.saturating_sub(last_heard);
        let Some(left) = core.idle.checked_sub(Duration::from_millis(idle)).filter(|left| !left.is_zero())
        else {
            return End::With(IDLE);
        };
        let quiet_until = Instant::now() + left;
        let first = later.first_key_value().map(|(&(due, _), _)| due);
        tokio::select! {
            biased;
            () = changed => {}
            out = todo.recv() => match out {
                Some(Out::Frame { text, after }) if after.is_zero() => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return End::Gone;
                    }
                }
                Some(Out::Frame { text, after }) => {
                    said += 1;
                    later.insert((Instant::now() + after, said), text);
                }
                Some(Out::Close(code)) => return End::With(code),
                Some(Out::Drop) | None => return End::Gone,
            },
            () = sleep_until(first.unwrap_or(quiet_until)), if first.is_some() && !is_frozen => {
                if let Some((_, text)) = later.pop_first()
                    && socket.send(Message::text(text)).await.is_err()
                {
                    return End::Gone;
                }
            }
            message = socket.next(), if !is_frozen => {
                last_heard = core.now();
                match message {
                    Some(Ok(Message::Text(text))) => core.world().hear(id, text.as_str(), last_heard),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Binary(_)) | Err(Error::Utf8(_))) => return End::With(UNREADABLE),
                    Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                        return End::With(TOO_BIG);
                    }
                    Some(Ok(Message::Close(_))) => {
                        // The answer to it is queued already.
                        let _ = timeout(FAREWELL, socket.flush()).await;
                        return End::Gone;
                    }
                    Some(Err(_)) | None => return End::Gone,
                }
            }
            () = sleep_until(quiet_until) => {}
        }
    }
}
