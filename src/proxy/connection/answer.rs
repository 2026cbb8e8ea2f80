//! What the client has of an answer, and how it learns that the answer broke off.
//!
//! Where the content's end is told by its length or in chunks, a connection that closes too early tells
//! the client. Where only the connection's end tells it (HTTP/1.0 without Content-Length, RFC 9112
//! §6.3), closing would be a lie: such a connection is set to be reset, from before its first byte until
//! the last one is written. The system then resets it whatever ends it, this process included.
//!
//! A client that has nothing of an answer yet is told by another answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::proxy::cause::Cause;

/// What the client has of the last answer. Only the connection's own task writes it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    is: AtomicU8,
    instead: OnceLock<Cause>,
}

/// How a connection may be closed after the last answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// As it is.
    Plain,
    /// It is not reset any more: the answer is whole.
    Disarm,
    /// By a reset: the answer is not whole.
    Reset,
}

/// The client has all that was before it, and nothing of it.
const UNSENT: u8 = 1;
/// Its end is told by the connection's end alone.
const OPEN: u8 = 2;
/// The connection is set to be reset when it is closed.
const ARMED: u8 = 4;
/// Its last byte is on its way.
const WHOLE: u8 = 8;

// === impl Answer ===

impl Answer {
    /// The next answer. `unsent`: all before it has been written.
    pub(crate) fn begins(&self, unsent: bool) {
        self.is.store(if unsent { UNSENT } else { 0 }, Ordering::Relaxed);
    }

    /// Its end will be told by the connection's end alone.
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

    /// Its last byte is on its way.
    pub(crate) fn is_whole(&self) {
        self.also(WHOLE);
    }

    /// How the connection may be closed now that nothing more is to be written.
    pub(crate) fn closing(&self) -> Closing {
        match self.is() {
            is if is & OPEN == 0 => Closing::Plain,
            is if is & WHOLE == 0 => Closing::Reset,
            _ => Closing::Disarm,
        }
    }

    /// Its content broke off. Returns whether the client, which has none of it, is told this instead.
    pub(crate) fn says_instead(&self, cause: Cause) -> bool {
        self.is() & UNSENT != 0 && self.instead.set(cause).is_ok()
    }

    /// What the client is told instead.
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
