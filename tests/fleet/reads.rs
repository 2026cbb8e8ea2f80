//! A bucket that can't be read, loses objects or flips bits, under two hundred clients: nobody gets wrong
//! bytes with a clean end, everybody is answered in time, and bucket and origin are asked a few times.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::fleet::{Fleet, timed};
use crate::support::pattern::Pattern;
use crate::support::{Answer, End, Reads, S3, all, until};

const CLIENTS: usize = 200;
/// Of a route.
const WAIT_TIMEOUT: Duration = Duration::from_secs(35);
const SMALL: u64 = 100_000;
const LARGE: u64 = 3 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Hangs,
    SlowsDown,
    Loses,
    Flips,
}

const FAULTS: [Fault; 4] = [Fault::SlowsDown, Fault::Loses, Fault::Flips, Fault::Hangs];

impl Fault {
    async fn begins(self, s3: &S3) {
        match self {
            Self::Hangs => s3.reads_go(Reads::Hang).await,
            Self::SlowsDown => s3.reads_go(Reads::SlowDown).await,
            Self::Loses => each_segment(s3, |file| std::fs::remove_file(file).unwrap()),
            Self::Flips => each_segment(s3, |file| {
                let mut bytes = std::fs::read(file).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 16;
                std::fs::write(file, bytes).unwrap();
            }),
        }
    }

    /// How often a read is tried that fails like this.
    fn tries(self) -> usize {
        if self == Self::SlowsDown { 3 } else { 1 }
    }
}

fn each_segment(s3: &S3, change: impl Fn(&std::path::Path)) {
    for key in s3.objects().iter().filter(|key| !key.ends_with("/here")) {
        change(&s3.file(key));
    }
}

async fn a_bucket_fails_under_many_clients(count: usize) {
    let s3 = S3::start().await;
    // One more, whose memory nobody asks.
    let fleet = Fleet::in_bucket(count + 1, &s3).await;
    let pattern = Pattern::new();
    for fault in FAULTS {
        let paths = [(format!("/small/{fault:?}"), SMALL), (format!("/large/{fault:?}"), LARGE)];
        for (path, len) in &paths {
            let answer = Answer::status(200).cache("max-age=600").after(Duration::from_millis(200));
            fleet.origin.on(path, answer.pattern(*len));
            let filled = fleet.of[0].fill(path).await;
            assert_eq!((filled.status, filled.end), (200, End::Clean));
        }
        let before = s3.count_reads();
        fault.begins(&s3).await;
        let began = Instant::now();
        let asks = (0..CLIENTS).map(|n| timed(fleet.of[1 + n % count].get(&paths[n / 2 % 2].0)));
        for (n, (took, reply)) in all(asks).await.into_iter().enumerate() {
            let (path, len) = &paths[n / 2 % 2];
            assert!(took < WAIT_TIMEOUT, "{count} {path}: {took:?}");
            assert!(pattern.matches(0, &reply.body) || reply.status != 200, "{count} {path}: wrong bytes");
            let whole = (reply.status, reply.end, reply.body.len() as u64) == (200, End::Clean, *len);
            assert!(whole, "{count} {path}: {} {:?} {} bytes", reply.status, reply.end, reply.body.len());
        }
        let reads = s3.count_reads() - before;
        let fetches: Vec<_> = paths.iter().map(|(path, _)| fleet.origin.count(path) - 1).collect();
        println!("{count} {fault:?}: {:?}, {reads} reads, {fetches:?} fetches", began.elapsed());
        // Both bodies' first segments and those after it, on each instance; some again that are new.
        assert!(reads <= 12 * count * fault.tries(), "{count} {fault:?}: {reads} reads");
        assert!(fetches.iter().all(|fetches| *fetches <= count), "{count} {fault:?}: {fetches:?} fetches");
        s3.reads_go(Reads::Pass).await;
        for instance in &fleet.of[1..] {
            until("the bucket to be found again", async || {
                (instance.get(&paths[1].0).await.is_hit()).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_fails_under_two_hundred_clients_of_one_instance() {
    a_bucket_fails_under_many_clients(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_fails_under_two_hundred_clients_of_three_instances() {
    a_bucket_fails_under_many_clients(3).await;
}
