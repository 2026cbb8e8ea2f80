//! The list of flights under way, for operators.

use serde_json::{Value, json};

use super::Proxy;

impl Proxy {
    /// Flights under way, oldest first, at most `limit`.
    pub fn list_flights(&self, limit: usize) -> Value {
        let flights = self.flights.list().into_iter().take(limit);
        let lines = flights.map(|flight| {
            let info = flight.info;
            json!({
                "key": info.key.as_ref().map(|key| key.text().split('?').next().unwrap_or_default().to_owned()),
                "hash": flight.key.to_string(),
                "route": info.route.as_deref(),
                "role": "leader",
                "phase": info.phase.as_str(),
                "age_ms": info.began.map(|began| super::fill::millis(began.elapsed())),
                "followers": flight.followers.saturating_sub(usize::from(info.owned)),
                "bytes": info.bytes,
                "fence": info.fence,
                "holder": self.settings.instance.as_ref(),
            })
        });
        lines.collect()
    }
}
