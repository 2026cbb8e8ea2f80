//! Stored responses that a response fetched without a lease must not replace: they may be newer, or better
//! than an error.

use http::StatusCode;

use crate::dust::Number;
use crate::key::Key;
use crate::policy::{ErrorCase, RequestFacts, Rules};
use crate::proxy::respond::standing_in;
use crate::proxy::state::Proxy;
use crate::tier::Stored;

/// Returns whether a response that was asked for under `born`, without a lease, must not replace what is
/// stored. That may be newer, or it may be served instead of such an error.
pub(crate) async fn has_better(
    proxy: &Proxy,
    key: &Key,
    rules: &Rules,
    born: Number,
    status: StatusCode,
) -> bool {
    let Ok(there) = proxy.catalog.value(key).await else { return true };
    let Some(there) = there else { return false };
    // Exchanges without a lease have no order but this: instances know of different numbers.
    if there.number > born {
        return true;
    }
    let Some(record) = there.reading.record() else { return false };
    if record.token >= born {
        return true;
    }
    let stored = Stored::new(record, rules, None);
    standing_in::is_better_than(
        proxy,
        &stored,
        rules,
        &RequestFacts::default(),
        ErrorCase::Status(status.as_u16()),
    )
}
