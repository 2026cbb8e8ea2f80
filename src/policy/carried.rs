//! Digests that tell the requests of one key apart: of the fields that a fill of each would carry, of its
//! client, and of what a response's `Vary` selects by (F7, F10).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};

use super::vary::selecting;
use crate::key::KeyHash;
use crate::record::CarriedDigest;

/// The digest of a fill's fields. The order of different fields does not matter, that of the lines of one
/// field does.
pub fn carried(fields: &HeaderMap) -> CarriedDigest {
    let mut names: Vec<&HeaderName> = fields.keys().collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let mut hash = Sha256::new();
    for name in names {
        for value in fields.get_all(name) {
            part(&mut hash, name.as_str().as_bytes());
            part(&mut hash, value.as_bytes());
        }
    }
    let mut first = CarriedDigest::default();
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

/// The digest of a client's address under a key, to be compared with others under that key. It hides the
/// address from a reader, but not from a search of all addresses. An IPv6 network of 64 bits counts as one
/// client, since one client has all of it.
pub fn client_digest(client: IpAddr, key: KeyHash) -> u64 {
    let mut hash = Sha256::new();
    part(&mut hash, &key.0);
    match client.to_canonical() {
        IpAddr::V4(address) => part(&mut hash, &address.octets()),
        IpAddr::V6(address) => part(&mut hash, &address.octets()[..8]),
    }
    first_8(hash)
}

/// The digest of a request's values of the fields that a response varies on; 0 if it varies on none.
pub fn selection(fields: &[HeaderName], headers: &HeaderMap) -> u64 {
    if fields.is_empty() {
        return 0;
    }
    let mut hash = Sha256::new();
    for (field, value) in selecting(fields, headers) {
        part(&mut hash, field.as_str().as_bytes());
        hash.update([u8::from(value.is_some())]);
        part(&mut hash, value.unwrap_or_default().as_bytes());
    }
    // Never 0: that is the digest of no fields.
    first_8(hash).max(1)
}

/// Hashes a part with its length, so that no two lists of parts are the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn first_8(hash: Sha256) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_carried_is_told_apart_by_names_lines_and_values() {
        let base = [("accept", "a"), ("x-a", "1"), ("x-a", "2")];
        let digest = |list: &[(&str, &str)]| carried(&fields(list));
        assert_eq!(digest(&base), digest(&[("x-a", "1"), ("accept", "a"), ("x-a", "2")]), "order of fields");
        for other in [
            &[("accept", "a"), ("x-a", "2"), ("x-a", "1")][..],
            &[("accept", "a"), ("x-a", "1, 2")],
            &[("accept", "a"), ("x-a", "12")],
            &[("accept", "a"), ("x-b", "1"), ("x-b", "2")],
            &[("accept", "a")],
        ] {
            assert_ne!(digest(&base), digest(other), "{other:?}");
        }
    }

    #[test]
    fn a_client_is_an_address_or_a_network() {
        let (one, two) = (KeyHash([1; 16]), KeyHash([2; 16]));
        let digest = |client: &str, key| client_digest(client.parse().unwrap(), key);
        assert_eq!(digest("::ffff:192.0.2.1", one), digest("192.0.2.1", one));
        assert_ne!(digest("192.0.2.1", one), digest("192.0.2.2", one));
        assert_ne!(digest("192.0.2.1", one), digest("192.0.2.1", two), "not to be followed between keys");
        assert_eq!(digest("2001:db8::1", one), digest("2001:db8::ffff:2", one));
        assert_ne!(digest("2001:db8::1", one), digest("2001:db8:0:1::1", one));
    }

    #[test]
    fn a_selection_is_what_the_fields_say() {
        let vary = [HeaderName::from_static("x-a")];
        assert_eq!(selection(&[], &fields(&[("x-a", "1")])), 0);
        let of = |list: &[(&str, &str)]| selection(&vary, &fields(list));
        assert_eq!(of(&[("x-a", "1"), ("x-b", "1")]), of(&[("x-a", "1")]));
        assert_ne!(of(&[("x-a", "1")]), of(&[("x-a", "2")]));
        assert_ne!(of(&[("x-a", "")]), of(&[]));
    }
}
