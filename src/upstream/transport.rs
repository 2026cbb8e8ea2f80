//! The reqwest clients of an upstream: HTTP/1.1 only, without redirects, decoding or retries.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use url::{Host, Url};

use super::probe::ProbeLayer;
use super::settings::{ClientError, Settings};
use super::tls::Shared;

/// The two clients of an upstream, and what stands before each target.
#[derive(Debug)]
pub(super) struct Transport {
    /// Keeps connections.
    pub(super) pooled: reqwest::Client,
    /// Makes one for each request: for a retry, and for requests that must not share one.
    pub(super) fresh: reqwest::Client,
    /// Scheme and authority as the library is told them: parsed once, for parsing costs more than all of the
    /// rest of a URL.
    pub(super) root: Url,
    /// The same as text, and the base path.
    pub(super) prefix: String,
    /// Where in `prefix` the base path begins.
    pub(super) path_at: usize,
    /// The authority of the setting, if the library would not send it as Host by itself.
    pub(super) authority: Option<String>,
}

/// Resolves every name to one host: then the library can be given the name that the certificate must prove.
#[derive(Debug)]
struct Instead {
    host: Host<String>,
    port: u16,
}

// === impl Transport ===

impl Transport {
    pub(super) fn new(settings: &Settings, shared: &Shared) -> Result<Self, ClientError> {
        let url = parse(settings.url.reveal())?;
        let https = url.scheme() == "https";
        let host = url.host().ok_or_else(|| ClientError::Url("no host".to_owned()))?.to_owned();
        let server_name =
            settings.tls.server_name.as_deref().filter(|name| https && *name != host.to_string());
        if let Some(name) = server_name
            && !matches!(Host::parse(name), Ok(Host::Domain(_)))
        {
            return Err(ClientError::Tls(format!("server_name: {name:?} is not a name")));
        }

        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{}://{}{port}", url.scheme(), server_name.unwrap_or(&host.to_string()));
        let authority = format!("{host}{port}");
        let root = parse(&origin)?;
        let path_at = origin.len();
        let prefix = origin + url.path().trim_end_matches('/');

        let build = |keep: bool| {
            let mut builder = reqwest::Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                // HTTP/2 has connections of its own.
                .http1_only()
                // Retries are decided by this crate.
                .retry(reqwest::retry::never())
                .no_proxy()
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                // Whitespace between a field's name and its colon is removed (RFC 9112 §5.1).
                .http1_allow_spaces_after_header_name_in_responses(true)
                .connector_layer(ProbeLayer);
            if let Some((limit, _)) = settings.connect_limit() {
                builder = builder.connect_timeout(limit);
            }
            builder = if keep && !settings.pool_idle_timeout.is_zero() {
                // No more than can be in use: each idle connection holds a descriptor.
                let most = settings.most_here().max(1);
                builder.pool_idle_timeout(settings.pool_idle_timeout).pool_max_idle_per_host(most)
            } else {
                builder.pool_max_idle_per_host(0)
            };
            if server_name.is_some() {
                let port = url.port_or_known_default().unwrap_or_default();
                builder = builder.dns_resolver(Instead { host: host.clone(), port });
            }
            let mut tls = if https { shared.tls(&settings.tls)? } else { shared.clear()? };
            tls.alpn_protocols = vec!["http/1.1".into()];
            builder = builder.tls_backend_preconfigured(tls).http1_max_headers(settings.max_fields);
            builder.build().map_err(|error| ClientError::Tls(super::classify::detail(&error)))
        };
        let authority = server_name.is_some().then_some(authority);
        Ok(Self { pooled: build(true)?, fresh: build(false)?, root, prefix, path_at, authority })
    }
}

/// The URL of an upstream.
pub(super) fn parse(text: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| Err(ClientError::Url(why.to_owned()));
    let url = Url::parse(text).map_err(|error| ClientError::Url(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("user information; set an Authorization field on the route");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("a query or fragment cannot stand before a path");
    }
    Ok(url)
}

// === impl Instead ===

impl Resolve for Instead {
    fn resolve(&self, _name: Name) -> Resolving {
        let (host, port) = (self.host.clone(), self.port);
        Box::pin(async move {
            let found: Vec<SocketAddr> = match host {
                Host::Ipv4(address) => vec![(address, port).into()],
                Host::Ipv6(address) => vec![(address, port).into()],
                Host::Domain(name) => tokio::net::lookup_host((name, port)).await?.collect(),
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
