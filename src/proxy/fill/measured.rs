//! Parts whose framing does not say how long they are: counted by their Content-Range.
//!
//! The end of chunks, or of a connection, says that the origin has ended, and not that it has sent what its
//! head promised. A client that is told the length by Content-Range relies on that promise, and so does a
//! stored part that is joined behind. So a body that does not keep it breaks off here.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::header::CONTENT_LENGTH;

use crate::policy;
use crate::upstream::{Body, Error, ErrorKind, Framing, Response};

/// Counts the body of a response that is a part in one piece and whose framing leaves its length open.
pub(crate) fn measured(mut response: Response) -> Response {
    let open = match response.framing {
        Framing::Framed | Framing::Close => true,
        // An h2 stream that ended with its head says no length, and has one.
        Framing::Length(_) => !response.headers.contains_key(CONTENT_LENGTH),
    };
    if open && let Some(len) = policy::len_of_part(response.status, &response.headers) {
        response.body = Box::pin(Measured { body: Some(response.body), left: len, last: None });
    }
    response
}

/// A body of known length. Its last byte is passed on only when the origin has ended, so that a body with
/// more bytes never ends cleanly, not even for a reader that counts what is left of it.
struct Measured {
    /// None once it has ended.
    body: Option<Body>,
    /// How many bytes are still to come.
    left: u64,
    /// The last byte, held back until the origin has ended.
    last: Option<Bytes>,
}

// === impl Measured ===

impl Measured {
    fn take(&mut self, mut bytes: Bytes) -> Result<Bytes, Error> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| wrong("more"))?;
        if self.left == 0 && !bytes.is_empty() {
            self.last = Some(bytes.split_off(bytes.len() - 1));
        }
        Ok(bytes)
    }

    fn end(&mut self) -> Option<Result<Bytes, Error>> {
        if self.left > 0 { Some(Err(wrong("fewer"))) } else { self.last.take().map(Ok) }
    }
}

impl Stream for Measured {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            let next = match ready!(body.as_mut().poll_next(cx)) {
                Some(Ok(bytes)) => Some(this.take(bytes)),
                Some(Err(error)) => Some(Err(error)),
                None => {
                    this.body = None;
                    this.end()
                }
            };
            match next {
                // Its only byte is held back until the end.
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Err(error)) => {
                    this.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                next => return Poll::Ready(next),
            }
        }
    }
}

fn wrong(which: &str) -> Error {
    Error { kind: ErrorKind::Truncated, detail: format!("{which} bytes than its Content-Range says") }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http::{HeaderMap, HeaderValue, StatusCode, Version};

    use super::*;

    /// What comes of a 206 that says `bytes 2-5/10`, and whether it ends cleanly.
    fn of(framing: Framing, length: Option<&'static str>, pieces: &[&'static str]) -> (String, bool) {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        let mut headers = HeaderMap::new();
        headers.insert("content-range", HeaderValue::from_static("bytes 2-5/10"));
        headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length))));
        let response = Response {
            status: StatusCode::PARTIAL_CONTENT,
            headers,
            version: Version::HTTP_11,
            framing,
            body: Box::pin(stream::iter(pieces)),
            timing: crate::upstream::Timing::default(),
            trailers: crate::upstream::Trailers::default(),
            binds: false,
        };
        let came: Vec<_> = measured(response).body.collect().now_or_never().expect("it waits for nothing");
        let clean = came.iter().all(Result::is_ok);
        let bytes: Vec<u8> = came.into_iter().filter_map(Result::ok).flatten().collect();
        (String::from_utf8(bytes).unwrap(), clean)
    }

    #[test]
    fn a_part_is_as_long_as_its_range_or_breaks_off() {
        for framing in [Framing::Framed, Framing::Close] {
            for (pieces, want) in [
                (&["2345"][..], ("2345", true)),
                (&["2", "", "34", "5"], ("2345", true)),
                (&["2345", ""], ("2345", true)),
                (&["234"], ("234", false)),
                (&[], ("", false)),
                // Never the last byte of what turns out to be more.
                (&["2345", "6"], ("234", false)),
                (&["23", "4567"], ("23", false)),
                (&["23456789"], ("", false)),
            ] {
                assert_eq!(of(framing, None, pieces), (want.0.to_owned(), want.1), "{framing:?} {pieces:?}");
            }
        }
        // Its framing has counted it.
        assert_eq!(of(Framing::Length(3), Some("3"), &["234"]), ("234".to_owned(), true));
        assert_eq!(of(Framing::Length(0), None, &[]), (String::new(), false));
    }
}
