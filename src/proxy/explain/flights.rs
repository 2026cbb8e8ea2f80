//! The list of flights under way, for operators.

use serde_json::{Value, json};

use crate::proxy::outcome::Phase;
use crate::proxy::state::Proxy;

/// Flights under way, oldest first, at most `limit`.
pub fn list_flights(proxy: &Proxy, limit: usize) -> Value {
    let flights = proxy.flights.list().into_iter().take(limit);
    let lines = flights.map(|flight| {
        let mut info = flight.info;
        // The holder of a lease is known only if the lease was asked for here in vain.
        let mut other = proxy.other_leader(info.elsewhere, info.fence);
        if info.phase == Phase::Lease
            && let Some(key) = &info.key
            && let Some((token, instance)) = proxy.flight.leader_at(&proxy.names(key).lock)
        {
            // The flight waits for that instance's verdict.
            (info.elsewhere, info.fence, other) = (true, token, Some(instance));
        }
        let holder = if info.elsewhere { other } else { Some(proxy.settings.instance.clone()) };
        json!({
            "key": info.key.as_ref().map(|key| key.text().split('?').next().unwrap_or_default().to_owned()),
            "hash": flight.key.to_string(),
            "route": info.route.as_deref(),
            "role": if info.elsewhere { "follower" } else { "leader" },
            "phase": info.phase.as_str(),
            "age_ms": info.began.map(|began| crate::clock::millis(began.elapsed())),
            "followers": flight.followers.saturating_sub(usize::from(info.owned)),
            "bytes": info.bytes,
            "fence": info.fence,
            "holder": holder.as_deref(),
        })
    });
    lines.collect()
}
