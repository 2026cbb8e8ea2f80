//! Connects to a Dust server and joins a store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::super::{Error, Result};
use super::fault::{self, Reason};
use super::frame::{self, Frame, JOIN, Reply};
use super::target::Target;

/// The bound of connecting, upgrading and joining.
const BOUND: Duration = Duration::from_secs(2);
/// The longest frame that is taken. The server's longest events are a little over its own bound of 8 MB.
const LONGEST_FRAME: usize = 32 << 20;

/// A connection of any kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Connection>>;

/// A joined store.
pub(super) struct Joined {
    pub socket: Socket,
    /// The count of its latest write.
    pub count: u64,
}

/// Connects and joins the store `name`. No event is lost after this has returned.
pub(super) async fn join(target: &Target, name: &str, device: &str) -> Result<Joined> {
    let whole = async {
        let mut socket = upgrade(target, device).await?;
        let topic = topic(name);
        socket.send(Message::text(frame::join(&topic))).await.map_err(|error| broken(&error))?;
        loop {
            let Some(message) = socket.next().await else {
                return Err(Error::Unavailable("closed before the store was joined".into()));
            };
            let message = message.map_err(|error| broken(&error))?;
            let Message::Text(text) = message else { continue };
            let Some(Frame(_, number, of, event, payload)) = Frame::parse(&text) else { continue };
            if event != "phx_reply" || number.as_deref() != Some(JOIN) || of != topic {
                continue;
            }
            let count = accepted(payload)?;
            return Ok(Joined { socket, count });
        }
    };
    timeout(BOUND, whole).await.unwrap_or_else(|_| Err(Error::silent(BOUND)))
}

/// The topic of a store. All clients use the form with its name: events go to that very form.
pub(super) fn topic(name: &str) -> String {
    format!("store:{name}")
}

/// Reads the reply to a join: the count of the latest write.
fn accepted(payload: Value) -> Result<u64> {
    let bad = || Error::Broken("a join was answered with no reply".into());
    let Reply { status, response } = Reply::deserialize(payload).map_err(|_| bad())?;
    if status != "ok" {
        return Err(Reason::of(&response).error());
    }
    let may_write = response.pointer("/permissions/write").and_then(Value::as_bool);
    let scopes = response.get("scopes").and_then(Value::as_array);
    let has_scope = scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope == "entries:write"));
    if may_write == Some(false) || !has_scope {
        return Err(Error::Refused("the token lacks the scope entries:write".into()));
    }
    response.get("store_seq").and_then(Value::as_u64).ok_or_else(bad)
}

async fn upgrade(target: &Target, device: &str) -> Result<Socket> {
    let host = target.bare_host();
    let refused = |error: std::io::Error| Error::Unavailable(format!("no connection: {error}"));
    let tcp = TcpStream::connect((host, target.port)).await.map_err(refused)?;
    tcp.set_nodelay(true).map_err(refused)?;
    let connection: Box<dyn Connection> = if target.is_tls {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| Error::Refused("its host is no name for a certificate".into()))?;
        let tls = TlsConnector::from(Arc::new(trust()?)).connect(name, tcp).await;
        Box::new(tls.map_err(|error| {
            let text = error.to_string();
            let is_certificate = text.contains("invalid peer certificate");
            if is_certificate { Error::Refused(text) } else { Error::Unavailable(text) }
        })?)
    } else {
        Box::new(tcp)
    };
    let limits =
        WebSocketConfig::default().max_message_size(Some(LONGEST_FRAME)).max_frame_size(Some(LONGEST_FRAME));
    let upgraded = client_async_with_config(target.socket(device), connection, Some(limits)).await;
    upgraded.map(|(socket, _)| socket).map_err(|error| broken(&error))
}

/// The authorities that the machine trusts.
fn trust() -> Result<ClientConfig> {
    let wrong = |error: rustls::Error| Error::Unavailable(format!("no TLS: {error}"));
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
    let verifier = Arc::new(Verifier::new(provider).map_err(wrong)?);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// What a failure of a socket means. Its text must not have the URL in it, for the token is in that.
pub(super) fn broken(error: &WsError) -> Error {
    match error {
        WsError::Http(response) => fault::of_status(response.status().as_u16()),
        WsError::Url(_) | WsError::HttpFormat(_) => Error::Refused("its URL is none for a socket".into()),
        WsError::Capacity(_) => Error::Broken("it sent a longer frame than is taken".into()),
        WsError::Protocol(why) => Error::Unavailable(format!("the line broke: {why}")),
        WsError::Io(why) => Error::Unavailable(format!("the line broke: {why}")),
        _ => Error::Unavailable("the line broke".into()),
    }
}
