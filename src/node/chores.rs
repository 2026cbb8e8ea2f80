//! What runs beside requests, from the start of an instance to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Node;
use crate::tasks::{Need, Task};

/// The longest that a start waits for memory to be believed.
const BRIEFLY: Duration = Duration::from_millis(800);

/// What runs beside an instance's requests. Dropped, all of it stops where it is.
#[derive(Debug)]
pub struct Chores {
    node: Arc<Node>,
    following: Vec<Task>,
    joining: Option<Task>,
    paying: Option<Task>,
    tidying: Option<Task>,
}

impl Node {
    /// Begins to follow the store, and gives that a moment until memory may be believed. Requests
    /// that come before that are answered unsure, and no worse.
    pub async fn begin(self: &Arc<Self>) -> Chores {
        let mut following = Vec::new();
        if let Some(member) = &self.member {
            let (follows, keeps) = (member.clone(), member.clone());
            // Begun again, it counts as having missed changes. Until then its own beats go unheard, and
            // memory is believed for less time than a purge waits for this instance.
            following.push(self.tasks.supervise("follow", Need::Helps, move || follows.clone().follow()));
            // While it does not run no trust is renewed. Begun again, it is given its lease by its name.
            following.push(self.tasks.supervise("trust", Need::Helps, move || keeps.clone().keep_trust()));
            let moment = (self.proxy.flight().settings().call_bound * 4).min(BRIEFLY);
            let _ = timeout(moment, member.is_sure()).await;
        }
        Chores { node: self.clone(), following, joining: None, paying: None, tidying: None }
    }
}

// === impl Chores ===

impl Chores {
    /// Joins the fleet, if the store was away at the start.
    pub fn join(&mut self) {
        if self.node.waits() {
            let node = self.node.clone();
            let joins = move || {
                let node = node.clone();
                async move { node.join().await }
            };
            self.joining = Some(self.node.tasks.supervise("join", Need::Helps, joins));
        }
    }

    /// Pays what is owed to the store as soon as that takes it.
    pub fn pay(&mut self) {
        let proxy = self.node.proxy.clone();
        let pays = move || proxy.clone().keep_stamps();
        self.paying = Some(self.node.tasks.supervise("pay", Need::Helps, pays));
    }

    /// Keeps the stores tidy until the drain begins.
    pub fn tidy(&mut self) {
        let Node { proxy, signal, .. } = &*self.node;
        let (proxy, signal) = (proxy.clone(), signal.clone());
        // A guard of its own each time: none is held while it pauses, and holds the end up.
        let tidies = move || proxy.clone().keep_tidy(signal.guard());
        self.tidying = Some(self.node.tasks.supervise("tidy", Need::Helps, tidies));
    }

    /// Pays what is still owed, and stops following: from then on no purge waits for this instance (F9).
    /// Not before [`Node::drained`].
    pub async fn end(&mut self) {
        drop(self.paying.take());
        self.node.proxy.pay_at_the_end().await;
        self.following.iter().for_each(Task::abort);
        for task in self.following.drain(..) {
            task.stopped().await;
        }
        if let Some(member) = &self.node.member {
            member.leave().await;
        }
        drop(self.tidying.take());
    }

    /// Removes what an instance that never joined leaves among the bodies. The last thing of all.
    pub async fn clear(&mut self) {
        if let Some(joining) = self.joining.take() {
            joining.abort();
            self.node.clear().await;
        }
    }
}
