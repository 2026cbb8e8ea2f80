//! HTTP/2 to an origin: many exchanges over few connections.
//!
//! The library for HTTP/1.1 would speak HTTP/2 too, but it hides what must be known here: whether a body
//! ended or was reset with NO_ERROR, which requests the origin has not processed, and how many streams a
//! connection allows. So this is built on `h2`, the library of the frames.
//!
//! A request is sent a second time, and never a third, in two cases. First, the origin says that it did not
//! process the request (REFUSED_STREAM, or a stream above the last one of GOAWAY; RFC 9113 §8.7): then
//! whatever the method, as long as all content that was sent is still at hand. Second, a connection that had
//! answered before closed without a word: then only a request that may be repeated, as over HTTP/1.1. No
//! other reset leads to a second try. The second try goes over another connection: over a new one if the
//! first's has ended, and after a refusal over any.
//!
//! Content goes out over a connection without other content under way, as far as connections can be made: a
//! connection's streams share a flow-control window, and a handler that does not read leaves its content in
//! it.

mod connection;
mod content;
mod dial;
mod pool;
mod sieve;
mod trouble;
mod unread;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri};
use tokio::time::Instant;
use url::{Position, Url};

use self::connection::Connection;
use self::content::StreamContent;
use self::dial::Dial;
use self::pool::{Had, Pool, Stream};
use self::trouble::{Again, Trouble};
use self::upload::Upload;
use super::body::Outgoing;
use super::limit::Permit;
use super::probe::ConnectionProbe;
use super::settings::{ClientError, HttpVersion, Settings};
use super::tls::Shared;
use super::{Error, ErrorKind, retry};

/// The HTTP/2 connections to an origin.
#[derive(Debug)]
pub(super) struct Multiplex {
    pool: Pool,
    first_byte_timeout: Duration,
    read_timeout: Duration,
}

/// A request to be sent.
pub(super) struct SentRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    /// As for HTTP/1.1. Host becomes the authority; without one it is the URL's.
    pub(super) fields: HeaderMap,
    pub(super) body: Option<Outgoing>,
}

/// What became of a request.
pub(super) enum Handled {
    /// It was sent `tries` times, or no connection could be had.
    Done {
        /// The head and the body to come.
        answer: Result<http::Response<reqwest::Body>, Error>,
        /// How often it was sent.
        tries: u32,
    },
    /// The origin speaks HTTP/1.1 only, and that is allowed: nothing was sent.
    HttpOne(SentRequest),
}

// === impl Multiplex ===

impl Multiplex {
    /// The connections for these settings; `None` if HTTP/2 is never spoken under them.
    pub(super) fn new(settings: &Settings, url: &Url, shared: &Shared) -> Result<Option<Self>, ClientError> {
        // Without TLS the version is not negotiated, so "auto" is HTTP/1.1.
        let spoken = match settings.http {
            HttpVersion::One => false,
            HttpVersion::Two => true,
            HttpVersion::Auto => url.scheme() == "https",
        };
        if !spoken {
            return Ok(None);
        }
        let pool =
            Pool::new(Dial::new(settings, url, shared)?, settings.pool_idle_timeout, settings.most_here());
        let Settings { first_byte_timeout, read_timeout, .. } = *settings;
        Ok(Some(Self { pool, first_byte_timeout, read_timeout }))
    }

