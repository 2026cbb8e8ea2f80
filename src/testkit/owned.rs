//! Questions to a store that outlive their caller: a call that was sent arrives, whether or not its caller
//! still waits.

use std::time::Duration;

use bytes::Bytes;

use crate::dust::{Beside, Holder, Inquiry, Known, Lease, LeaseRequest, Note, Number, Publication, Publish};

/// An [`Inquiry`] that owns its texts.
#[derive(Debug, Clone)]
pub struct OwnedInquiry {
    names: [String; 3],
    known: Known,
    lease: Option<(Duration, Holder, Number)>,
}

/// A [`Publication`] that owns its texts.
#[derive(Debug, Clone)]
pub struct OwnedPublication {
    lease: Lease,
    value: Option<OwnedValue>,
    verdict: Option<OwnedNote>,
}

type OwnedNote = (String, String, Option<Duration>);

#[derive(Debug, Clone)]
struct OwnedValue {
    text: OwnedNote,
    body: Option<(String, Bytes)>,
    keeps: Vec<String>,
}

// === impl OwnedInquiry ===

impl OwnedInquiry {
    /// A copy.
    pub fn of(inquiry: Inquiry<'_>) -> Self {
        Self {
            names: [inquiry.value, inquiry.verdict, inquiry.lock].map(str::to_owned),
            known: inquiry.known,
            lease: inquiry.lease.map(|lease| (lease.ttl, lease.holder.clone(), lease.seen)),
        }
    }

    /// The inquiry.
    pub fn get(&self) -> Inquiry<'_> {
        let [value, verdict, lock] = &self.names;
        let lease = self.lease.as_ref();
        let lease = lease.map(|(ttl, holder, seen)| LeaseRequest { ttl: *ttl, holder, seen: *seen });
        Inquiry { value, verdict, lock, known: self.known, lease }
    }
}

// === impl OwnedPublication ===

impl OwnedPublication {
    /// A copy.
    pub fn of(publication: Publication<'_>) -> Self {
        let value = publication.value.map(|value| OwnedValue {
            text: (value.key.to_owned(), value.text.to_owned(), value.expires_in),
            body: value.body.map(|body| (body.name.to_owned(), body.bytes.clone())),
            keeps: value.keeps.to_vec(),
        });
        let verdict = publication.verdict;
        let verdict = verdict.map(|note| (note.key.to_owned(), note.text.to_owned(), note.expires_in));
        Self { lease: publication.lease.clone(), value, verdict }
    }

    /// The publication.
    pub fn get(&self) -> Publication<'_> {
        let value = self.value.as_ref().map(|value| {
            let (key, text, expires_in) = &value.text;
            let body = value.body.as_ref().map(|(name, bytes)| Beside { name, bytes });
            Publish { key, text, expires_in: *expires_in, body, keeps: &value.keeps }
        });
        let verdict = self.verdict.as_ref();
        let verdict = verdict.map(|(key, text, expires_in)| Note { key, text, expires_in: *expires_in });
        Publication { lease: &self.lease, value, verdict }
    }
}
