//! Work that is left over from stamps: writing those that the store did not take, and checking records that
//! were published beside a stamp.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::dust::{Error, Holder};
use crate::proxy::fill::landed;
use crate::proxy::purge::invalidate;
use crate::proxy::state::Proxy;
use crate::tier::stamps::owed::{Paid, Purse};

/// The pause after a stamp could not be written, doubled each time, up to ...
const AGAIN: Duration = Duration::from_millis(100);
/// ... this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// How often to look for published records that are due for their check, while none is known.
const LOOK: Duration = Duration::from_secs(1);

/// Writes owed stamps as soon as the store takes them, and checks records that were just published. Ends only
/// by being dropped; some stamps may then be written twice.
pub async fn keep_stamps(proxy: &Arc<Proxy>) {
    let (mut pause, mut pay_at, mut told) = (AGAIN, None::<Instant>, false);
    loop {
        let look_at = landed::landing_due(proxy).unwrap_or_else(|| Instant::now() + LOOK);
        tokio::select! {
            biased;
            () = sleep_until(pay_at.unwrap_or_else(Instant::now)), if pay_at.is_some() => {}
            () = proxy.stamps.owing(), if pay_at.is_none() => {}
            () = sleep_until(look_at) => {
                landed::look_at_landed(proxy).await;
                continue;
            }
        }
        match pay(proxy).await {
            Ok(paid) => {
                tell_paid(proxy, paid);
                // Stamps that the store had no room for are tried again in a while.
                let left = proxy.stamps.owed() > 0;
                pay_at = left.then(|| Instant::now() + AGAIN_AT_MOST);
                (pause, told) = (AGAIN, false);
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    proxy.observer.owes(proxy.stamps.owed(), &error);
                }
                pay_at = Some(Instant::now() + pause / 2 + proxy.dice.up_to(pause / 2));
                pause = (pause * 2).min(AGAIN_AT_MOST);
            }
        }
    }
}

async fn pay(proxy: &Proxy) -> Result<Paid, Error> {
    let (seen, bound) = (invalidate::number(proxy), proxy.flight.settings().call_bound);
    let purse = Purse { holder: Holder::of(proxy.instance(), &proxy.dice.name()), seen, bound };
    let paid = proxy.stamps.pay(&*proxy.dust, &purse).await?;
    proxy.flight.saw(paid.number);
    Ok(paid)
}

fn tell_paid(proxy: &Proxy, Paid { count, .. }: Paid) {
    if count > 0 {
        proxy.observer.log.info("stamps_paid", paid(count));
    }
}

/// Tries once more to write owed stamps before the process ends. Those that are left are lost.
pub async fn pay_at_the_end(proxy: &Proxy) {
    if proxy.stamps.owed() == 0 {
        return;
    }
    let bound = proxy.flight.settings().call_bound * 4;
    if let Ok(Ok(paid)) = timeout(bound, pay(proxy)).await {
        tell_paid(proxy, paid);
    }
    let left = proxy.stamps.owed();
    if left > 0 {
        let text = "purges by unsafe requests were not taken by the store: what they made void may be \
                    served again, purge it when the store is back";
        proxy.observer.log.error("stamps_lost", format!("{left} {text}"));
    }
}

/// The log's text for owed stamps that were written.
pub(crate) fn paid(count: usize) -> String {
    format!("{count} purges by unsafe requests, which the store had not taken, have been written")
}
