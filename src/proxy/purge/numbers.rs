//! Numbers of what this instance does without the store.

use crate::dust::Number;
use crate::proxy::state::Proxy;

/// The highest number that this instance knows: responses to requests that are sent from now on are born
/// under it.
pub(crate) fn number(proxy: &Proxy) -> Number {
    proxy.flight.seen().max(proxy.stamps.newest())
}

/// A number for a stamp that the store has not taken: exchanges that were sent before are below it, later
/// ones are not.
pub(super) fn made_up_number(proxy: &Proxy) -> Number {
    let number = number(proxy) + 1;
    proxy.flight.saw(number);
    number
}
