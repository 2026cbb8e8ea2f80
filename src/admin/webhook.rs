//! Webhooks: requests that another system sends when something has changed, as it sends them. What they purge is
//! named by the settings. A request bears no token but a signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::purge::too_many;
use super::{AdminState, Problem, Purge, PurgeRequest, Token, v1};
use crate::key::purge::MOST;
use crate::key::target::{self, Scheme};
use crate::secret::Secret;
use crate::units::Meter;

pub use settings::{Purges, Webhook};

use signature::Signing;
use template::Template;

mod settings;
mod signature;
mod template;

/// Where the paths of webhooks begin.
const BELOW: &str = "/hooks/";

/// A webhook, ready for use.
#[derive(Debug)]
struct Hook {
    signing: Signing,
    tags: Vec<Template>,
    urls: Vec<Template>,
    prefixes: Vec<Template>,
    host: Option<String>,
    soft: bool,
    /// What it may do, as if it bore a token.
    rights: Token,
    meter: Meter,
}

/// Checks the settings of a webhook. `wrong` is told the name of each setting that is wrong, and why.
pub fn check(webhook: &Webhook, wrong: &mut dyn FnMut(&str, String)) {
    Hook::new("", webhook, wrong);
}

/// The endpoints of all webhooks.
pub(super) fn router(purges: &Purges) -> Router<AdminState> {
    let mut router = Router::new();
    for (name, webhook) in &purges.webhooks {
        // The settings were checked before anything serves: what is wrong in them has no endpoint.
        if let Some(hook) = Hook::new(name, webhook, &mut |_, _| {}) {
            router = router.route(&webhook.path, post(receive).layer(Extension(Arc::new(hook))));
        }
    }
    router
}

async fn receive(
    State(room): State<AdminState>,
    Extension(hook): Extension<Arc<Hook>>,
    headers: HeaderMap,
    content: Bytes,
) -> Result<Json<Value>, Problem> {
    if hook.signing.check(&headers, &content, room.desk.wall_ms()).is_err() {
        let detail = "the signature is missing or wrong, or the request is too old";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
    }
    let order = hook.order(&v1::parse(&content)?)?;
    if order.what.is_empty() {
        // Systems try a webhook out with such a request, and turn one off that answers with errors.
        return Ok(Json(
            json!({ "kind": "nothing", "detail": "the content names nothing that this webhook purges" }),
        ));
    }
    let order = hook.rights.narrow(order, |url| room.desk.place_of(url))?;
    // What is refused takes nothing of the rate.
    room.desk.check_purge(&order)?;
    if let Some(rate) = hook.rights.purge_rate {
        hook.meter
            .take(rate, order.what.len(), Instant::now().into_std())
            .map_err(|wait| too_many(&hook.rights.name, rate, wait))?;
    }
    room.desk.purge(order).await.map(Json)
}

// === impl Hook ===

impl Hook {
    fn new(name: &str, settings: &Webhook, wrong: &mut dyn FnMut(&str, String)) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let below = settings.path.strip_prefix(BELOW).unwrap_or_default();
        if below.is_empty() || !below.bytes().all(plain) || below.split('/').any(str::is_empty) {
            let reason =
                format!("a path such as \"{BELOW}cms\" is meant, of letters, digits, -, _, dots and slashes");
            wrong("path", reason);
        }
        if settings.secret.reveal().is_empty() && settings.secret.is_here() {
            wrong("secret", "is required: the key of the signature, as the other system has it".to_owned());
        }
        let signing = Signing::new(settings, wrong);
        let mut templates = |key: &str, texts: &[String]| {
            let mut all = Vec::with_capacity(texts.len());
            for (at, text) in texts.iter().enumerate() {
                match Template::parse(text) {
                    Ok(template) => all.push(template),
                    Err(reason) => wrong(&format!("{key}.{at}"), reason),
                }
            }
            all
        };
        let tags = templates("tags", &settings.tags.0);
        let urls = templates("urls", &settings.urls.0);
        let prefixes = templates("prefixes", &settings.prefixes.0);
        if [&settings.tags, &settings.urls, &settings.prefixes].iter().all(|list| list.0.is_empty()) {
            wrong(
                "tags",
                "it purges nothing: tags, urls or prefixes are meant, as in tags = \"$.ids[*]\"".to_owned(),
            );
        }
        if let Some(host) = &settings.host {
            if settings.tags.0.is_empty() {
                wrong("host", "it is the host of tags, and there are none".to_owned());
            } else if target::host(host, Scheme::Http).is_err() {
                wrong("host", "not a host".to_owned());
            }
        }
        let rights = Token {
            name: format!("webhook {name}"),
            token: Secret::default(),
            may: Vec::new(),
            within: settings.limits.clone(),
            purge_rate: settings.rate,
        };
        Some(Self {
            signing: signing?,
            tags,
            urls,
            prefixes,
            host: settings.host.clone(),
            soft: settings.soft,
            rights,
            meter: Meter::default(),
        })
    }

    /// What a document names, each thing once.
    fn order(&self, document: &Value) -> Result<PurgeRequest, Problem> {
        let texts = |templates: &[Template]| {
            let mut texts = BTreeSet::new();
            for template in templates {
                texts.extend(template.texts(document, MOST).map_err(Problem::bad_request)?);
            }
            Ok::<_, Problem>(texts)
        };
        let tag = |tag| Purge::Tag { tag, host: self.host.clone() };
        let mut what: Vec<Purge> = texts(&self.tags)?.into_iter().map(tag).collect();
        what.extend(texts(&self.urls)?.into_iter().map(Purge::Url));
        what.extend(texts(&self.prefixes)?.into_iter().map(Purge::Prefix));
        if what.len() > MOST {
            return Err(Problem::bad_request(format!("more than {MOST} things are named")));
        }
        Ok(PurgeRequest { what, soft: self.soft, dry_run: false, by: None })
    }
}

#[cfg(test)]
mod tests;
