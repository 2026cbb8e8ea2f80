//! Lost requests and lost answers (F11), and calls that are dropped half-way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Case, Rig, granted, is_held};
use crate::dust::{Dust, Error, Grant, Put};
use crate::testkit::faulty::{Fault, Faulty, Op};

pub async fn all(rig: &dyn Rig) {
    a_lost_answer_leaves_a_lease_that_its_holder_can_free(rig).await;
    if rig.nature().reenters {
        a_lost_answer_can_be_asked_for_again(rig).await;
    }
    a_lost_request_holds_nothing(rig).await;
    a_call_given_up_half_way_breaks_nothing(rig).await;
    a_store_that_is_down_says_so(rig).await;
}

async fn a_lost_answer_leaves_a_lease_that_its_holder_can_free(rig: &dyn Rig) {
    let case = Case::new(rig, "answer-lost");
    let line = Faulty::sound(case.dust.clone());
    let (key, holder) = (case.key("lock"), case.holder("one"));
    line.drop_next_answer();
    let unheard = line.lease(&key, case.beats(60), &holder, 0).await;
    assert!(matches!(unheard, Err(Error::Unavailable(_))), "{unheard:?}");
    assert!(is_held(&case.ask("lock", 60, "two").await), "the request landed");
    let answering = Instant::now();
    line.release_holder(&key, &holder).await.expect("the line is sound again");
    assert!(matches!(case.ask("lock", 60, "two").await, Grant::Granted(_)));
    assert!(answering.elapsed() < Duration::from_secs(1));
}

async fn a_lost_answer_can_be_asked_for_again(rig: &dyn Rig) {
    let case = Case::new(rig, "ask-again");
    let line = Faulty::sound(case.dust.clone());
    let (key, holder) = (case.key("lock"), case.holder("one"));
    line.drop_next_answer();
    assert!(line.lease(&key, case.beats(60), &holder, 0).await.is_err());
    let landed = case.entry("lock").await.expect("it landed").number;
    let lease = granted(line.lease(&key, case.beats(60), &holder, 0).await.expect("the line is sound"));
    assert_eq!(lease.token, landed);
    line.drop_next_answer();
    assert!(line.release(&lease).await.is_err());
    line.release(&lease).await.expect("a second release is no error");
    assert!(matches!(case.ask("lock", 60, "two").await, Grant::Granted(_)));
}

async fn a_lost_request_holds_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "request-lost");
    let line = Faulty::sound(case.dust.clone());
    let (key, holder) = (case.key("lock"), case.holder("one"));
    line.drop_next_request();
    assert!(line.lease(&key, case.beats(60), &holder, 0).await.is_err());
    assert_eq!(case.entry("lock").await, None);
    line.next(Some(Op::Put), Fault::RequestLost);
    assert!(line.put(&case.key("a"), "x", Put::default()).await.is_err());
    assert_eq!(case.entry("a").await, None);
    line.release_holder(&key, &holder).await.expect("nothing held is no error");
    assert!(matches!(case.ask("lock", 60, "two").await, Grant::Granted(_)));
}

async fn a_call_given_up_half_way_breaks_nothing(rig: &dyn Rig) {
    let case = Case::new(rig, "given-up");
    let (key, value, holder) = (case.key("lock"), case.key("a"), case.holder("one"));
    for round in 0..10 {
        {
            let text = format!("{round}");
            let mut asking = Box::pin(case.dust.lease(&key, case.beats(60), &holder, 0));
            let mut putting = Box::pin(case.dust.put(&value, &text, Put::default()));
            let _ = (futures_util::poll!(&mut asking), futures_util::poll!(&mut putting));
        }
        // Whether they landed is not known; that the name frees the lock is.
        case.dust.release_holder(&key, &holder).await.expect("it is answered");
    }
    // What is still on its way over a real connection arrives before this.
    case.pass(1).await;
    case.dust.release_holder(&key, &holder).await.expect("it is answered");
    let lease = case.lease("lock", 60, "two").await;
    assert!(case.put("a", "last").await > lease.token);
    assert_eq!(case.text("a").await.as_deref(), Some("last"));
}

async fn a_store_that_is_down_says_so(rig: &dyn Rig) {
    let case = Case::new(rig, "down");
    let line = Arc::new(Faulty::sound(case.dust.clone()));
    let mut changes = line.on(&[&case.key("a")]).await.expect("the line is sound");
    line.down();
    assert!(changes.next().await.lost);
    assert!(matches!(line.entry(&case.key("a")).await, Err(Error::Unavailable(_))));
    assert!(line.on(&[]).await.is_err());
    case.put("a", "missed").await;
    line.up();
    let wake = changes.next().await;
    assert!(wake.lost, "{wake:?}");
    let number = case.delete("a").await;
    super::wakes("deletion", &mut changes, |wake| wake.deleted == Some(number)).await;
    line.hang_next();
    let hung = timeout(case.beats(5), line.entry(&case.key("a"))).await;
    assert!(hung.is_err(), "{hung:?}");
    assert_eq!(line.struck(), 3);
}
