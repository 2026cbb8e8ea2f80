//! Ranges as clients ask for them, resolved by another hand than the proxy's.

/// One range of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    From(usize),
    Between(usize, usize),
    Last(usize),
}

impl Spec {
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().split_once('-')?;
        Some(match (first.parse().ok(), last.parse().ok()) {
            (None, Some(count)) if first.is_empty() => Self::Last(count),
            (Some(first), None) if last.is_empty() => Self::From(first),
            (Some(first), Some(last)) => Self::Between(first, last),
            _ => return None,
        })
    }

    /// Its first and last byte in so many.
    pub fn of(self, len: usize) -> Option<(usize, usize)> {
        let (first, last) = match self {
            Self::From(first) => (first, len.checked_sub(1)?),
            Self::Between(first, last) => (first, last.min(len.checked_sub(1)?)),
            Self::Last(0) => return None,
            Self::Last(count) => (len.saturating_sub(count), len.checked_sub(1)?),
        };
        (first < len).then_some((first, last))
    }

    pub fn text(self) -> String {
        match self {
            Self::From(first) => format!("{first}-"),
            Self::Between(first, last) => format!("{first}-{last}"),
            Self::Last(count) => format!("-{count}"),
        }
    }
}
