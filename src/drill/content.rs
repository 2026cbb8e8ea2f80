//! Bodies whose bytes follow from a path and a version. So a part of another version, or of another path,
//! is found wherever it stands.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;

/// The body of a version of a path.
pub fn body(path: &str, version: u64, size: usize) -> Bytes {
    // The hasher's keys are constants: the same in each process.
    let mut hasher = DefaultHasher::new();
    (path, version).hash(&mut hasher);
    let mut random = fastrand::Rng::with_seed(hasher.finish());
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn versions_and_paths_differ_in_every_stretch() {
        let one = body("/a", 1, 4096);
        assert_eq!(one, body("/a", 1, 4096));
        for other in [body("/a", 2, 4096), body("/b", 1, 4096)] {
            assert!(one.chunks(32).zip(other.chunks(32)).all(|(one, other)| one != other));
        }
        assert_eq!(one.slice(..100), body("/a", 1, 100));
    }
}
