//! Claims: entries that tell that a fill goes on whose segments no other entry names. One for each number
//! that its segments are named by.

use std::time::Duration;

use super::Catalog;
use crate::dust::{Number, Put, Result};
use crate::flight::Names;

/// The text of a claim. Only its existence counts.
const SAID: &str = r#"{"v":1}"#;

impl Catalog {
    /// Claims the segments that are named by this number, for the time `lasts`.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn claim(&self, names: &Names, number: Number, lasts: Duration) -> Result<()> {
        let how = Put { fence: None, expires_in: Some(lasts), durable: false };
        self.flight.bounded(self.dust.put(&claim_name(names, number), SAID, how)).await.map(|_| ())
    }

    /// Returns whether a fill of this key may go on that has segments named by this number. True if the
    /// store does not answer.
    pub async fn is_claimed(&self, names: &Names, number: Number) -> bool {
        !matches!(self.entry(&claim_name(names, number)).await, Ok(None))
    }
}

fn claim_name(names: &Names, number: Number) -> String {
    format!("{}w", names.aside(number))
}
