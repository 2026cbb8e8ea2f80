//! How an origin writes its own URLs.

use url::Position;

use super::settings::{ClientError, HostRule, Settings};
use super::transport;

/// The parts of the URLs that an origin writes of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnUrls {
    /// `http` or `https`: how it is reached.
    pub scheme: String,
    /// The hosts by which it is reached or that it is sent as Host, each with its port.
    pub authorities: Vec<String>,
    /// The path before every target, without a slash at its end.
    pub base: String,
    /// It is sent the client's Host.
    pub told_host: bool,
}

impl OwnUrls {
    pub(super) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let url = transport::parse(settings.url.reveal())?;
        let mut authorities = vec![url[Position::BeforeHost..Position::AfterPort].to_owned()];
        if let HostRule::Name(name) = &settings.host {
            authorities.push(name.clone());
        }
        Ok(Self {
            scheme: url.scheme().to_owned(),
            authorities,
            base: url.path().trim_end_matches('/').to_owned(),
            told_host: settings.host == HostRule::Client,
        })
    }
}
