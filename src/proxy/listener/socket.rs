//! The socket as hyper sees it. It notes when a head begins, when everything has been written, that the
//! client does not take what is written, and, while hyper does not read, that the client has ended its side
//! or reset the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proxy::connection::{Closing, Phase, bytes_in};
use crate::proxy::settings::Server;
use crate::proxy::sheets::{self, Part, Sheets};
use crate::telemetry::labels::Closed;

/// The socket of a connection.
pub(crate) struct Socket {
    io: TcpStream,
    phase: Arc<Phase>,
    sheets: Arc<Sheets>,
    /// Bytes that are read again, before any from the client.
    before: Bytes,
    opening: Opening,
    /// hyper does not read, and bytes or an end wait to be read: nothing behind them can be peeked at.
    ahead: bool,
    /// The client has ended its side of the connection.
    ended: bool,
    /// hyper has written a response without a request. It was not sent.
    swallowed: bool,
    pace: Pace,
}

/// The first bytes of the head that is being read, for the log line if it is refused.
struct Opening {
    bytes: [u8; OPENING],
    len: usize,
    /// How many requests there were before it on the connection.
    after: u64,
}

/// How fast a client takes bytes that it has let wait.
#[derive(Debug)]
struct Pace {
    /// How long the client has to take enough.
    window: Duration,
    /// How many bytes are enough; zero: any number.
    enough: u64,
    /// How long the client was waited for.
    waited: Duration,
    /// How many bytes it took in that time.
    taken: u64,
}

/// What a client does next that sent nothing.
pub(crate) enum Next {
    /// Bytes wait to be read.
    Bytes,
    /// It has closed its side, or the connection is broken.
    End,
}

const OPENING: usize = 256;
/// The system signals room again when a third of its buffer is free. A client that has not taken as much for
/// this long, or for a fourth of its time, is offered the bytes all the same.
const OFFER_AFTER: Duration = Duration::from_secs(1);
/// How long, and how many bytes, a client that was refused is read from after the response. Otherwise the
/// system would reset the connection, and the response would be lost.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

// === impl Socket ===

impl Socket {
    pub(crate) fn new(io: TcpStream, phase: Arc<Phase>, sheets: Arc<Sheets>, server: &Server) -> Self {
        Self {
            io,
            phase,
            sheets,
            before: Bytes::new(),
            opening: Opening { bytes: [0; OPENING], len: 0, after: 0 },
            ahead: false,
            ended: false,
            swallowed: false,
            pace: Pace::new(server),
        }
    }

    /// Prepares the socket for a new hyper connection, which reads these bytes first, and then what the last
    /// one left of earlier such bytes.
    pub(crate) fn again(&mut self, bytes: Bytes) {
        self.before =
            if self.before.is_empty() { bytes } else { [bytes, self.before.clone()].concat().into() };
        self.swallowed = false;
    }

    /// Returns whether nothing is left to be read again.
    pub(crate) fn can_rest(&self) -> bool {
        self.before.is_empty()
    }

