//! Which connection an exchange went over. It is named by its local address: no two open connections have the
//! same one.

use std::net::SocketAddr;

use http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, HttpInfo};

use super::classify;

/// The connection that a response came over, from the response's extensions.
pub(super) fn of_answer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().map(HttpInfo::local_addr)
}

/// The connection on which an exchange failed; `None` if it had none.
pub(super) fn of_error(error: &reqwest::Error) -> Option<SocketAddr> {
    of(classify::find::<legacy::Error>(error)?.connect_info()?)
}

/// The connection that a connector has made.
pub(super) fn of(connected: &Connected) -> Option<SocketAddr> {
    let mut extensions = Extensions::new();
    connected.get_extras(&mut extensions);
    of_answer(&extensions)
}
