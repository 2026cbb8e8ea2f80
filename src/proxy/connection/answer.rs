//! How much of a response has been written, and how the client learns that it broke off.
//!
//! If the content has a length or is chunked, a connection that closes too early tells the client. If only
//! the end of the connection ends the content (HTTP/1.0 without Content-Length, RFC 9112 §6.3), a clean close
//! would make a part look complete. Such a connection is set to be reset on close, from before its first byte
//! until the last one is written. The system then resets it whatever ends it, even the end of this process.
//!
//! A client that has received nothing of a response gets an error response instead.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::proxy::cause::Cause;

/// How much of the last response has been written. Only the connection's own task writes it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    is: AtomicU8,
    instead: OnceLock<Cause>,
}

/// How a connection may be closed after its last response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// As it is set now.
    Plain,
    /// Cleanly, after the reset on close was turned off: the response is complete.
    Disarm,
    /// By a reset: the response is not complete.
    Reset,
}

/// All earlier responses have been written, and nothing of this one.
const UNSENT: u8 = 1;
/// The content ends with the connection.
const OPEN: u8 = 2;
/// The connection is set to be reset when it is closed.
const ARMED: u8 = 4;
/// The last byte is being sent.
const WHOLE: u8 = 8;

// === impl Answer ===

impl Answer {
    /// The next response begins. `unsent`: all earlier ones have been written.
    pub(crate) fn begins(&self, unsent: bool) {
        self.is.store(if unsent { UNSENT } else { 0 }, Ordering::Relaxed);
    }

    /// The content of this response ends with the connection.
    pub(crate) fn ends_by_closing(&self) {
        self.also(OPEN);
    }

    /// Returns whether the connection must be set to be reset before any byte is written.
    pub(crate) fn must_be_armed(&self) -> bool {
        self.is() & (OPEN | ARMED) == OPEN
    }

    /// The connection is set to be reset.
    pub(crate) fn is_armed(&self) {
        self.also(ARMED);
    }

    /// Bytes were written.
    pub(crate) fn has_bytes(&self) {
        let is = self.is();
        if is & UNSENT != 0 {
            self.is.store(is & !UNSENT, Ordering::Relaxed);
        }
    }

    /// The last byte is being sent.
    pub(crate) fn is_whole(&self) {
        self.also(WHOLE);
    }

    /// How the connection may be closed now that nothing is left to be written.
    pub(crate) fn closing(&self) -> Closing {
        match self.is() {
            is if is & OPEN == 0 => Closing::Plain,
            is if is & WHOLE == 0 => Closing::Reset,
            _ => Closing::Disarm,
        }
    }

    /// The content broke off. Returns whether the client, which has received nothing of it, gets this error
    /// response instead.
    pub(crate) fn says_instead(&self, cause: Cause) -> bool {
        self.is() & UNSENT != 0 && self.instead.set(cause).is_ok()
    }

    /// The error response that the client gets instead.
    pub(crate) fn instead(&self) -> Option<Cause> {
        self.instead.get().copied()
    }

    fn is(&self) -> u8 {
        self.is.load(Ordering::Relaxed)
    }

    fn also(&self, bit: u8) {
        self.is.store(self.is() | bit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(unsent: bool) -> Answer {
        let answer = Answer::default();
        answer.begins(unsent);
        answer
    }

    #[test]
    fn another_answer_is_given_only_to_a_client_that_has_nothing_of_the_first() {
        let unsent = answer(true);
        assert!(unsent.says_instead(Cause::Loop));
        assert_eq!(unsent.instead(), Some(Cause::Loop));
        let behind_another = answer(false);
        assert!(!behind_another.says_instead(Cause::Loop));
        let sent = answer(true);
        sent.has_bytes();
        assert!(!sent.says_instead(Cause::Loop));
        assert_eq!(sent.instead(), None);
    }

    #[test]
    fn only_what_ends_with_its_connection_is_ever_reset() {
        let framed = answer(true);
        assert!(!framed.must_be_armed());
        framed.has_bytes();
        assert_eq!(framed.closing(), Closing::Plain);
        let open = answer(true);
        open.ends_by_closing();
        assert!(open.must_be_armed());
        open.is_armed();
        assert!(!open.must_be_armed());
        open.has_bytes();
        assert_eq!(open.closing(), Closing::Reset);
        open.is_whole();
        assert_eq!(open.closing(), Closing::Disarm);
    }

    #[test]
    fn an_answer_that_is_whole_before_its_first_byte_is_written_is_armed_all_the_same() {
        let open = answer(true);
        open.ends_by_closing();
        open.is_whole();
        assert!(open.must_be_armed());
    }
}
