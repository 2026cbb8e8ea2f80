//! What each place that judges a stored response makes of it: one table for each.
//!
//! A line of a table has four groups of five letters: the whole is stored; a part that has the range; a
//! part, and the whole is asked for; a part, for a HEAD. Within a group it is fresh, in
//! stale-while-revalidate, stale under max-stale, stale, and fresh for a request whose credentials it does
//! not share. A letter is what comes of it.
//!
//! Behind the colon stands which responses are alike in all that. `own`: the request selects it; `other`:
//! it does not; `old`: older than anything that is served; `both`. The letters after that are its purges:
//! `n`one, `s`oft, `h`ard, and in upper case the same when the request was there before the purge.

use http::HeaderValue;
use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, RANGE};

use crate::dust::{Entry, Number, Put, Value};
use crate::policy::{RangeRequest, Want};
use crate::proxy::lookup;
use crate::proxy::state::past::{Arrival, Past};
use crate::proxy::tests::*;
use crate::record::{LifetimeBy, Manifest, Pointer, Record, Segment, codec};
use crate::tier::stamps::{Force, Scope};

pub(crate) mod fleet;
pub(crate) mod memory;
pub(crate) mod stale;

/// The number under which what is stored was asked for; a stamp comes later.
const BORN: Number = 1;
const STAMP: Number = 2;

/// The purge of a response, and whether it came later than the request.
const STAMPS: [(char, Option<Force>, bool); 5] = [
    ('n', None, false),
    ('s', Some(Force::Soft), false),
    ('h', Some(Force::Hard), false),
    ('S', Some(Force::Soft), true),
    ('H', Some(Force::Hard), true),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Whole,
    TheRange,
    TooLittle,
    TooLittleForHead,
}

const HOLDS: [Holds; 4] = [Holds::Whole, Holds::TheRange, Holds::TooLittle, Holds::TooLittleForHead];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Fresh,
    Revalidating,
    MaxStale,
    Stale,
    Refused,
}

const LIVES: [Life; 5] = [Life::Fresh, Life::Revalidating, Life::MaxStale, Life::Stale, Life::Refused];

/// One response and the request that finds it.
struct Case {
    asking: CacheRequest,
    place: CacheSlot,
    record: Record,
    /// The stamps that the request came after.
    past: Past,
}

/// One instance, and responses that it has not got yet.
struct Bench {
    fleet: Fleet,
    one: Instance,
}

impl Bench {
    async fn new() -> Self {
        let fleet = Fleet::new().await;
        let one = fleet.instance("one", WhenUnsure::Validate).await;
        Self { fleet, one }
    }

    fn case(&self, stamp: usize, old: bool, other: bool, holds: Holds, life: Life) -> Case {
        let (name, force, later) = STAMPS[stamp];
        let path = format!("/{name}/{old}/{other}/{holds:?}/{life:?}");
        let mut asking = self.one.asking(&path);
        match holds {
            Holds::Whole | Holds::TooLittle => {}
            Holds::TheRange => {
                asking.headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
                asking.ask.want =
                    Want::of(&asking.method, RangeRequest::of(&asking.headers, &asking.route.rules));
            }
            Holds::TooLittleForHead => {
                asking.method = http::Method::HEAD;
                asking.ask.want = Want::Head(None);
            }
        }
        match life {
            Life::MaxStale => asking.ask.wants.max_stale = Some(60_000),
            Life::Refused => {
                asking.headers.insert(AUTHORIZATION, HeaderValue::from_static("me"));
                asking.ask.authorization = true;
            }
            Life::Fresh | Life::Revalidating | Life::Stale => {}
        }
        let proxy = &self.one.proxy;
        let place = lookup::place(proxy, &asking.route, &asking.target, &asking.headers);
        let before = proxy.past(place.named());
        if let Some(force) = force {
            proxy.stamps.apply(Scope::Url(place.url), force, STAMP);
        }
        let past = if later { before } else { proxy.past(place.named()) };
        let record = self.record(place.key.text(), old, other, holds, life);
        Case { asking, place, record, past }
    }

    fn record(&self, key: &str, old: bool, other: bool, holds: Holds, life: Life) -> Record {
        let whole = holds == Holds::Whole;
        // The instance serves nothing that is older than an hour.
        let age_ms = if old { 7_200_000 } else { 10_000 };
        let fresh_ms = match life {
            Life::Fresh | Life::Refused => age_ms + 60_000,
            Life::Revalidating | Life::MaxStale | Life::Stale => age_ms - 1_000,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60, stale-if-error=600"));
        let segment = Segment { token: BORN, n: 0, len: 4, digest: [0; 16], carried: false };
        Record {
            key: key.into(),
            born: BORN,
            token: BORN,
            status: if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT },
            headers: headers.into(),
            received_at: self.one.proxy.now_ms() - age_ms,
            age_ms: 0,
            fresh_ms,
            swr_ms: if life == Life::Revalidating { 60_000 } else { 0 },
            sie_ms: 600_000,
            keep_ms: 600_000,
            by: LifetimeBy::Origin,
            credentialed: false,
            select: if other {
                vec![(ACCEPT_LANGUAGE, Some("de".to_owned()))].into()
            } else {
                Vec::new().into()
            },
            range: (!whole).then(|| Box::new((0, 3, 10))),
            tags: Vec::new().into(),
            body: Manifest { life: None, len: 4, segments: vec![segment].into() },
        }
    }

    /// The table of what becomes of all cases.
    async fn table(&self, mut of: impl AsyncFnMut(&Case) -> char) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        for (kind, old, other) in
            [("own", false, false), ("other", false, true), ("old", true, false), ("both", true, true)]
        {
            for (stamp, (letter, ..)) in STAMPS.iter().enumerate() {
                let mut row = String::new();
                for (group, holds) in HOLDS.into_iter().enumerate() {
                    row.push_str(if group > 0 { " " } else { "" });
                    for life in LIVES {
                        row.push(of(&self.case(stamp, old, other, holds, life)).await);
                    }
                }
                let at = rows.iter().position(|(there, _)| *there == row).unwrap_or_else(|| {
                    rows.push((row, String::new()));
                    rows.len() - 1
                });
                let labels = &mut rows[at].1;
                if !labels.split(' ').any(|there| there == kind) {
                    labels.extend([" ", kind, " "]);
                }
                labels.push(*letter);
            }
        }
        rows.iter().map(|(row, labels)| format!("{row}:{labels}")).collect::<Vec<_>>().join("\n")
    }

    /// Puts it into the store.
    async fn put(&self, case: &Case) {
        let Value::Text(text) = case.entry().value else { panic!("a text") };
        let name = self.one.proxy.names(&case.place.key).value;
        self.fleet.dust.put(&name, &text, Put::default()).await.unwrap();
    }
}

/// That it is this table.
#[track_caller]
fn is(table: &str, wanted: &str) {
    let wanted = wanted.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(table, wanted, "\n{table}");
}

impl Case {
    fn stored(&self) -> Arc<Stored> {
        Arc::new(Stored::new(self.record.clone(), &self.asking.route.rules, Some("abcd".into())))
    }

    fn entry(&self) -> Entry {
        let text = codec::encode(&Pointer::Record(Box::new(self.record.clone()))).unwrap();
        Entry { value: Value::Text(text.into()), number: BORN }
    }

    fn arrival(&self, proxy: &Proxy) -> Arrival {
        Arrival { at: proxy.moments.next(), past: self.past }
    }
}
