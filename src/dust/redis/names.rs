//! Names of keys in the server.
//!
//! All keys of a fleet carry the one hash tag `{prefix}`, so that a script may touch any of them
//! in a cluster, and one pattern of an ACL covers them. The store's own keys have `#` after the tag,
//! callers' keys have `:`, names of bytes have `=`, and names of buckets have `~`, so that they can't collide.

/// The names of one fleet.
#[derive(Debug)]
pub(super) struct Names {
    /// What precedes a name in its key.
    pub before: String,
    /// What precedes a name of bytes in its key.
    pub bytes: String,
    /// What precedes the name of a bucket in its key.
    pub buckets: String,
    /// The highest number given so far.
    pub last: String,
    /// The id of this life.
    pub life: String,
    /// A sorted set of all names, for listings.
    pub index: String,
    /// A sorted set of the names that expire, by when: with it `index` is kept as small as what lives.
    pub expiry: String,
    /// The channel of changes. Channels are shared by all databases, so its name includes the database.
    pub channel: String,
}

// === impl Names ===

impl Names {
    pub(super) fn new(prefix: &str, db: i64) -> Self {
        Self {
            before: format!("{{{prefix}}}:"),
            bytes: format!("{{{prefix}}}="),
            buckets: format!("{{{prefix}}}~"),
            last: format!("{{{prefix}}}#last"),
            life: format!("{{{prefix}}}#life"),
            index: format!("{{{prefix}}}#index"),
            expiry: format!("{{{prefix}}}#expiry"),
            channel: format!("{{{prefix}}}#events/{db}"),
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.before)
    }

    /// The key of bytes.
    pub(super) fn of_bytes(&self, name: &str) -> String {
        format!("{}{name}", self.bytes)
    }

    /// The key of a bucket.
    pub(super) fn of_bucket(&self, name: &str) -> String {
        format!("{}{name}", self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_fleets_tag_and_only_that() {
        let names = Names::new("shop", 3);
        let key = names.key("_dust:sf/{x}");
        let bytes = names.of_bytes("a/1/{2}");
        let bucket = names.of_bucket("b/{3}");
        for key in
            [&*key, &*bytes, &*bucket, &names.last, &names.life, &names.index, &names.expiry, &names.channel]
        {
            assert_eq!(key.split(['{', '}']).nth(1), Some("shop"), "{key}");
            assert!(key.starts_with("{shop}"));
        }
        assert_eq!((&*key, &*bytes), ("{shop}:_dust:sf/{x}", "{shop}=a/1/{2}"));
        assert_ne!(names.channel, Names::new("shop", 0).channel);
    }
}
