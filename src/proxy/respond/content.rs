//! Where the content of a response comes from.

use std::sync::Arc;

use bytes::Bytes;

use crate::body::Reader;
use crate::proxy::outcome::Exchange;
use crate::proxy::respond::body::Source;
use crate::proxy::respond::multipart;
use crate::proxy::respond::multipart_response::Parted;
use crate::proxy::state::Proxy;
use crate::tier::Stored;

/// Where the content of a response comes from.
pub(super) enum BodySource<'a> {
    Held(Bytes),
    Primed(Bytes, Box<Reader>),
    Growing(&'a Arc<Exchange>, Option<Reader>),
}

/// The content as a body source. `seated`: the owner's reader begins at the very range that the owner asked
/// for.
pub(super) fn source(bytes: BodySource<'_>, part: Option<(u64, u64)>, seated: bool) -> Source {
    match bytes {
        BodySource::Held(body) => match part {
            None => Source::Whole(body),
            Some((first, last)) => Source::Whole(slice(&body, first, last)),
        },
        BodySource::Primed(first, reader) => Source::Primed(first, reader),
        BodySource::Growing(_, Some(seat)) if seated || part.is_none() => Source::Reader(seat),
        // Its first bytes have been read already.
        BodySource::Growing(exchange, _) => Source::Reader(exchange.growing.reader(part).goes_on()),
    }
}

/// As [`source`], for several parts.
pub(super) fn parted(proxy: &Proxy, bytes: BodySource<'_>, stored: &Stored) -> Parted {
    let from = |begun| {
        let (hash, manifest) = (stored.hash.to_string(), stored.manifest());
        Parted::Read(multipart::From::Stored { bodies: proxy.bodies.clone(), hash, manifest }, begun)
    };
    match bytes {
        BodySource::Held(body) => Parted::Held(body),
        BodySource::Primed(first, reader) => from(Some((first, reader))),
        BodySource::Growing(exchange, _) => {
            Parted::Read(multipart::From::Growing(exchange.growing.clone()), None)
        }
    }
}

/// The bytes `first..=last` of a body, as far as it has them.
pub(crate) fn slice(body: &Bytes, first: u64, last: u64) -> Bytes {
    let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX).min(body.len());
    body.slice(at(first)..at(last.saturating_add(1)))
}
