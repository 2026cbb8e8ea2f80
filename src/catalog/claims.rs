//! Claims: word that a fill goes on whose bytes nothing in the store names. One for each number that its
//! segments are named by.

use std::time::Duration;

use super::Catalog;
use crate::dust::{Number, Put, Result};
use crate::flight::Names;

/// What a claim says. That it is there is all that counts.
const SAID: &str = r#"{"v":1}"#;

impl Catalog {
    /// Claims what is named by this number, for so long.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn claim(&self, names: &Names, number: Number, lasts: Duration) -> Result<()> {
        let how = Put { fence: None, expires_in: Some(lasts), durable: false };
        self.flight.bounded(self.dust.put(&claim_name(names, number), SAID, how)).await.map(|_| ())
    }

    /// Returns whether a fill of this key may go on that has segments named by this number: it may, where
    /// the store does not say.
    pub async fn is_claimed(&self, names: &Names, number: Number) -> bool {
        !matches!(self.entry(&claim_name(names, number)).await, Ok(None))
    }
}

fn claim_name(names: &Names, number: Number) -> String {
    format!("{}w", names.aside(number))
}
