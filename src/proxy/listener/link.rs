//! What the stages of one connection have in common.

use std::sync::Arc;

use crate::proxy::connection::Phase;
use crate::proxy::{Client, Proxy};

/// A client's connection, and the proxy that serves it.
#[derive(Clone, Copy)]
pub(crate) struct Link<'a> {
    pub(crate) proxy: &'a Arc<Proxy>,
    pub(crate) client: &'a Client,
    pub(crate) phase: &'a Arc<Phase>,
}
