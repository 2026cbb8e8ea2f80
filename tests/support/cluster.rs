//! Nodes of a cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::server::Server;
use super::until;

const SLOTS: usize = 16_384;
/// A vote among nodes takes its time, the more so on a busy machine.
pub const FAILOVER: Duration = Duration::from_secs(30);

/// Three that share the slots, and a copy of the one that has the fleet's. Its place comes first. All have
/// this line of configuration beside the usual ones.
pub async fn cluster(line: &str) -> (usize, Vec<Server>) {
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let options = ["cluster-enabled yes", "cluster-node-timeout 2000", "cluster-config-file nodes", line];
        nodes.push(Server::start(&options).await);
    }
    let slot = nodes[0].admin("CLUSTER KEYSLOT {dustgate}#last");
    let slot: usize = slot.lines().find_map(|line| line.strip_prefix(':')?.parse().ok()).unwrap();
    for (place, node) in nodes[..3].iter().enumerate() {
        let slots: Vec<String> =
            (0..SLOTS).filter(|slot| slot * 3 / SLOTS == place).map(|n| n.to_string()).collect();
        let said = node.admin(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
        assert!(!said.contains("-ERR"), "{said}");
    }
    for node in &nodes[1..] {
        let said = nodes[0].admin(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
        assert!(!said.contains("-ERR"), "{said}");
    }
    let owner = slot * 3 / SLOTS;
    let id = nodes[owner].admin("CLUSTER MYID");
    let id = id.lines().find(|line| line.len() == 40).unwrap().to_owned();
    until("the copy", async || {
        nodes[3].admin(&format!("CLUSTER REPLICATE {id}"));
        nodes[3].admin("INFO replication").contains("role:slave").then_some(())
    })
    .await;
    let deadline = Instant::now() + FAILOVER;
    loop {
        let states: Vec<String> = nodes.iter().map(|node| node.admin("CLUSTER INFO")).collect();
        let copy = nodes[3].admin("INFO replication");
        if states.iter().all(|state| state.contains("cluster_state:ok"))
            && copy.contains("master_link_status:up")
        {
            break;
        }
        assert!(Instant::now() < deadline, "no cluster: {states:?} {copy}");
        sleep(Duration::from_millis(50)).await;
    }
    (owner, nodes)
}