    /// Waits for the client's next bytes, and reads none.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.phase.asked() == 0 {
            // It has just come, and most likely sends a head.
            return self.io.poll_read_ready(cx).map(|_| Next::Bytes);
        }
        let mut byte = [0];
        let peeked = ready!(self.io.poll_peek(cx, &mut ReadBuf::new(&mut byte)));
        Poll::Ready(if matches!(peeked, Ok(1..)) { Next::Bytes } else { Next::End })
    }

    /// The first bytes of the head that was read last; none if several heads came at once.
    pub(crate) fn opening(&self) -> &[u8] {
        let known = self.opening.after == self.phase.asked();
        if known { &self.opening.bytes[..self.opening.len] } else { &[] }
    }

    /// Sends the last response of a connection, and closes it.
    pub(crate) async fn finish(mut self, answer: &[u8]) {
        let _heard = timeout(LINGER, async {
            self.disarm()?;
            self.io.write_all(answer).await?;
            self.io.shutdown().await?;
            let (mut left, mut bytes) = (LINGER_BYTES, [0; 4096]);
            while left > 0 {
                match self.io.read(&mut bytes).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        })
        .await;
    }

    /// Closes the connection by a reset: otherwise the system would keep the bytes that the client does not
    /// take.
    pub(crate) fn reset(self) {
        // If the reset can't be set, it is closed.
        let _ = self.io.set_zero_linger();
    }

    /// Sets the connection to be reset when it is closed, until the response is complete.
    fn arm(&self) -> io::Result<()> {
        if self.phase.answer().must_be_armed() {
            self.io.set_zero_linger()?;
            self.phase.answer().is_armed();
        }
        Ok(())
    }

    /// Sets the connection to be closed cleanly.
    fn disarm(&self) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(&self.io, None)?)
    }

    /// While hyper does not read: notes that the client has ended its side, which does not mean that it has
    /// left. A reset does, and is an error.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ahead {
            // Behind bytes that wait to be read, or behind the end, a reset is seen only this way.
            return self.io.take_error()?.map_or(Ok(()), Err);
        }
        let mut byte = [0];
        match self.io.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => {}
            Poll::Ready(Ok(read)) => {
                self.ahead = true;
                if read == 0 {
                    self.ends();
                }
            }
            Poll::Ready(Err(error)) => return Err(error),
        }
        Ok(())
    }

    fn ends(&mut self) {
        if !self.ended {
            self.ended = true;
            self.phase.ends();
        }
    }

    /// Handles the result of writing these bytes.
    fn wrote(&mut self, polled: Poll<io::Result<usize>>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = match polled {
            Poll::Ready(wrote) => wrote?,
            Poll::Pending => {
                self.phase.stalls();
                ready!(self.offer(bytes))?
            }
        };
        if let Some(waited) = self.phase.stalled() {
            self.phase.goes_on();
            self.pace.waits(waited);
        }
        if self.ended {
            self.phase.is_written_to();
        }
        self.phase.answer().has_bytes();
        if self.pace.is_too_slow(wrote) {
            self.phase.closes(Closed::SendRate);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Ready(Ok(wrote))
    }

    /// The first of these bytes that lie in a sheet, if they are many, and what comes before them.
    fn in_sheet<'a, 'b>(&self, bufs: &'a [io::IoSlice<'b>]) -> Option<(&'a [io::IoSlice<'b>], Part)> {
        let at = bufs.iter().position(|buf| buf.len() >= sheets::LEAST)?;
        Some((&bufs[..at], self.sheets.find(&bufs[at])?))
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        first: &[io::IoSlice<'_>],
        part: &Part,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_write_ready(cx))?;
            match self.io.try_io(Interest::WRITABLE, || part.send_after(first, &self.io)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn offer(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let after = OFFER_AFTER.min(self.pace.window / 4);
        if bytes.is_empty() || self.phase.stalled().is_none_or(|stalled| stalled < after) {
            return Poll::Pending;
        }
        match rustix::net::send(&self.io, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(taken) => Poll::Ready(Ok(taken)),
            Err(rustix::io::Errno::AGAIN) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.before.is_empty() {
            let len = this.before.len().min(buf.remaining());
            let read = this.before.split_to(len);
            buf.put_slice(&read);
            if this.phase.read() {
                this.opening.begin(&read, this.phase.asked());
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.ahead = false;
        let read = &buf.filled()[before..];
        if read.is_empty() {
            if buf.remaining() > 0 {
                this.ends();
            }
        } else if this.phase.read() {
            this.opening.begin(read, this.phase.asked());
        } else if this.phase.is_in_head() {
            this.opening.go_on(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.phase.is_unasked() {
            self.swallowed = true;
            return Poll::Ready(Ok(buf.len()));
        }
        if self.phase.is_closing() {
            return Poll::Ready(Ok(buf.len()));
        }
        self.arm()?;
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(polled, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The buffer above this is flushed only when it is empty.
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if self.phase.is_busy() {
            self.watch(cx)?;
        } else {
            self.pace.begin();
            self.phase.written();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.swallowed {
            // A refusal is still to be sent.
            return Poll::Ready(Ok(()));
        }
        match self.phase.answer().closing() {
            Closing::Plain => {}
            Closing::Disarm => self.disarm()?,
            // A clean end would be taken for the end of the response.
            Closing::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.phase.is_unasked() {
            self.swallowed = true;
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        if self.phase.is_closing() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.arm()?;
        let polled = match self.in_sheet(bufs) {
            Some((first, part)) => self.poll_send(cx, first, &part),
            None => Pin::new(&mut self.io).poll_write_vectored(cx, bufs),
        };
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.wrote(polled, first)
    }
}

// === impl Opening ===

impl Opening {
    fn begin(&mut self, bytes: &[u8], after: u64) {
        (self.len, self.after) = (0, after);
        self.go_on(bytes);
    }

    fn go_on(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(OPENING - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }
}

// === impl Pace ===

impl Pace {
    fn new(server: &Server) -> Self {
        let window = server.send_timeout;
        let enough = bytes_in(server.min_rate, window);
        Self { window, enough, waited: Duration::ZERO, taken: 0 }
    }

    fn begin(&mut self) {
        (self.waited, self.taken) = (Duration::ZERO, 0);
    }

    /// The client was waited for this long.
    fn waits(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// The client took this many bytes. Returns whether that is too little for the time that it was waited
    /// for.
    fn is_too_slow(&mut self, bytes: usize) -> bool {
        if self.waited.is_zero() {
            return false;
        }
        self.taken += bytes as u64;
        if self.waited < self.window {
            return false;
        }
        let too_slow = self.taken < self.enough;
        self.begin();
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(window: Duration, min_rate: u64) -> Pace {
        Pace::new(&Server { send_timeout: window, min_rate, ..Server::default() })
    }

    #[test]
    fn a_client_that_takes_a_byte_whenever_it_is_about_to_be_closed_is_too_slow() {
        let secs = Duration::from_secs;
        let mut pace = pace(secs(30), 256);
        assert!(!pace.is_too_slow(8 << 20), "it is not waited for");
        pace.waits(secs(29));
        assert!(!pace.is_too_slow(1));
        pace.waits(secs(29));
        assert!(pace.is_too_slow(1));
    }

    #[test]
    fn bytes_that_came_fast_once_are_no_credit_for_ever() {
        let secs = Duration::from_secs;
        let mut pace = pace(secs(30), 256);
        pace.waits(secs(10));
        assert!(!pace.is_too_slow(1 << 20));
        pace.waits(secs(20));
        assert!(!pace.is_too_slow(1));
        pace.waits(secs(30));
        assert!(pace.is_too_slow(1));
    }

    #[test]
    fn without_a_rate_or_a_window_nobody_is_too_slow() {
        for (window, rate) in [(Duration::from_secs(30), 0), (Duration::ZERO, 256)] {
            let mut pace = pace(window, rate);
            pace.waits(Duration::from_secs(1000));
            assert!(!pace.is_too_slow(1));
        }
    }
}
