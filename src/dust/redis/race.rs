//! Asks several servers side by side, so that a silent one does not hold up the others.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use super::super::Error;
use super::check::Wrong;

/// The longest wait for one answer before the next one is asked too.
const HEAD_START: Duration = Duration::from_millis(50);

/// Returns the first answer of `many`, with its index. `first` is asked first, then those after it, each
/// with a head start before the next: if the first one answers in time, only it is asked. Without an
/// answer a refusal is returned rather than silence. All have been asked well before `within` is over.
pub(super) async fn side_by_side<T, F: Future<Output = Result<T, Wrong>>>(
    many: usize,
    first: usize,
    within: Duration,
    ask: impl Fn(usize) -> F,
) -> Result<(usize, T), Wrong> {
    let head_start = HEAD_START.min(within / u32::try_from(many).unwrap_or(u32::MAX).max(1));
    let mut order = (0..many).map(|place| first.wrapping_add(place) % many);
    let mut asked = FuturesUnordered::new();
    let mut failure = Wrong::Passing(Error::Unavailable("nobody to ask".into()));
    loop {
        let next = order.next();
        let more = next.is_some();
        asked.extend(next.map(|place| {
            let answer = ask(place);
            async move { (place, answer.await) }
        }));
        let head_start = async { if more { sleep(head_start).await } else { pending().await } };
        tokio::select! {
            biased;
            answer = asked.next() => match answer {
                Some((place, Ok(found))) => return Ok((place, found)),
                Some((_, Err(why))) => if !matches!(failure, Wrong::Never(_)) { failure = why },
                None => return Err(failure),
            },
            () = head_start => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(400);

    fn passing(why: &str) -> Wrong {
        Wrong::Passing(Error::Unavailable(why.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_is_found_however_many_are_silent() {
        for many in [1_usize, 2, 6, 100] {
            let began = Instant::now();
            let ask =
                |place: usize| async move { if place + 1 == many { Ok(place) } else { pending().await } };
            assert_eq!(side_by_side(many, 0, WITHIN, ask).await, Ok((many - 1, many - 1)));
            assert!(began.elapsed() <= WITHIN, "{many}: {:?}", began.elapsed());
            // Asked first, it is the only one.
            let began = Instant::now();
            assert_eq!(side_by_side(many, many - 1, WITHIN, ask).await, Ok((many - 1, many - 1)));
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_answers_a_refusal_counts_most() {
        let ask = |place: usize| async move {
            Err::<(), _>(if place == 1 { Wrong::Never("no".into()) } else { passing("away") })
        };
        assert_eq!(side_by_side(3, 0, WITHIN, ask).await, Err(Wrong::Never("no".into())));
        let ask = |_: usize| async { Err::<(), _>(passing("away")) };
        assert_eq!(side_by_side(3, 7, WITHIN, ask).await, Err(passing("away")));
        assert_eq!(side_by_side(0, 0, WITHIN, ask).await, Err(passing("nobody to ask")));
    }
}
