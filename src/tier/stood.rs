//! The newest purges over one URL at one moment, but for those of tags.
//!
//! A request obeys the purges that came before it (F8). A later purge applies to later requests: a request
//! that waits already may get what was valid when it began to wait.

use super::Covered;
use crate::dust::Number;

/// The newest stamps over a URL, and over the areas that it lies in, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stood {
    /// The number of the newest hard stamp; 0 if there was none.
    pub hard: Number,
    /// The number of the newest soft stamp; 0 if there was none.
    pub soft: Number,
}

// === impl Stood ===

impl Stood {
    /// How these stamps cover a record born under `born` and last validated under `token`.
    pub fn covers(self, born: Number, token: Number) -> Covered {
        Covered::by([self.hard, self.soft], born, token)
    }
}
