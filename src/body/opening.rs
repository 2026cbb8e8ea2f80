//! How a body store is opened for a life of the coordination store: by the instance that began that life, and by
//! those that join it.

use std::sync::{Arc, Mutex};

use object_store::ObjectStore;

use super::blocks::Blocks;
use super::store::Store;
use super::sweep::Writing;
use super::{Bodies, Error, Settings};
use crate::clock::Clock;

// === impl Bodies ===

impl Bodies {
    /// Opens the store at `url` (see [`super::Location`]; a directory is made if it is missing) for the life
    /// `store_id`, and writes the marker `<store id>/here` into it. If there is no room for the marker, or a
    /// bucket is away, the store is opened all the same, and [`Bodies::is_unmarked`] is true.
    ///
    /// # Errors
    /// [`Error::Url`] if the URL, or a variable of the environment that it relies on, is invalid;
    /// [`Error::Unwritable`] if nothing can be written into the directory; else the error of the store.
    pub async fn open(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::open_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], with an environment that the caller provides: `env` returns the value of a
    /// variable.
    pub async fn open_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        Self::marked(Store::open(url, store_id, &settings, env)?, settings, clock).await
    }

    /// As [`Bodies::open`], for an instance that joins a fleet. Without the marker it does not share the body
    /// store with the fleet: [`Error::NotShared`]. Looks for the marker for a few seconds, because the
    /// instance that began that life may be about to write it. A bucket that is away is opened all the same:
    /// until the marker is seen, nothing is put or read.
    pub async fn join(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::join_in(url, store_id, settings, clock, &environment).await
    }

    /// As [`Bodies::open`], over an object store that the caller provides.
    pub async fn open_over(
        objects: Arc<dyn ObjectStore>,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        Self::marked(Store::over(objects, None, store_id, &settings), settings, clock).await
    }

    /// As [`Bodies::join`], with an environment that the caller provides.
    pub async fn join_in(
        url: &str,
        store_id: &str,
        settings: Settings,
        clock: Arc<dyn Clock>,
        env: &(dyn Fn(&str) -> Option<String> + Sync),
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(url, store_id, &settings, env)?;
        store.join_if_that_works(store_id).await?;
        if !store.is_unmarked() {
            // A restored copy of the store may have brought back a life that had ended. If this fails, a sweep
            // reports it.
            let _ = store.mark().await;
        }
        Ok(Self::over(store, settings, clock))
    }

    async fn marked(store: Store, settings: Settings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        store.mark_if_that_works().await?;
        Ok(Self::over(store, settings, clock))
    }

    pub(super) fn over(store: Store, settings: Settings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let blocks = Blocks::new(settings.blocks);
        let (writing, grace, given_up) = (Writing::default(), Arc::default(), Mutex::default());
        Arc::new(Self { settings, clock, store, blocks, writing, grace, given_up })
    }
}

/// The environment of this process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
