//! Which connection an exchange went over. Its address on our side names it: no two that are open have
//! the same one.

use std::net::SocketAddr;

use http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, HttpInfo};

use super::classify;

/// The connection that an answer came over, which left word of itself in these.
pub(super) fn of_answer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().map(HttpInfo::local_addr)
}

/// The connection on which an exchange failed; none if it had none.
pub(super) fn of_error(error: &reqwest::Error) -> Option<SocketAddr> {
    of(classify::find::<legacy::Error>(error)?.connect_info()?)
}

/// A connection that was made.
pub(super) fn of(connected: &Connected) -> Option<SocketAddr> {
    let mut extensions = Extensions::new();
    connected.get_extras(&mut extensions);
    of_answer(&extensions)
}
