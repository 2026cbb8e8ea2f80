//! The tasks that run beside requests, from the start of an instance to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Node;
use crate::tasks::{Need, Task};

/// How long a start waits at most until memory is trusted.
const BRIEFLY: Duration = Duration::from_millis(800);

/// The tasks that run beside an instance's requests. If this is dropped, all of them stop where they are.
#[derive(Debug)]
pub struct Chores {
    node: Arc<Node>,
    following: Vec<Task>,
    joining: Option<Task>,
    paying: Option<Task>,
    tidying: Option<Task>,
}

impl Node {
    /// Begins to follow the store, and waits a moment until memory is trusted. Requests that come before
    /// that are answered as by an unsure instance.
    pub async fn begin(self: &Arc<Self>) -> Chores {
        let mut following = Vec::new();
        if let Some(member) = &self.member {
            let (follows, keeps) = (member.clone(), member.clone());
            // When it is begun again it counts as having missed changes. Until then its own beats go
            // unheard, and memory is trusted for less time than a purge waits for this instance.
            following.push(self.tasks.supervise("follow", Need::Helps, move || follows.clone().follow()));
            // While it does not run, trust is not renewed. When it is begun again, it gets its lease by
            // its name.
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

    /// Writes stamps that are owed as soon as the store takes them.
    pub fn pay(&mut self) {
        let proxy = self.node.proxy.clone();
        let pays = move || proxy.clone().keep_stamps();
        self.paying = Some(self.node.tasks.supervise("pay", Need::Helps, pays));
    }

    /// Keeps the stores tidy until the drain begins.
    pub fn tidy(&mut self) {
        let Node { proxy, signal, .. } = &*self.node;
        let (proxy, signal) = (proxy.clone(), signal.clone());
        // A guard of its own each time: a task that pauses holds none, and so does not hold the end up.
        let tidies = move || proxy.clone().keep_tidy(signal.guard());
        self.tidying = Some(self.node.tasks.supervise("tidy", Need::Helps, tidies));
    }

    /// Tries to write the stamps that are still owed, and stops following: from then on no purge waits for
    /// this instance (F9). Call it after [`Node::drained`].
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

    /// Removes the bodies of an instance that never joined its fleet. Call it last.
    pub async fn clear(&mut self) {
        if let Some(joining) = self.joining.take() {
            joining.abort();
            self.node.clear().await;
        }
    }
}
