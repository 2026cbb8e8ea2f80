//! The client of one origin.
//!
//! A request goes out as it stands: the target byte for byte, the fields in their order. The library below
//! makes two changes: field names are lower case on the wire, and a request without Accept gets `accept:
//! */*`, which means the same (RFC 9110 §12.5.1). There is no setting against that field, and the library's
//! connections cannot be wrapped, so it cannot be removed further down either.
//!
//! All requests share connections, except where authentication is bound to a connection. A request that
//! begins such authentication has a connection of its own, which is closed after it. So has every request to
//! an origin for some minutes after the origin was seen to ask for such authentication.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method};
use http_body::Body as _;
use tokio::time::Instant;
use url::{Position, Url};

use super::body::{Incoming, Outgoing};
use super::bound::Latch;
use super::limit::{Limit, Permit, Want};
use super::multiplex::{Handled, Multiplex, SentRequest};
use super::own::OwnUrls;
use super::probe::ConnectionProbe;
use super::settings::{ClientError, HostRule, Settings};
use super::tls::Shared;
use super::transport::{self, Transport};
use super::{
    Body, Error, ErrorKind, Request, Response, Timing, Upstream, ahead, bound, classify, connection, head,
    retry,
};

/// An origin that is reached over HTTP.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    transport: Transport,
    /// The connections for HTTP/2; `None` where only HTTP/1.1 is spoken.
    multiplex: Option<Multiplex>,
    limit: Limit,
    host: Host,
    own: OwnUrls,
    /// Whether the origin binds authentication to connections: then none is kept.
    latch: Arc<Latch>,
}

/// The Host that is sent.
#[derive(Debug)]
enum Host {
    /// The URL's authority, as the library sends it.
    Url,
    /// Always this.
    Fixed(HeaderValue),
    /// The request's; without one, this or the URL's.
    Client(Option<HeaderValue>),
}

// === impl Client ===

impl Client {
    /// A client with these settings. Reads the files that they name; connects to nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        Self::sharing(settings, &Shared::default())
    }

    /// As [`Client::new`], sharing certificates and TLS sessions with all clients made from the same
    /// `shared`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn sharing(settings: Settings, shared: &Shared) -> Result<Self, ClientError> {
        let transport = Transport::new(&settings, shared)?;
        let multiplex = Multiplex::new(&settings, &transport::parse(settings.url.reveal())?, shared)?;
        let value = |name: &str| {
            HeaderValue::from_str(name)
                .ok()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| ClientError::Host(name.to_owned()))
        };
        let authority = transport.authority.as_deref().map(value).transpose()?;
        let host = match (&settings.host, authority) {
            (HostRule::Upstream, None) => Host::Url,
            (HostRule::Upstream, Some(authority)) => Host::Fixed(authority),
            (HostRule::Client, authority) => Host::Client(authority),
            (HostRule::Name(name), _) => Host::Fixed(value(name)?),
        };
        let limit = Limit::new(settings.most_here(), settings.queue, settings.queue_timeout);
        let latch = Arc::new(Latch::new(settings.pool_idle_timeout));
        let own = OwnUrls::new(&settings)?;
        Ok(Self { settings, transport, multiplex, limit, host, own, latch })
    }

    /// The limit on exchanges at a time, for its gauges.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The URL of a target, if the library sends exactly that target.
    fn url(&self, target: &str) -> Result<Url, Error> {
        let wrong = |why: &str| Error { kind: ErrorKind::Protocol, detail: format!("target: {why}") };
        if !target.starts_with('/') {
            return Err(wrong("does not begin with a slash"));
        }
        let base = &self.transport.prefix[self.transport.path_at..];
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut url = self.transport.root.clone();
        if base.is_empty() {
            url.set_path(path);
        } else {
            url.set_path(&format!("{base}{path}"));
        }
        url.set_query(query);
        // The library may have changed it: escaped a character, or resolved a dot segment.
        let sent = url[Position::BeforePath..Position::AfterQuery].strip_prefix(base);
        if sent == Some(target) { Ok(url) } else { Err(wrong("is not in canonical form")) }
    }

    fn host(&self, fields: &HeaderMap) -> Option<HeaderValue> {
        match &self.host {
            Host::Url => None,
            Host::Fixed(host) => Some(host.clone()),
            Host::Client(fallback) => fields.get(HOST).or(fallback.as_ref()).cloned(),
        }
    }

    /// Sends a request once over HTTP/1.1, and waits for the head of its response.
    async fn exchange(
        &self,
        client: &reqwest::Client,
        request: reqwest::Request,
        probe: &Arc<ConnectionProbe>,
        permit: &mut Permit,
    ) -> Result<http::Response<reqwest::Body>, Error> {
        let limit = self.settings.first_byte_timeout;
        tokio::select! {
            biased;
            answer = probe.watch(client.execute(request)) => {
                probe.went_over(match &answer {
                    Ok(answer) => connection::of_answer(answer.extensions()),
                    Err(error) => connection::of_error(error),
                });
                answer.map(Into::into).map_err(|error| classify::head(&error, probe))
            }
            () = probe.silent(limit) => Err(Error {
                kind: ErrorKind::FirstByteTimeout,
                detail: format!("no head within {} ms", limit.as_millis()),
            }),
            unwanted = permit.revoked() => Err(unwanted),
        }
    }

    /// Makes a [`Response`] of what the library returned: judges its framing, and removes hop-by-hop fields.
    fn response(
        &self,
        method: &Method,
        answer: http::Response<reqwest::Body>,
        probe: Arc<ConnectionProbe>,
        permit: Permit,
        timing: Timing,
    ) -> Result<Response, Error> {
        let (parts, body) = answer.into_parts();
        let exact = body.size_hint().exact();
        let framing = head::framing(method, parts.status, parts.version, &parts.headers, exact)?;
        let (many, most) = (parts.headers.len(), self.settings.max_fields);
        if many > most {
            let detail = format!("{many} fields, more than server.max_fields = {most}");
            return Err(Error { kind: ErrorKind::Protocol, detail });
        }
        let mut headers = parts.headers;
        let trailers = head::trailers(&headers, framing);
        head::incoming(parts.status, &mut headers);
        let came = trailers.came.clone();
        let body: Body =
            Box::pin(Incoming::new(body, probe, permit, framing, self.settings.read_timeout, came));
        Ok(Response {
            status: parts.status,
            headers,
            version: parts.version,
            framing,
            body,
            timing,
            trailers,
            binds: false,
        })
    }

    /// Finishes an exchange: measures its times, makes its response, and looks for a challenge.
    async fn answered(
        &self,
        method: &Method,
        answer: Result<http::Response<reqwest::Body>, Error>,
        tries: u32,
        probe: Arc<ConnectionProbe>,
        permit: Permit,
        queued: Duration,
    ) -> Result<Response, Error> {
        let challenge = answer.as_ref().is_ok_and(|answer| bound::challenges(answer.headers()));
        let challenge = challenge.then(|| self.latch.challenged());
        let timing = Timing { queued, connect: probe.connect(), first_byte: probe.waited(), tries };
        let mut response = self.response(method, answer?, probe, permit, timing)?;
        response.body = ahead::look(response.body).await?;
        if let Some((challenge, begins)) = challenge {
            response.binds = begins;
            response.body = Box::pin(response.body.inspect(move |_| {
                // Held until the content has ended.
                let _ = &challenge;
            }));
        }
        Ok(response)
    }
}

