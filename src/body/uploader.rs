//! The task that cuts a growing body and puts its segments. It begins when the body is known not to be small,
//! or was not complete in time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep_until;

use super::Error;
use super::destination::Destination;
use super::fill::{Fill, Start, Step};
use super::name::first_half;
use crate::record::Segment;

/// With so many puts under way, segments are no longer cut by time: a slow store gets larger segments, not a
/// longer queue.
const PATIENT: usize = 4;
/// The bytes that are hashed before other tasks get the thread.
const TURN: usize = 1024 * 1024;

/// Runs until the body is acknowledged or can't be stored. Puts that are under way when it stops are dropped:
/// no record names what they may still write, and a sweep removes it.
pub(super) async fn run(fill: Arc<Fill>) {
    let mut puts = FuturesUnordered::new();
    loop {
        let due = match fill.step(puts.len() >= PATIENT) {
            Step::Put(index, chunks) => {
                // Hashed here and not in the put, so that segments are sent in their order.
                let (len, digest) = digest(&chunks).await;
                puts.push(put(&fill, index, len, digest, chunks));
                continue;
            }
            Step::Wait(due) => due,
            Step::Stop => return,
        };
        let timer = async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = puts.next(), if !puts.is_empty() => match done {
                Ok((index, segment)) => fill.acknowledge(index, segment),
                Err(cause) => fill.fail(cause),
            },
            () = fill.nudge.notified() => {}
            () = timer => {}
        }
    }
}

async fn digest(chunks: &[Bytes]) -> (u64, [u8; 16]) {
    let mut sha = Sha256::new();
    let (mut len, mut turn) = (0, 0);
    for chunk in chunks {
        if turn >= TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
        sha.update(chunk);
        len += chunk.len() as u64;
        turn += chunk.len();
    }
    (len, first_half(sha))
}

async fn put(
    fill: &Fill,
    index: usize,
    len: u64,
    digest: [u8; 16],
    chunks: Vec<Bytes>,
) -> Result<(usize, Segment), Error> {
    let n = u32::try_from(index).map_err(|_| Error::Full)?;
    let carried = matches!(fill.destination, Destination::Carrier { .. });
    let segment = Segment { token: fill.token, n, len, digest, carried };
    let store = &fill.bodies.store;
    if carried {
        // What is carried owns its bytes: a slice would keep a whole network buffer.
        let bytes = Bytes::from(chunks.concat());
        store.put_carried(&fill.name, &segment, &bytes, fill.lives()).await?;
    } else {
        store.put(&fill.name, fill.token, n, &chunks).await?;
    }
    Ok((index, segment))
}

/// Starts the task, unless it was started, or the body may yet turn out to be small: then it is started when
/// the body has had its time.
pub(super) fn begin(fill: &Arc<Fill>) {
    match fill.starts() {
        Start::Now => start(fill),
        Start::Later => fill.bodies.grace.give(fill),
        Start::No => {}
    }
}

/// Starts the task, unless it was started or the body is at its end.
pub(super) fn begin_at_last(fill: &Arc<Fill>) {
    if fill.starts_at_last() {
        start(fill);
    }
}

fn start(fill: &Arc<Fill>) {
    tokio::spawn(run(Arc::clone(fill)));
}
