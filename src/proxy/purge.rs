//! Purges and invalidation: stamps, and nothing else (F8).

use http::HeaderMap;
use tokio::time::Instant;

use super::Proxy;
use crate::dust::{Error, Number};
use crate::flight::Attempt;
use crate::key::target::{self, Refusal};
use crate::record::{Pointer, codec};
use crate::telemetry::words;
use crate::tier::stamps::{Force, Scope};
use crate::tier::{Stored, url_hash};

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One URL, in all its variants, whatever else its key holds.
    Url(String),
    /// Everything.
    All,
}

/// A purge that holds on every instance named as confirmed. One that is silent answers from its
/// memory no longer than its trust lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// The stamp's number.
    pub number: Number,
    /// Instances that have applied it.
    pub confirmed: Vec<String>,
    /// Instances that did not say so in time.
    pub silent: Vec<String>,
    /// How long it took, in ms.
    pub ms: u64,
}

/// Why nothing was purged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PurgeError {
    /// The URL is not one that a request could have.
    #[error("not a URL that a request could ask for: {}", .0)]
    Url(Refusal),
    /// The store did not take the stamp, or could not say which instances there are: nobody can
    /// promise that it is purged.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Proxy {
    /// Purges. When this returns, no request that comes after it is answered with what it covers,
    /// here or on any instance that confirmed.
    pub async fn purge(&self, what: &Purge, soft: bool) -> Result<Purged, PurgeError> {
        let began = Instant::now();
        let force = if soft { Force::Soft } else { Force::Hard };
        let (scope, line, kind) = match what {
            Purge::All => (Scope::All, None, words::Purge::All),
            Purge::Url(url) => {
                let line = self.purge_line(url).map_err(PurgeError::Url)?;
                (Scope::Url(url_hash(&line)), Some(line), words::Purge::Url)
            }
        };
        let number = self.write_purge(scope, force, line.clone()).await?;
        let (confirmed, silent) = match &self.member {
            None => (vec![self.settings.instance.to_string()], Vec::new()),
            Some(member) => {
                let all = member.confirmed(number).await?;
                (all.confirmed, all.silent)
            }
        };
        let ms = super::fill::millis(began.elapsed());
        self.notices.purged(kind, soft, number, line.as_deref(), began.elapsed());
        Ok(Purged { number, confirmed, silent, ms })
    }

    /// Writes the stamp of a purge. A store across a network is given no longer than for any call;
    /// should the stamp land later it is applied here all the same.
    async fn write_purge(&self, scope: Scope, force: Force, line: Option<String>) -> Result<Number, Error> {
        if self.member.is_none() {
            return self.stamps.write(&*self.dust, scope, force, line.as_deref(), true).await;
        }
        let (stamps, dust) = (self.stamps.clone(), self.dust.clone());
        let write =
            tokio::spawn(async move { stamps.write(&*dust, scope, force, line.as_deref(), true).await });
        let broken = |error: tokio::task::JoinError| Error::Broken(error.to_string());
        self.flight.bounded(async { write.await.map_err(broken)? }).await
    }

    /// The first line of the key that a URL has, by its route's rules.
    pub(crate) fn purge_line(&self, url: &str) -> Result<String, Refusal> {
        let target = target::canonical_url(url)?;
        let found = self.routes.route(&target, &http::Method::GET);
        let Ok(route) = found else { return Ok(target.to_string()) };
        let mut text = String::new();
        route.key_into(&mut text, &target, &HeaderMap::new());
        text.truncate(text.find('\n').unwrap_or(text.len()));
        Ok(text)
    }

    /// Deletes the pointer to a body that is gone, if it still names that body, under the key's
    /// lease.
    pub(crate) async fn drop_pointer(&self, stored: &Stored) {
        let names = self.names(&crate::key::Key::new(&stored.record.key));
        let Attempt::Won(fill) = self.flight.attempt(&names).await else { return };
        let there = self.flight.bounded(self.dust.entry(&names.value)).await.ok().flatten();
        let names_it = there.as_ref().and_then(|entry| entry.text()).is_some_and(|text| {
            matches!(codec::decode(text, &self.limits()), Ok(Pointer::Record(record)) if record.body == *stored.manifest)
        });
        if names_it
            && let Some(lease) = fill.lease()
            && let Err(error) = self.flight.bounded(self.dust.delete(&names.value, Some(lease))).await
        {
            self.notices.store_error("delete", &error);
        }
        fill.release().await;
    }
}
