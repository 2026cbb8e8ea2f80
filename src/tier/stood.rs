//! The purges over one URL as they stood at one moment.
//!
//! A request is answered by the purges that came before it (F8). One that came later is for the
//! requests after it: whoever waits already may be given what was good when it began to wait.

use super::Covered;
use crate::dust::Number;

/// The newest stamps over a URL at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stood {
    /// The newest hard one; 0 if there was none.
    pub hard: Number,
    /// The newest soft one; 0 if there was none.
    pub soft: Number,
}

// === impl Stood ===

impl Stood {
    /// What these stamps say of something born under `born` and last validated under `token`.
    pub fn covers(self, born: Number, token: Number) -> Covered {
        if self.hard > born {
            Covered::Hard
        } else if self.soft > token {
            Covered::Soft
        } else {
            Covered::No
        }
    }
}
