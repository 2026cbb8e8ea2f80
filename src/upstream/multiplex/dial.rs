//! Making a connection: name, TCP, TLS, and the origin's first settings.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;
use url::Url;

use super::connection::{Connection, STREAM_WINDOW, STREAMS};
use super::sieve::Sieve;
use super::trouble;
use crate::upstream::settings::{ClientError, HttpVersion, Settings};
use crate::upstream::tls::Shared;
use crate::upstream::{Error, ErrorKind};

/// The ALPN name of HTTP/2 (RFC 9113 §3.2).
const H2: &[u8] = b"h2";
/// How long a head may be, in bytes: as over HTTP/1.1.
const HEAD: u32 = 408 << 10;
/// The time before and between TCP keepalive probes on an idle connection.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How an origin is reached.
pub(super) struct Dial {
    to: http::Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Whether an origin that speaks HTTP/1.1 only is allowed and not an error.
    either: bool,
    /// How long making a connection may take, and the kind of error if it takes longer.
    limit: Option<(Duration, ErrorKind)>,
}

/// What making a connection led to.
pub(super) enum Dialed {
    /// An HTTP/2 connection. One stream is taken; the caller has to drive it.
    Two(Arc<Connection>, Box<h2::client::Connection<Io, Bytes>>),
    /// The origin speaks HTTP/1.1 only.
    HttpOne,
}

/// What a connection goes over: TCP, or TLS over it.
pub(super) type Io = Box<dyn Wire>;

/// A stream of bytes in both directions.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

// === impl Dial ===

impl Dial {
    pub(super) fn new(settings: &Settings, url: &Url, shared: &Shared) -> Result<Self, ClientError> {
        let wrong = |why: String| ClientError::Url(why);
        let https = url.scheme() == "https";
        let either = settings.http == HttpVersion::Auto;
        let host = url.host_str().ok_or_else(|| wrong("no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or_default();
        // This URL is only for the TCP connector: TLS is added here.
        let to = format!("http://{host}:{port}/").parse().map_err(|error| wrong(format!("{error}")))?;
        let tls = if https {
            let name = settings.tls.server_name.as_deref().unwrap_or(host);
            let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            let name = ServerName::try_from(name).map_err(|error| ClientError::Tls(error.to_string()))?;
            let mut config = shared.tls(&settings.tls)?;
            config.alpn_protocols = vec![H2.to_vec()];
            if either {
                config.alpn_protocols.push(b"http/1.1".to_vec());
            }
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { to, tls, either, limit: settings.connect_limit() })
    }

    /// Makes a connection within its time limit.
    pub(super) async fn connect(&self) -> Result<Dialed, Error> {
        let Some((limit, kind)) = self.limit else { return self.dial().await };
        tokio::time::timeout(limit, self.dial())
            .await
            .unwrap_or_else(|_| Err(wrong(kind, format!("no connection within {} ms", limit.as_millis()))))
    }

    async fn dial(&self) -> Result<Dialed, Error> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(3));
        let socket: TokioIo<TcpStream> =
            tcp.call(self.to.clone()).await.map_err(|error| trouble::connect(&error))?;
        let socket = socket.into_inner();
        let Some((connector, name)) = &self.tls else { return shake(Box::new(socket)).await };
        let secured = connector.connect(name.clone(), socket).await;
        let secured = secured.map_err(|error| wrong(ErrorKind::Tls, error.to_string()))?;
        if secured.get_ref().1.alpn_protocol() == Some(H2) {
            return shake(Box::new(secured)).await;
        }
        if self.either {
            return Ok(Dialed::HttpOne);
        }
        Err(wrong(ErrorKind::Tls, "the origin offers no HTTP/2".to_owned()))
    }
}

/// Exchanges SETTINGS, so that the origin's limits are known before the first stream begins. An origin that
/// accepts connections but reads nothing fails here, and is not taken for one that works on a request.
async fn shake(io: Io) -> Result<Dialed, Error> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * u32::try_from(STREAMS).unwrap_or(1))
        // Small frames are put together here; the library would give the connection up.
        .data_frame_budget(usize::MAX)
        .max_header_list_size(HEAD);
    let (io, seen) = Sieve::new(io);
    let not = |why: String| wrong(ErrorKind::Protocol, format!("no HTTP/2 connection: {why}"));
    let (send, mut frames) =
        builder.handshake::<Io, Bytes>(Box::new(io)).await.map_err(|error| not(error.to_string()))?;
    let most = std::future::poll_fn(|cx| match Pin::new(&mut frames).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(not("closed".to_owned()))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(not(error.to_string()))),
        Poll::Pending => match frames.max_concurrent_send_streams() {
            0 => Poll::Pending,
            most => Poll::Ready(Ok(most)),
        },
    });
    let most = most.await?;
    Ok(Dialed::Two(Arc::new(Connection::new(send, most, seen)), Box::new(frames)))
}

fn wrong(kind: ErrorKind, detail: String) -> Error {
    Error { kind, detail }
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("to", &self.to).field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}