    /// Sends a request and waits for the head of its response. `apart`: over a connection that
    /// nothing else uses.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub(super) async fn exchange(
        &self,
        asked: SentRequest,
        apart: bool,
        probe: &Arc<ConnectionProbe>,
        permit: &mut Permit,
    ) -> Handled {
        let repeatable = retry::repeatable(&asked.method, asked.body.is_some());
        let SentRequest { method, url, fields, body } = asked;
        let mut upload = body.map(Upload::new);
        let mut tries = 1;
        let mut failed = None;
        loop {
            let had = tokio::select! {
                biased;
                had = self.stream(apart, upload.is_some(), failed.as_ref(), probe) => had,
                unwanted = permit.revoked() => Err(unwanted),
            };
            let stream = match had {
                Ok(Had::Stream(stream)) => stream,
                // The client of HTTP/1.1 begins anew, so none of the content may have been read.
                Ok(Had::HttpOne) if tries == 1 || upload.is_none() => {
                    let body = upload.map(Upload::untouched);
                    return Handled::HttpOne(SentRequest { method, url, fields, body });
                }
                Ok(Had::HttpOne) => {
                    let detail = "the origin no longer speaks HTTP/2".to_owned();
                    let error = Error { kind: ErrorKind::Protocol, detail };
                    return Handled::Done { answer: Err(error), tries };
                }
                Err(error) => return Handled::Done { answer: Err(error), tries },
            };
            let connection = stream.connection().clone();
            let sent = tokio::select! {
                biased;
                sent = self.send(stream, &method, &url, &fields, &mut upload, probe) => sent,
                unwanted = permit.revoked() => Err(Trouble::last(unwanted)),
            };
            let trouble = match sent {
                Ok(answer) => return Handled::Done { answer: Ok(answer), tries },
                Err(trouble) => trouble,
            };
            let again = match trouble.again {
                Again::Never => false,
                Again::Repeatable => repeatable,
                Again::Always => upload.as_mut().is_none_or(Upload::rewind),
            };
            if !again || tries > 1 || permit.again().await.is_err() {
                return Handled::Done { answer: Err(trouble.error), tries };
            }
            tries += 1;
            failed = Some(connection);
        }
    }

    async fn stream(
        &self,
        apart: bool,
        content: bool,
        failed: Option<&Arc<Connection>>,
        probe: &ConnectionProbe,
    ) -> Result<Had, Error> {
        probe.connecting();
        let began = Instant::now();
        let had = if apart {
            self.pool.apart().await
        } else if let Some(failed) = failed {
            self.pool.again(content, failed).await
        } else {
            self.pool.stream(content).await
        };
        let took = matches!(&had, Ok(Had::Stream(stream)) if stream.is_first()).then(|| began.elapsed());
        probe.connected(took);
        had
    }

    async fn send(
        &self,
        mut stream: Stream,
        method: &Method,
        url: &Url,
        fields: &HeaderMap,
        upload: &mut Option<Upload>,
        probe: &Arc<ConnectionProbe>,
    ) -> Result<http::Response<reqwest::Body>, Trouble> {
        let request = head(method, url, fields).map_err(Trouble::last)?;
        let connection = stream.connection().clone();
        // Read before sending: an answer that comes later says nothing about this exchange.
        let used = connection.has_answered();
        let broke = |error: &h2::Error| trouble::head(error, probe, used);
        let mut sender = connection.sender();
        let begun = sender.send_request(request, upload.is_none());
        let (answer, sends) = begun.map_err(|error| trouble::unsent(&error, probe))?;
        let exchange = async {
            // Waits until the stream may begin. An error is ignored: it may be a GOAWAY that does not affect
            // this stream, so only the response tells.
            let _ = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
            let mut answer = answer;
            let mut sends = Some(sends);
            let head = std::future::poll_fn(|cx| {
                if let (Some(upload), Some(to)) = (upload.as_mut(), sends.as_mut())
                    && upload.poll_pour(to, cx).is_ready()
                {
                    sends = None;
                    if upload.is_small() {
                        stream.uploaded();
                    }
                }
                std::pin::Pin::new(&mut answer).poll(cx)
            });
            let answer = head.await.map_err(|error| broke(&error))?;
            connection.answered();
            if sends.is_none() {
                // An origin that answers has read what it wants.
                stream.uploaded();
            }
            Ok((answer, sends))
        };
        let (answer, sends) = tokio::select! {
            biased;
            done = exchange => done?,
            () = probe.silent(self.first_byte_timeout) => {
                // The connection itself may be dead, and the next request on it would wait as long.
                connection.leave();
                return Err(Trouble::last(Error {
                    kind: ErrorKind::FirstByteTimeout,
                    detail: format!("no head within {} ms", self.first_byte_timeout.as_millis()),
                }));
            }
        };
        // The rest of the content goes out whether or not the response is read, even after its end: an origin
        // may answer first and read later (RFC 9113 §8.1).
        let stream = Arc::new(stream);
        let rest = upload.take().and_then(|upload| upload.rest(sends, stream.clone(), self.read_timeout));
        let (parts, body) = answer.into_parts();
        let content = StreamContent::new(body, &parts.headers, stream, rest).map_err(Trouble::last)?;
        Ok(http::Response::from_parts(parts, reqwest::Body::wrap(content)))
    }
}

/// The head of a request for HTTP/2.
fn head(method: &Method, url: &Url, fields: &HeaderMap) -> Result<http::Request<()>, Error> {
    let wrong = |why: String| Error { kind: ErrorKind::Protocol, detail: format!("request: {why}") };
    let mut fields = fields.clone();
    // They belong to HTTP/1.1's connections and framing (RFC 9113 §8.2.2).
    fields.remove(CONNECTION);
    fields.remove(TRANSFER_ENCODING);
    let authority = match fields.remove(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()),
        None => Authority::try_from(&url[Position::BeforeHost..Position::AfterPort]),
    };
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let uri = Uri::builder()
        .scheme(if url.scheme() == "https" { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(authority.map_err(|error| wrong(error.to_string()))?)
        .path_and_query(PathAndQuery::try_from(target).map_err(|error| wrong(error.to_string()))?)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let mut request = http::Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn host_is_the_authority_and_the_connection_is_not_spoken_of() {
        let url = Url::parse("http://origin.example:8080/a/b?c=%20d").unwrap();
        let mut fields = HeaderMap::new();
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
        fields.insert("te", HeaderValue::from_static("trailers"));
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let request = head(&Method::GET, &url, &fields).unwrap();
        assert_eq!(request.uri(), "http://origin.example:8080/a/b?c=%20d");
        assert_eq!(request.headers().len(), 1);

        fields.insert(HOST, HeaderValue::from_static("name.example"));
        let request = head(&Method::GET, &url, &fields).unwrap();
        assert_eq!(request.uri(), "http://name.example/a/b?c=%20d");
        assert!(!request.headers().contains_key(HOST));

        fields.insert(HOST, HeaderValue::from_static("a b"));
        assert_eq!(head(&Method::GET, &url, &fields).unwrap_err().kind, ErrorKind::Protocol);
    }
}
