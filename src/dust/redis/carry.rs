//! Bytes under names of their own: strings that expire, in no listing.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, RedisWrite as _, Value as Reply, cmd};

use super::super::{Entry, Error, Result};
use super::entrance::bytes;
use super::state::Shared;
use super::{Redis, left, ms, value};

/// The most bytes under one name: so the server does nothing else for a short while only.
pub(super) const CARRIES: u64 = 256 << 10;
/// The most names that one command removes.
const REMOVED: usize = 256;

// === impl Redis ===

impl Redis {
    /// Returns an error if these are more bytes than may be kept under one name.
    pub(super) fn carried(bytes: &[u8]) -> Result<()> {
        if u64::try_from(bytes.len()).is_ok_and(|len| len <= CARRIES) {
            return Ok(());
        }
        Err(Error::Refused(format!("{} bytes are more than {CARRIES}", bytes.len())))
    }

    pub(super) async fn read_whole(&self, key: &str) -> Result<Option<(Entry, Option<Bytes>)>> {
        let Shared { scripts, names, .. } = &*self.shared;
        let Some(answer) = self.shared.run::<Option<Vec<Reply>>>(scripts.entry.at(names, key)).await? else {
            return Ok(None);
        };
        let Ok([entry, rest, body]) = <[Reply; 3]>::try_from(answer) else {
            return Err(Error::Broken("an entry is answered in three parts".into()));
        };
        let rest = if let Reply::Int(rest) = rest { left(rest) } else { None };
        let entry = bytes(entry)?.unwrap_or_default();
        Ok(Some((self.taken(value::read(&entry, || rest)), bytes(body)?)))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let mut get = cmd("GET");
        get.write_arg(self.shared.names.of_bytes(name).as_bytes());
        match self.shared.carry(&get).await {
            Ok(reply) => bytes(reply),
            // A key of another type, by another client.
            Err(Error::Broken(why)) if why.contains("WRONGTYPE") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn set(&self, name: &str, bytes: &[u8], lives: Duration) -> Result<()> {
        Self::carried(bytes)?;
        let mut set = Cmd::with_capacity(5, bytes.len() + 256);
        set.arg("SET").arg(self.shared.names.of_bytes(name)).arg(bytes).arg("PX").arg(ms(lives));
        self.shared.carry::<Reply>(&set).await.map(|_| ())
    }

    pub(super) async fn unset(&self, names: &[String]) -> Result<()> {
        for names in names.chunks(REMOVED) {
            let mut del = cmd("DEL");
            for name in names {
                del.arg(self.shared.names.of_bytes(name));
            }
            self.shared.carry::<Reply>(&del).await?;
        }
        Ok(())
    }
}
