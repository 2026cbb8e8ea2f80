//! Far more clients than an origin bears, and when it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::proxy::Setup;
use super::{Answer, Origin, Proxy};

const RATE: u32 = 10;
const BURST: u32 = 5;
/// How much later than drawn a token may reach the origin: this machine may be busy.
const LATE: Duration = Duration::from_millis(500);

/// When the origin was asked.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<Instant>>>);

/// What became of a crowd.
#[derive(Debug)]
pub struct Crowd {
    /// How often the origin was asked.
    pub asked: usize,
    /// The most requests in any span of time above the burst and what comes in that span.
    pub excess: f64,
    pub fresh: usize,
    pub stale: usize,
    pub refused: usize,
    took: Duration,
}

/// Settings with a limit of ten a second, under which who may get something stale gets that.
pub fn limited(setup: Setup) -> Setup {
    let setup = setup.upstream(&format!("max_rate_fleet = \"{RATE}/s\"\nmax_rate_burst = {BURST}"));
    setup.upstream("queue_timeout = \"1s\"").route("grace = { if_error = \"1h\" }")
}

// === impl Crowd ===

impl Crowd {
    /// Asks for new keys at 200 a second for so many seconds, over all instances in turn, and waits for all
    /// answers. Each is one that a client may get.
    pub async fn come(origin: &Origin, of: &[Proxy], seconds: u32) -> Self {
        let times = Times::default();
        let noted = times.clone();
        origin.on_each("*", move |seen| {
            noted.0.lock().unwrap().push(Instant::now());
            Answer::status(200).cache("max-age=1").part(seen.target.clone())
        });
        for path in ["/old/0", "/old/1", "/old/2"] {
            of[0].get(path).await.assert(200, path);
        }
        let (began, mut clients) = (Instant::now(), Vec::new());
        for nth in 0..seconds * 200 {
            sleep_until(began + Duration::from_millis(5) * nth).await;
            let at = &of[nth as usize % of.len()];
            let ask = match nth % 20 {
                0 => at.get(&format!("/old/{}", nth / 20 % 3)),
                1 => at.ask("POST", &format!("/post/{nth}")).content("x"),
                _ => at.get(&format!("/new/{nth}")),
            };
            clients.push(tokio::spawn(ask.send()));
        }
        let (mut fresh, mut stale, mut refused) = (0, 0, 0);
        for (nth, client) in clients.into_iter().enumerate() {
            let reply = client.await.expect("an answer");
            match reply.status {
                200 if reply.cache_status().contains("stale-if-error") => stale += 1,
                200 => fresh += 1,
                503 => {
                    assert_ne!(nth % 20, 0, "what may be served stale is: {}", reply.text());
                    assert!(!reply.field("retry-after").is_empty());
                    refused += 1;
                }
                other => panic!("{other}: {}", reply.text()),
            }
        }
        Self { asked: origin.total(), excess: times.excess(), fresh, stale, refused, took: began.elapsed() }
    }

    /// Whether the origin was asked as often as it may be and no more often, and whether all were answered.
    pub fn judge(&self, seconds: u32) {
        println!("{self:?}");
        assert!(self.excess <= f64::from(RATE) * LATE.as_secs_f64(), "{self:?}");
        // Over all of it, lateness is next to nothing.
        let most = f64::from(BURST) + f64::from(RATE) * (self.took.as_secs_f64() + 2.0);
        assert!(f64::from(u32::try_from(self.asked).unwrap()) <= most, "{self:?}: at most {most}");
        assert!(self.asked >= 8 * seconds as usize, "it is asked as often as it may: {self:?}");
        assert!(self.stale > 0 && self.refused > 0, "{self:?}");
    }
}

// === impl Times ===

impl Times {
    fn excess(&self) -> f64 {
        let times = self.0.lock().unwrap();
        let spans = times.iter().enumerate().flat_map(|(nth, from)| {
            times[nth..].iter().zip(1_u32..).map(move |(till, many)| (*till - *from, many))
        });
        spans
            .map(|(span, many)| f64::from(many) - f64::from(BURST) - span.as_secs_f64() * f64::from(RATE))
            .fold(f64::MIN, f64::max)
    }
}
