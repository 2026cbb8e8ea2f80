//! Lost requests and lost answers (F11), and calls that are dropped half-way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::entrance::won;
use super::{Case, Rig, granted, is_held};
use crate::dust::{
    Dust, Error, Findings, Grant, Inquiry, Known, Landing, LeaseRequest, Publication, Publish, Put, Result,
};
use crate::testkit::faulty::{Fault, Faulty, Op};

pub async fn all(rig: &dyn Rig) {
    a_lost_answer_leaves_a_lease_that_its_holder_can_free(rig).await;
    if rig.nature().reenters {
        a_lost_answer_can_be_asked_for_again(rig).await;
    }
    a_step_whose_answer_is_lost_leaves_a_lease_that_its_holder_can_free(rig).await;
    if rig.nature().reenters {
        a_step_whose_answer_is_lost_can_be_asked_for_again(rig).await;
    }
    a_publication_whose_answer_is_lost_has_landed_once(rig).await;
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

async fn a_step_whose_answer_is_lost_leaves_a_lease_that_its_holder_can_free(rig: &dyn Rig) {
    let case = Case::new(rig, "step-lost");
    let unheard = unheard(rig, &case, "one", Fault::AnswerLost).await;
    assert!(matches!(unheard, Err(Error::Unavailable(_))), "{unheard:?}");
    assert!(is_held(&case.ask("lock", 60, "two").await), "the request landed");
    case.dust.release_holder(&case.key("lock"), &case.holder("one")).await.expect("the line is sound again");
    won(case.enter(Known::default(), 60, "two").await.lock);
    // A step that was lost on its way took nothing.
    case.delete("lock").await;
    let unheard = self::unheard(rig, &case, "one", Fault::RequestLost).await;
    assert!(unheard.is_err(), "{unheard:?}");
    won(case.enter(Known::default(), 60, "two").await.lock);
}

async fn a_step_whose_answer_is_lost_can_be_asked_for_again(rig: &dyn Rig) {
    let case = Case::new(rig, "step-again");
    assert!(unheard(rig, &case, "one", Fault::AnswerLost).await.is_err());
    let landed = case.entry("lock").await.expect("it landed").number;
    let lease = won(case.enter(Known::default(), 60, "one").await.lock);
    assert_eq!(lease.token, landed);
    super::publish::at(case.publish(&lease, Some("x"), None).await);
}

async fn a_publication_whose_answer_is_lost_has_landed_once(rig: &dyn Rig) {
    let case = Case::new(rig, "publish-unheard");
    let faulty = Faulty::sound(case.dust.clone());
    let lease = case.lease("lock", 60, "one").await;
    let key = case.key("value");
    let result = Publish { key: &key, text: "x", expires_in: None, body: None, keeps: &[] };
    let publication = Publication { lease: &lease, value: Some(result), verdict: None };
    faulty.next(Some(Op::Publish), Fault::AnswerLost);
    assert!(faulty.publish(publication).await.is_err());
    let landed = case.entry("value").await.expect("it landed").number;
    assert_eq!(case.entry("lock").await, None, "it is released");
    assert_eq!(faulty.publish(publication).await, Ok(Landing::Fenced));
    assert_eq!(case.entry("value").await.map(|entry| entry.number), Some(landed));
    faulty.release(&lease).await.expect("a release more is no error");
}

/// Enters over a line on which it meets a fault.
async fn unheard(rig: &dyn Rig, case: &Case<'_>, who: &str, fault: Fault) -> Result<Findings> {
    let faulty = Faulty::sound(rig.dust());
    let [value, verdict, lock] = ["value", "verdict", "lock"].map(|name| case.key(name));
    let holder = case.holder(who);
    let lease = Some(LeaseRequest { ttl: case.beats(60), holder: &holder, seen: 0 });
    faulty.next(Some(Op::Enter), fault);
    let known = Known::default();
    faulty.enter(Inquiry { value: &value, verdict: &verdict, lock: &lock, known, lease }).await
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
