//! What the origin has: pages whose every byte tells where it belongs.

use fastrand::Rng;

/// How many.
pub const PAGES: usize = 28;

/// Sizes around what the proxy cuts at: a small body, a block, a segment.
const EDGES: [usize; 5] = [32 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20];

/// A page of the origin.
#[derive(Debug, Clone)]
pub struct Page {
    pub number: usize,
    pub route: &'static str,
    /// How many bytes its first version has.
    size: usize,
    /// Versions and variants are of different sizes.
    pub elastic: bool,
    pub validator: Validator,
    pub varies: bool,
    /// The origin makes no mistake with it: whatever fails fails for no reason.
    pub honest: bool,
    pub lifetime: Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validator {
    Strong,
    Weak,
    Dated,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Of so many seconds.
    Seconds(u64),
    /// `no-cache`: nothing is given that was asked for before the request came.
    Never,
}

/// One body: every byte of an answer is of one and the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Body {
    pub page: usize,
    pub variant: char,
    pub version: usize,
}

// === impl Page ===

impl Page {
    pub fn of(rng: &mut Rng, number: usize) -> Self {
        let route = ["segment", "segment", "fill", "pass", "little"][number % 5];
        let edge = EDGES[rng.usize(..EDGES.len())];
        let size = match rng.usize(..10) {
            0 => rng.usize(..3),
            1 | 2 => rng.usize(3..5_000),
            3 | 4 => (edge + rng.usize(..3)).saturating_sub(1),
            5 => rng.usize(1_000_000..3_000_000),
            _ => rng.usize(5_000..600_000),
        };
        let validator = match rng.usize(..8) {
            0 => Validator::Weak,
            1 => Validator::Dated,
            2 => Validator::None,
            _ => Validator::Strong,
        };
        let lifetime = match rng.usize(..6) {
            0 => Lifetime::Never,
            1 | 2 => Lifetime::Seconds(1),
            3 => Lifetime::Seconds(2),
            _ => Lifetime::Seconds(60),
        };
        Self {
            number,
            route,
            size,
            elastic: rng.bool(),
            validator,
            varies: rng.usize(..3) == 0,
            honest: rng.usize(..4) == 0,
            lifetime,
        }
    }

    pub fn path(&self) -> String {
        format!("/{}/{}", self.route, self.number)
    }

    /// The variant that a request with this field is given.
    pub fn variant(&self, asked: Option<char>) -> char {
        if self.varies { asked.unwrap_or('-') } else { '-' }
    }

    pub fn body(&self, asked: Option<char>, version: usize) -> Body {
        Body { page: self.number, variant: self.variant(asked), version }
    }

    pub fn len(&self, body: Body) -> usize {
        let other = (body.version * 37 + body.variant as usize) % 101;
        if self.elastic && self.size > 100 { self.size + other } else { self.size }
    }

    /// ETag.
    pub fn tag(&self, body: Body) -> Option<String> {
        let name = format!("\"{}.{}.{}\"", body.page, body.variant, body.version);
        match self.validator {
            Validator::Strong => Some(name),
            Validator::Weak => Some(format!("W/{name}")),
            Validator::Dated | Validator::None => None,
        }
    }

    /// Last-Modified: long ago, and a minute later with each version.
    pub fn modified(&self, body: Body) -> Option<String> {
        let at = std::time::UNIX_EPOCH
            + std::time::Duration::from_mins(20_000_000 + body.version as u64 * 3 + body.variant as u64 % 3);
        (self.validator == Validator::Dated).then(|| httpdate::fmt_http_date(at))
    }

    pub fn cache_control(&self) -> String {
        match self.lifetime {
            Lifetime::Seconds(seconds) => format!("max-age={seconds}"),
            Lifetime::Never => "no-cache".to_owned(),
        }
    }
}

// === impl Body ===

impl Body {
    /// Its bytes from one to before another; there are some beyond its end, too.
    pub fn bytes(self, from: usize, until: usize) -> Vec<u8> {
        let key = (self.page as u64) << 40 ^ u64::from(u32::from(self.variant)) << 32 ^ self.version as u64;
        let key = mixed(key ^ 0x5DEE_CE66_D1CE_4E5B);
        let mut bytes = Vec::with_capacity(until.saturating_sub(from) + 16);
        for word in from / 8..until.div_ceil(8) {
            bytes.extend_from_slice(&mixed(key.wrapping_add(word as u64)).to_le_bytes());
        }
        bytes.drain(..from % 8);
        bytes.truncate(until.saturating_sub(from));
        bytes
    }

    /// As the origin names it in each answer.
    pub fn name(self) -> String {
        format!("{}.{}.{}", self.page, self.variant, self.version)
    }

    pub fn named(text: &str) -> Option<Self> {
        let mut words = text.split('.');
        let page = words.next()?.parse().ok()?;
        let variant = words.next()?.chars().next()?;
        Some(Self { page, variant, version: words.next()?.parse().ok()? })
    }
}

fn mixed(key: u64) -> u64 {
    let mut z = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
