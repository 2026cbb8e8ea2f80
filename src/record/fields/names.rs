//! The names of stored fields, each kept once in the process.
//!
//! Origins use few names. The first that are seen get a code, for good: a hit reads the name behind a code
//! without a lock, and clones it without a count that all cores would write. The table is bounded. A name that
//! finds no room, or is long, is written out where it is used.

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};

use http::{HeaderMap, HeaderName};

/// The most names that get a code.
const MOST: usize = 1024;
/// The longest of them, in bytes.
const LONGEST: usize = 64;

/// The name of each code from 1 on. A name is in place before its code is given out.
static NAMES: [OnceLock<HeaderName>; MOST] = [const { OnceLock::new() }; MOST];
/// The codes of the names.
static CODES: OnceLock<RwLock<HeaderMap<u16>>> = OnceLock::new();

/// The codes, locked for reading.
pub(super) struct Codes(RwLockReadGuard<'static, HeaderMap<u16>>);

/// The name behind a code.
pub(super) fn name(code: usize) -> &'static HeaderName {
    NAMES[code - 1].get().expect("a code is given out after its name is in place")
}

/// Gives codes to all `names` for which there is room, then calls `use_them`.
pub(super) fn with_codes<'a>(mut names: impl Iterator<Item = &'a HeaderName>, use_them: impl FnOnce(&Codes)) {
    let codes = codes();
    let mut known = Codes(codes.read().unwrap_or_else(PoisonError::into_inner));
    if known.0.len() < MOST
        && let Some(new) = names.find(|name| is_short(name) && known.of(name).is_none())
    {
        drop(known);
        {
            // An insertion is one step: a panic elsewhere broke nothing.
            let mut codes = codes.write().unwrap_or_else(PoisonError::into_inner);
            for name in std::iter::once(new).chain(names.filter(|name| is_short(name))) {
                add(&mut codes, name);
            }
        }
        known = Codes(codes_of_reading());
    }
    use_them(&known);
}

fn codes() -> &'static RwLock<HeaderMap<u16>> {
    CODES.get_or_init(RwLock::default)
}

fn codes_of_reading() -> RwLockReadGuard<'static, HeaderMap<u16>> {
    codes().read().unwrap_or_else(PoisonError::into_inner)
}

fn is_short(name: &HeaderName) -> bool {
    name.as_str().len() <= LONGEST
}

fn add(codes: &mut HeaderMap<u16>, name: &HeaderName) {
    let at = codes.len();
    if at >= MOST || codes.contains_key(name) {
        return;
    }
    let Ok(code) = u16::try_from(at + 1) else { return };
    // Kept for the life of the process, and no longer than the two bounds allow: a clone of it counts nothing.
    let text: &'static str = Box::leak(Box::from(name.as_str()));
    let kept = NAMES[at].get_or_init(|| HeaderName::from_static(text));
    codes.insert(kept.clone(), code);
}

// === impl Codes ===

impl Codes {
    /// The code of a name, if it has one.
    pub(super) fn of(&self, name: &HeaderName) -> Option<u16> {
        self.0.get(name).copied()
    }
}
