//! Whatever is asked for in whatever order, through joins and changes of version: the bytes are
//! those of one version, the one that the answer names.

use super::source::Source;
use crate::support::{End, Origin, Proxy, Reply, all};

/// A row of numbers that a seed gives.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// The body of a version: no two have a byte in common at any place.
fn body(version: u64, len: u64) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + version * 13) % 251) as u8).collect()
}

fn tag(version: u64) -> String {
    format!("\"v{version}\"")
}

struct World {
    source: Source,
    origin: Origin,
    proxy: Proxy,
    len: u64,
    version: u64,
}

impl World {
    async fn new(len: u64) -> Self {
        let source = Source::of(body(0, len));
        source.now(|version| version.tag = tag(0));
        let (origin, proxy) = source.proxied().await;
        Self { source, origin, proxy, len, version: 0 }
    }

    async fn change(&mut self, purged: bool) {
        self.version += 1;
        let (new, len) = (self.version, self.len);
        self.source.now(|version| (version.body, version.tag) = (body(new, len), tag(new)));
        if purged {
            self.proxy.purge_url("/a").await;
        }
    }

    /// A range, or none; and the span that it means.
    fn range(&self, chance: &mut Chance) -> (Option<String>, (u64, u64)) {
        let end = self.len - 1;
        let first = chance.below(self.len);
        let last = (first + chance.below(self.len / 3)).min(end);
        match chance.below(8) {
            0 => (None, (0, end)),
            1 => (Some(format!("bytes={first}-")), (first, end)),
            2 => (Some(format!("bytes=-{}", first + 1)), (end - first, end)),
            3 => (Some(format!("bytes=0-{last}")), (0, last)),
            _ => (Some(format!("bytes={first}-{last}")), (first, last)),
        }
    }

    async fn ask(&self, range: Option<&str>) -> Reply {
        let ask = self.proxy.get("/a");
        match range {
            Some(range) => ask.field("Range", range).await,
            None => ask.await,
        }
    }

    /// `oldest`: no version before this may be given any more.
    fn check(&self, reply: &Reply, range: Option<&str>, (first, last): (u64, u64), oldest: u64) {
        assert_eq!(reply.end, End::Clean, "{range:?} {:?}", reply.fields);
        let version = reply.field("etag").trim_matches(['"', 'v']).parse::<u64>().unwrap();
        assert!((oldest..=self.version).contains(&version), "{version} of {oldest}..={}", self.version);
        assert_eq!(reply.status, if range.is_some() { 206 } else { 200 }, "{range:?}");
        assert!(
            reply.body == body(version, self.len)[first as usize..=last as usize],
            "{range:?} of version {version}: {} bytes, {:?}",
            reply.body.len(),
            reply.fields
        );
        if range.is_some() {
            assert_eq!(reply.field("content-range"), format!("bytes {first}-{last}/{}", self.len));
        }
    }
}

async fn one_after_another(seed: u64, len: u64, steps: u64) {
    let (mut world, mut chance, mut oldest) = (World::new(len).await, Chance(seed), 0);
    for step in 0..steps {
        if chance.below(12) == 0 {
            let purged = chance.below(2) == 0;
            world.change(purged).await;
            if purged {
                oldest = world.version;
            }
        }
        let (range, span) = world.range(&mut chance);
        let reply = world.ask(range.as_deref()).await;
        world.check(&reply, range.as_deref(), span, oldest);
        let asked = world.origin.total() as u64;
        assert!(asked <= 3 * (step + 1), "{asked} fetches in {step} steps");
    }
    assert!((world.origin.total() as u64) < steps, "nothing was of use: {}", world.origin.total());
}

#[tokio::test]
async fn one_after_another_in_any_order() {
    for seed in 1..=6 {
        one_after_another(seed, 300, 60).await;
    }
}

#[tokio::test]
async fn large_ones_too() {
    one_after_another(77, 3 << 20, 40).await;
}

#[tokio::test]
async fn many_at_once_in_any_order() {
    for seed in 1..=4 {
        let (mut world, mut chance, mut oldest) = (World::new(500).await, Chance(seed), 0);
        for _ in 0..15 {
            if chance.below(5) == 0 {
                world.change(true).await;
                oldest = world.version;
            }
            let asks: Vec<_> = (0..12).map(|_| world.range(&mut chance)).collect();
            let replies = all(asks.iter().map(|(range, _)| world.ask(range.as_deref()))).await;
            for ((range, span), reply) in asks.iter().zip(&replies) {
                world.check(reply, range.as_deref(), *span, oldest);
            }
        }
    }
}
