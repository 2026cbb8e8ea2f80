//! Hexadecimal digits, without the machinery of formatting: each miss writes several digests.

use std::fmt::{self, Debug, Display};

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// 16 bytes as 32 digits, in lower case.
#[derive(Clone, Copy)]
pub struct Hex([u8; 32]);

// === impl Hex ===

impl Hex {
    /// The digits of these bytes.
    pub fn of(bytes: &[u8; 16]) -> Self {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(digits)
    }

    /// The digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0xdead_beef_u128 << 64, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(Hex::of(&number.to_be_bytes()).to_string(), format!("{number:032x}"));
        }
    }
}
