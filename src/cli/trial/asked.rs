//! What is asked, by which route, and of whom.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::answer::Answer;
use super::judged::{Judged, Way, judge};
use super::masked::{Foreign, Masked};
use super::written::Written;
use crate::clock::{Clock as _, Dice, SystemClock};
use crate::config::{self, Settings};
use crate::key::target::{Target, canonical_url};
use crate::policy::{self, Asks, PassReason, RequestClass};
use crate::proxy::explain::describe;
use crate::proxy::fill::is_answered;
use crate::proxy::lookup::decision::alone_because;
use crate::proxy::request::Forwarded;
use crate::proxy::request::hop_headers::HopHeaders;
use crate::route::Route;
use crate::units::List;
use crate::upstream::{self, Client, Lane, Upstream as _};

/// A request, its route and its origin.
pub(super) struct Asked {
    target: Target,
    /// The client's fields.
    pub headers: HeaderMap,
    /// What it is judged by.
    pub by: By,
    client: Client,
    hop: HopHeaders,
}

/// A route, and the settings that it is made of.
pub(super) struct By {
    pub route: Arc<Route>,
    /// As they are written: a suggestion begins with them.
    pub written: config::Route,
    /// Those of its upstream.
    pub origin: upstream::Settings,
    /// Whether they are those of a file.
    of_file: bool,
}

// === impl Asked ===

impl Asked {
    /// Finds the route of a URL: in the settings, if there are any and one matches, else the URL's own host by
    /// the defaults. The error is a sentence.
    pub(super) fn new(
        url: &str,
        headers: HeaderMap,
        settings: Option<&Settings>,
        dice: &Dice,
    ) -> Result<Self, String> {
        let target = canonical_url(url).map_err(|refusal| match url.split_once("://") {
            None => "the URL is to be whole, such as https://origin.example.com/v1/products".to_owned(),
            Some(_) => format!("the URL: {}", refusal.detail()),
        })?;
        if target.host().is_empty() {
            return Err("the URL has no host".to_owned());
        }
        let by = match settings.and_then(|settings| By::file(settings, &target)) {
            Some(by) => by,
            None => By::default(&target)?,
        };
        // A client's own way to the route: what connections are asked to carry is not for origins.
        let mut headers = headers;
        let upgrade = policy::strip_connection(&mut headers);
        if upgrade && policy::needs_upgrade(Version::HTTP_11, &headers) {
            return Err("connections are not upgraded: such a request is answered 501".to_owned());
        }
        let name = settings.map_or("dustgate", |settings| settings.server.name.as_str());
        let hop = HopHeaders::new(name, format!("try-{}", dice.name()), &[]);
        let client = Client::new(by.origin.clone()).map_err(|error| format!("the upstream: {error}"))?;
        Ok(Self { target, headers, by, client, hop })
    }

    /// What must not be printed: credentials of the client, and those that the route adds.
    pub(super) fn masked(&self) -> Masked {
        let route = &self.by.route;
        let mut fields = self.headers.clone();
        let mut added = Vec::new();
        for (name, value) in &self.by.written.route.request_headers.set {
            if let (Ok(name), Ok(text)) = (HeaderName::try_from(name), HeaderValue::try_from(value.reveal()))
            {
                if !value.is_here() {
                    added.push(name.clone());
                }
                fields.append(name, text);
            }
        }
        let url = self.target.text();
        Masked::of(url, &fields, |name| route.rules.is_secret(name.as_str()) || added.contains(name))
    }

    /// The URL as it goes to the origin.
    pub(super) fn url(&self) -> Foreign {
        let url = self.by.origin.url.reveal().trim_end_matches('/');
        Foreign::url(&format!("{url}{}", self.by.route.upstream_target(&self.target, self.is_fill())))
    }

    pub(super) fn route_shown(&self) -> String {
        if self.by.of_file {
            format!("{}: {}", self.by.route.name, describe(&self.by.route))
        } else {
            "none: judged by the defaults".to_owned()
        }
    }

