//! The beginning of a body that readers have had, beside the bytes of another fetch.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::name::first_half;
use crate::record::{Manifest, Segments};

/// Compares the bytes of a fetch, as they come, with the digests of the segments that readers may have had. Pure.
#[derive(Debug)]
pub struct Prefix {
    segments: Segments,
    /// The segment that is compared, its digest so far, and how many of its bytes are still to come.
    at: usize,
    sha: Sha256,
    left: u64,
}

// === impl Prefix ===

impl Prefix {
    /// Of the bytes that these segments hold.
    pub fn of(manifest: &Manifest) -> Self {
        let segments: Segments =
            manifest.segments.iter().filter(|segment| segment.len > 0).copied().collect();
        let left = segments.first().map_or(0, |segment| segment.len);
        Self { segments, at: 0, sha: Sha256::new(), left }
    }

    /// Takes the next bytes of the fetch. Returns those behind the beginning, if there are any.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the bytes are others.
    pub fn compare(&mut self, mut bytes: Bytes) -> Result<Bytes, Error> {
        while let Some(segment) = self.segments.get(self.at) {
            let len = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let part = bytes.split_to(len);
            self.sha.update(&part);
            self.left -= part.len() as u64;
            if self.left > 0 {
                break;
            }
            if first_half(std::mem::take(&mut self.sha)) != segment.digest {
                return Err(Error::Manifest);
            }
            self.at += 1;
            self.left = self.segments.get(self.at).map_or(0, |next| next.len);
        }
        Ok(bytes)
    }

    /// Returns whether all of it was seen.
    pub fn is_over(&self) -> bool {
        self.at >= self.segments.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::name::digest;
    use crate::record::Segment;

    fn prefix(parts: &[&str]) -> Prefix {
        let segments = parts.iter().enumerate().map(|(n, part)| Segment {
            token: 7,
            n: u32::try_from(n).unwrap(),
            len: part.len() as u64,
            digest: digest([part.as_bytes()]),
            carried: false,
        });
        let segments: Segments = segments.collect();
        let len = segments.iter().map(|segment| segment.len).sum();
        Prefix::of(&Manifest { life: None, len, segments })
    }

    fn behind(prefix: &mut Prefix, chunks: &[&str]) -> Result<String, Error> {
        let mut behind = String::new();
        for chunk in chunks {
            let rest = prefix.compare(Bytes::copy_from_slice(chunk.as_bytes()))?;
            behind.push_str(std::str::from_utf8(&rest).unwrap());
        }
        Ok(behind)
    }

    #[test]
    fn the_same_bytes_are_taken_off_however_they_are_cut() {
        let whole = "hello, world and all";
        for size in 1..=whole.len() {
            let chunks: Vec<_> =
                whole.as_bytes().chunks(size).map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
            let mut prefix = prefix(&["hello, ", "", "world"]);
            assert_eq!(behind(&mut prefix, &chunks).unwrap(), " and all", "in pieces of {size}");
            assert!(prefix.is_over());
        }
    }

    #[test]
    fn another_byte_is_found_at_the_end_of_its_segment_and_too_few_are_not_enough() {
        assert!(matches!(
            behind(&mut prefix(&["hello, ", "world"]), &["hello, w", "0rld and"]),
            Err(Error::Manifest)
        ));
        let mut short = prefix(&["hello, ", "world"]);
        assert_eq!(behind(&mut short, &["hello, wor"]).unwrap(), "");
        assert!(!short.is_over());
        assert!(prefix(&[]).is_over());
    }
}
