//! Bytes that tell where they stand, for bodies too large to keep twice.

/// A prime length, so that no block size is a period of it.
const PERIOD: usize = 65_521;
/// How many bytes are made or compared at once.
pub const BLOCK: usize = 1 << 20;

/// The bytes of a body of any length.
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// The pattern.
    pub fn new() -> Self {
        let byte = |at: usize| {
            let place = (at % PERIOD) as u32;
            (place.wrapping_mul(2_654_435_761) >> 13) as u8
        };
        Self((0..BLOCK + PERIOD).map(byte).collect())
    }

    /// At most `len` bytes from `at` on, never more than [`BLOCK`].
    pub fn at(&self, at: u64, len: u64) -> &[u8] {
        let from = (at % PERIOD as u64) as usize;
        &self.0[from..from + len.min(BLOCK as u64) as usize]
    }

    /// Whether `bytes` stand at `at`.
    pub fn matches(&self, mut at: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let want = self.at(at, bytes.len() as u64);
            if bytes[..want.len()] != *want {
                return false;
            }
            at += want.len() as u64;
            bytes = &bytes[want.len()..];
        }
        true
    }

    /// All of a body.
    pub fn whole(len: u64) -> Vec<u8> {
        let pattern = Self::new();
        let mut body = Vec::new();
        while (body.len() as u64) < len {
            let at = body.len() as u64;
            body.extend_from_slice(pattern.at(at, len - at));
        }
        body
    }
}