    /// Sends the request, and reads the answer. The error is a sentence.
    pub(super) async fn ask(&self) -> Result<Answer, Foreign> {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let from =
            Forwarded { client: here, peer: here, scheme: self.target.scheme, host: None, trusted: false };
        let asking = self.as_client();
        let (route, target, fills) = (&self.by.route, &self.target, self.is_fill());
        let headers = if fills {
            self.hop.fill_headers(route, target, &asking, &from)
        } else {
            self.hop.pass_headers(route, target, &asking, &from, false)
        };
        let asks = Asks::of(&headers);
        let requested_at = SystemClock.wall_ms();
        let request = upstream::Request {
            method: Method::GET,
            target: route.upstream_target(target, fills),
            headers,
            body: None,
            lane: Lane::Fill,
            deadline: None,
            interest: None,
            on_sent: None,
        };
        let told = |error: upstream::Error| Foreign::new(error.to_string());
        let response = self.client.send(request).await.map_err(told)?;
        is_answered(asks, &response).map_err(told)?;
        let (answer, body) = Answer::of(response, requested_at, SystemClock.wall_ms());
        let endless = self.judge(&answer).reason() == Some(PassReason::EventStream);
        Ok(if endless { answer } else { answer.read(body).await })
    }

    /// Judges an answer by this route.
    pub(super) fn judge(&self, answer: &Answer) -> Judged {
        judge(&self.way(&self.by.route), answer, &self.by.route)
    }

    /// The way that the same request takes on a route.
    pub(super) fn way(&self, route: &Route) -> Way {
        let headers = self.fields_on(route);
        if !route.cache {
            return Way::Alone(PassReason::RouteSays);
        }
        match policy::entrance(&Method::GET, &headers, &route.rules) {
            RequestClass::Pass(reason) => Way::Alone(reason),
            RequestClass::Lookup(ask) => match alone_because(route, &ask, None) {
                // The answer may grant that it is shared.
                Some(reason) if ask.apart() != Some(reason) => Way::Alone(reason),
                Some(_) => Way::Apart(ask),
                None => Way::Fill(ask),
            },
        }
    }

    /// Returns whether the request is answered by a fetch for all.
    fn is_fill(&self) -> bool {
        matches!(self.way(&self.by.route), Way::Fill(_))
    }

    /// The client's fields as they are judged.
    fn as_client(&self) -> HeaderMap {
        self.fields_on(&self.by.route)
    }

    fn fields_on(&self, route: &Route) -> HeaderMap {
        let mut headers = self.headers.clone();
        route.ignore_cookies.take_out(&mut headers);
        policy::mark_secrets(&mut headers, &route.rules);
        headers
    }
}

/// A name for the route of a path, and the pattern of what stands beside it.
fn place(path: &str) -> (String, String) {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let last = directory.rsplit('/').find(|part| !part.is_empty() && part.bytes().all(plain));
    // Behind a star in the path, a pattern would mean something else.
    let directory = if directory.contains('*') { "" } else { directory };
    (last.unwrap_or("all").to_owned(), format!("{directory}/*"))
}

// === impl By ===

impl By {
    /// The route of a target in a file's settings, if one matches.
    fn file(settings: &Settings, target: &Target) -> Option<Self> {
        let route = settings.table().route(target, &Method::GET).ok()?.clone();
        let written = settings.routes.iter().find(|written| *written.route.name == *route.name)?.clone();
        let origin = settings.origins().remove(&*route.upstream)?;
        Some(Self { route, written, origin, of_file: true })
    }

    /// A route to the host of a target, with the defaults.
    fn default(target: &Target) -> Result<Self, String> {
        let mut written = config::Route::default();
        let (name, below) = place(target.path());
        written.route.name = name;
        written.route.path = List(vec![below]);
        "origin".clone_into(&mut written.route.upstream);
        let origin = upstream::Settings::new(format!("{}://{}", target.scheme.as_str(), target.authority()));
        let route = Written::new(&origin, &written)?.route()?;
        Ok(Self { route, written, origin, of_file: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_what_stands_beside_the_url() {
        for (path, name, pattern) in [
            ("/", "all", "/*"),
            ("/products", "all", "/*"),
            ("/v1/products", "v1", "/v1/*"),
            ("/v1/products/", "products", "/v1/products/*"),
            ("/v1/%C3%A9/7", "v1", "/v1/%C3%A9/*"),
            ("/a*/b", "all", "/*"),
        ] {
            assert_eq!(place(path), (name.to_owned(), pattern.to_owned()), "{path}");
        }
    }
}