#[async_trait]
impl Upstream for Client {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        let Request { method, target, headers, body, lane, deadline, interest, on_sent } = request;
        let url = self.url(&target)?;
        let arrived = Instant::now();
        let light = method.is_safe() && body.is_none();
        let mut permit =
            self.limit.acquire_by(Want { lane, light, deadline, interest: interest.as_ref() }).await?;
        let queued = arrived.elapsed();
        if !light {
            // If it broke off, its effect at the origin would be unknown.
            permit.stays()?;
        }

        let repeatable = retry::repeatable(&method, body.is_some());
        let mut probe = ConnectionProbe::new();
        let host = self.host(&headers);
        let fields = head::outgoing(&method, headers, host, body.is_some());
        let apart = self.latch.holds() || bound::binds(&fields);
        let body = body.map(|body| Outgoing::new(body, probe.clone()));
        if let Some(on_sent) = on_sent {
            on_sent();
        }
        let mut asked = SentRequest { method: method.clone(), url, fields, body };
        if let Some(multiplex) = &self.multiplex {
            match multiplex.exchange(asked, apart, &probe, &mut permit).await {
                Handled::Done { answer, tries } => {
                    return self.answered(&method, answer, tries, probe, permit, queued).await;
                }
                Handled::HttpOne(unsent) => asked = unsent,
            }
        }
        let SentRequest { url, fields, body, .. } = asked;
        let mut first = reqwest::Request::new(method.clone(), url);
        *first.headers_mut() = fields;
        if repeatable {
            probe.keep(first.try_clone());
        }
        *first.body_mut() = body.map(reqwest::Body::wrap_stream);
        let mut tries = 1;
        let connections = if apart { &self.transport.fresh } else { &self.transport.pooled };
        let mut answer = self.exchange(connections, first, &probe, &mut permit).await;
        if let Err(error) = &answer
            && retry::mends(error, &probe)
            && let Some(second) = probe.kept()
            && permit.again().await.is_ok()
        {
            tries = 2;
            probe = ConnectionProbe::new();
            answer = self.exchange(&self.transport.fresh, second, &probe, &mut permit).await;
        }
        drop(probe.kept());
        self.answered(&method, answer, tries, probe, permit, queued).await
    }

    fn own_urls(&self) -> Option<&OwnUrls> {
        Some(&self.own)
    }
}
