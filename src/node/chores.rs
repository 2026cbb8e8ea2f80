//! What runs beside requests, from the start of an instance to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Node;

/// The longest that a start waits for memory to be believed.
const BRIEFLY: Duration = Duration::from_millis(800);

/// What runs beside an instance's requests. Dropped, all of it stops where it is.
#[derive(Debug)]
pub struct Chores {
    node: Arc<Node>,
    /// It had yet to join its fleet when it began.
    waited: bool,
    following: JoinSet<()>,
    joining: JoinSet<()>,
    paying: JoinSet<()>,
    tidying: JoinSet<()>,
}

impl Node {
    /// Begins to follow the store, and gives that a moment until memory may be believed. Requests
    /// that come before that are answered unsure, and no worse.
    pub async fn begin(self: &Arc<Self>) -> Chores {
        let mut following = JoinSet::new();
        if let Some(member) = &self.member {
            following.spawn(member.clone().follow());
            following.spawn(member.clone().keep_trust());
            let moment = (self.proxy.flight().settings().call_bound * 4).min(BRIEFLY);
            let _ = timeout(moment, member.is_sure()).await;
        }
        Chores {
            node: self.clone(),
            waited: false,
            following,
            joining: JoinSet::new(),
            paying: JoinSet::new(),
            tidying: JoinSet::new(),
        }
    }
}

// === impl Chores ===

impl Chores {
    /// Joins the fleet, if the store was away at the start.
    pub fn join(&mut self) {
        if self.node.waits() {
            self.waited = true;
            let node = self.node.clone();
            self.joining.spawn(async move { node.join().await });
        }
    }

    /// Pays what is owed to the store as soon as that takes it.
    pub fn pay(&mut self) {
        self.paying.spawn(self.node.proxy.clone().keep_stamps());
    }

    /// Keeps the stores tidy until the drain begins.
    pub fn tidy(&mut self) {
        self.tidying.spawn(self.node.proxy.clone().keep_tidy(self.node.signal.guard()));
    }

    /// Pays what is still owed, and stops following: from then on no purge waits for this instance (F9).
    /// Not before [`Node::drained`].
    pub async fn end(&mut self) {
        self.paying.abort_all();
        self.node.proxy.pay_at_the_end().await;
        self.following.shutdown().await;
        if let Some(member) = &self.node.member {
            member.leave().await;
        }
        self.tidying.abort_all();
    }

    /// Removes what an instance that never joined leaves among the bodies. The last thing of all.
    pub async fn clear(&mut self) {
        if self.waited {
            self.joining.abort_all();
            self.node.clear().await;
        }
    }
}
