//! What an origin does that it should not.

use fastrand::Rng;

/// How an exchange goes wrong. Those of the second half are of a 206 that completes what is stored,
/// which only If-Range tells from one that is a client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Closed before the head.
    Closes,
    Fails,
    /// Breaks off after so many thousandths of the body.
    Cut(usize),
    /// A part of fewer bytes than it says, in chunks.
    Short(usize),
    /// A part of more.
    Long(usize),
    /// The whole, where a part was asked for.
    Whole,
    Refuses,
    /// Another part than was asked for, or of another whole, of another version, or several.
    OtherPart,
    OtherTotal,
    OtherVersion,
    OtherLength,
    Several,
}

impl Fault {
    /// Of an exchange that asks for a range, or completes something, or neither.
    pub fn of(rng: &mut Rng, ranged: bool, completes: bool) -> Self {
        match rng.usize(..if ranged { 60 } else { 80 }) {
            0 => Self::Closes,
            1 => Self::Fails,
            2..=6 => Self::Cut(rng.usize(..1000)),
            _ if !ranged => Self::None,
            7..=10 => Self::Short([1, 1, 2, 1000, 70_000][rng.usize(..5)]),
            11..=15 => Self::Long([1, 1, 2, 1000, 70_000, 300_000][rng.usize(..6)]),
            16 => Self::Whole,
            17 => Self::Refuses,
            18..=40 if completes => {
                [Self::OtherPart, Self::OtherTotal, Self::OtherVersion, Self::OtherLength, Self::Several]
                    [rng.usize(..5)]
            }
            _ => Self::None,
        }
    }

    /// Whether what it says is not so: nobody but the client it is for may be given that.
    pub fn lies(self) -> bool {
        matches!(
            self,
            Self::OtherPart | Self::OtherTotal | Self::OtherVersion | Self::OtherLength | Self::Several
        )
    }
}
