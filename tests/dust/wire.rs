//! One connection of a replay.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A WebSocket with what came over it and was not compared yet.
#[derive(Debug)]
pub struct Wire {
    socket: WebSocketStream<TcpStream>,
    device: String,
    /// Replies, catch-up and echoes: their order is the server's word.
    pub own: VecDeque<Value>,
    /// Live events of others: they may come at any time.
    pub foreign: VecDeque<Value>,
    /// The code with which the server closed; 1006 if it broke off.
    pub closed: Option<u16>,
}

/// What an upgrade was answered with.
#[derive(Debug)]
pub enum Opened {
    Wire(Box<Wire>),
    Refused { status: u16, body: Value },
    NobodyThere,
}

// === impl Wire ===

impl Wire {
    /// Connects, and asks for an upgrade at this target.
    pub async fn open(addr: SocketAddr, target: &str) -> Opened {
        let Ok(stream) = TcpStream::connect(addr).await else { return Opened::NobodyThere };
        stream.set_nodelay(true).unwrap();
        let request = format!("ws://{addr}{target}").into_client_request().unwrap();
        let query = target.split_once("device_id=").map(|(_, rest)| rest);
        let device = query.and_then(|rest| rest.split('&').next()).unwrap_or_default().to_owned();
        let config = WebSocketConfig::default();
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => {
                let (own, foreign) = (VecDeque::new(), VecDeque::new());
                Opened::Wire(Box::new(Self { socket, device, own, foreign, closed: None }))
            }
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = serde_json::from_slice(body).unwrap_or(Value::Null);
                Opened::Refused { status: response.status().as_u16(), body }
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Sends, and reads until the server has handled it. A ping is answered in its turn.
    pub async fn say(&mut self, message: Message) {
        // A server may close in the middle of a large message.
        let _ = self.socket.send(message).await;
        self.settle().await;
    }

    /// Reads until the server has handled and sent all before now, or has closed.
    pub async fn settle(&mut self) {
        if self.closed.is_some() {
            return;
        }
        let _ = self.socket.send(Message::Ping(Bytes::new())).await;
        while self.closed.is_none() {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server answers a ping") {
                Some(Ok(Message::Pong(_))) => return,
                Some(Ok(Message::Text(text))) => self.sort(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    self.closed = Some(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(other)) => panic!("{other}"),
                Some(Err(_)) | None => self.closed = Some(1006),
            }
        }
    }

    /// Closes, and reads what was still to come.
    pub async fn close(&mut self) {
        self.settle().await;
        let frame = CloseFrame { code: 1000.into(), reason: "".into() };
        let _ = self.socket.close(Some(frame)).await;
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.socket.next()).await {}
        self.closed = Some(1000);
    }

    fn sort(&mut self, frame: Value) {
        let device = frame[4]["device_id"].as_str();
        let is_foreign = frame[0].is_null() && device.is_some_and(|device| device != self.device);
        if is_foreign { self.foreign.push_back(frame) } else { self.own.push_back(frame) }
    }

    /// Whether a recorded frame stands among the live events of others.
    pub fn is_foreign(&self, frame: &Value) -> bool {
        let device = frame[4]["device_id"].as_str();
        frame[0].is_null() && device.is_some_and(|device| device != self.device)
    }
}
