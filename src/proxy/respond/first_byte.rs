//! Whether an exchange has the first byte that a request needs.

use std::sync::Mutex;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use crate::policy::Cut;
use crate::proxy::outcome::Exchange;
use crate::proxy::request::CacheRequest;
use crate::proxy::state::Proxy;

/// Until when a request waits for a verdict. If stored bytes could not be read for it, that has used up some
/// of its time.
pub(crate) fn waits_until(request: &CacheRequest) -> Instant {
    let from = if request.ticket.unread.is_empty() { Instant::now() } else { request.ticket.began() };
    from + request.route.wait_timeout
}

/// Returns whether an exchange has the first byte that the request needs. A byte that is not in memory is
/// read and checked before a head goes out. Content that another instance fetches is waited for, because it
/// comes by way of the store, which may lose it.
///
/// The request keeps a reader at its first byte, so that the byte stays in memory. If the content can't be
/// stored and memory has let go of that byte, it gets no reader and does not wait.
pub(crate) async fn begins_in(
    proxy: &Proxy,
    request: &mut CacheRequest,
    exchange: &Exchange,
    deadline: Instant,
) -> bool {
    let begins = has_beginning(proxy, request, exchange, deadline).await;
    if !begins {
        request.seat = None;
    }
    begins
}

async fn has_beginning(
    proxy: &Proxy,
    request: &mut CacheRequest,
    exchange: &Exchange,
    deadline: Instant,
) -> bool {
    let record = &exchange.head.record;
    let len = exchange.len.or_else(|| exchange.growing.len_if_done());
    let first = Cut::of(&request.headers, request.ask.want, record, len)
        .first_bytes(record)
        .map_or(0, |(first, _)| first);
    if request.ask.want.is_head() {
        return true;
    }
    // From the first byte to the end: other ranges of the request come later.
    let Ok(seat) = exchange.growing.reader_if_served(Some((first, u64::MAX))) else { return false };
    request.seat = Some(Box::new(Mutex::new(seat)));
    if !exchange.elsewhere && exchange.growing.has_in_memory(first) {
        return !exchange.growing.is_broken_at(first);
    }
    if exchange.growing.is_gone() {
        return false;
    }
    // The content may be empty: only its end tells.
    let range = (first > 0).then_some((first, first));
    let mut reader = exchange.growing.reader(range);
    let begun = tokio::select! {
        biased;
        begun = timeout_at(deadline, reader.next()) => begun,
        // The instance that fetches it is probably dead.
        () = exchange.growing.until_doubted() => return false,
    };
    match begun {
        Ok(Some(Err(error))) => {
            if error.condemns() {
                proxy.observer.unreadable(&error);
            }
            false
        }
        Ok(Some(Ok(_)) | None) => true,
        // Not in time. If bytes have come already, this byte only lies far behind them.
        Err(_) => exchange.growing.written() > 0,
    }
}
