//! Room: what has to go when the stores are full, and what stays.

use crate::support::{Answer, Origin, Proxy};

const EACH: u64 = 64 << 10;

#[tokio::test]
async fn the_oldest_records_make_room_and_the_newest_stay() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=600").pattern(EACH)).await;
    // Room for eight, and a quarter more that is filled before the sweep comes.
    let proxy = Proxy::before(&origin).bodies("size = \"512KiB\"").bodies("linger = \"1s\"").await;
    for n in 0..10 {
        let reply = proxy.fill(&format!("/{n}")).await;
        assert_eq!(reply.body.len() as u64, EACH);
    }
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n <= 8.0 * EACH as f64).await;
    // Not more than was needed.
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("dustgate_bodies_bytes", &[]), 8.0 * EACH as f64);
    for n in 2..10 {
        assert!(proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
    for n in 0..2 {
        assert!(!proxy.get(&format!("/{n}")).await.is_hit(), "/{n} is in memory and nowhere else");
    }
}

#[tokio::test]
async fn what_memory_has_let_go_of_goes_before_what_it_has() {
    let origin = Origin::answering(Answer::status(200).cache("max-age=600").pattern(EACH)).await;
    let settings = Proxy::before(&origin).bodies("size = \"512KiB\"").bodies("linger = \"1s\"");
    let proxy = settings.await;
    for n in 0..8 {
        proxy.fill(&format!("/{n}")).await;
    }
    // A new process has an empty memory; one of the oldest is asked for again.
    let proxy = proxy.restart().await;
    assert!(proxy.get("/0").await.is_hit());
    for n in 8..10 {
        proxy.fill(&format!("/{n}")).await;
    }
    proxy.until_metric("dustgate_bodies_bytes", &[], |n| n > 0.0 && n <= 8.0 * EACH as f64).await;
    for n in [0, 3, 9] {
        assert!(proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
    for n in 1..3 {
        assert!(!proxy.get(&format!("/{n}")).await.is_hit(), "/{n}");
    }
}
