//! What the process says on its way, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tokio::sync::watch;

use super::within;

/// The lines of a stream, as they come.
#[derive(Clone, Default)]
pub struct Lines(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lines: Mutex<Vec<String>>,
    many: watch::Sender<usize>,
    ended: watch::Sender<bool>,
}

impl Lines {
    /// Collects the lines of a stream until it ends.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let collected = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                collected.0.lines.lock().unwrap().push(line);
                collected.0.many.send_modify(|many| *many += 1);
            }
            collected.0.ended.send_replace(true);
        });
        lines
    }

    /// Waits until no more can come.
    pub async fn ended(&self) {
        let mut ended = self.0.ended.subscribe();
        within("the end of the lines", ended.wait_for(|ended| *ended)).await.unwrap();
    }

    /// All that came so far.
    pub fn so_far(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    /// The first line, come or to come, in which something is found.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut many = self.0.many.subscribe();
        let mut found = None;
        within(
            what,
            many.wait_for(|_| {
                found = self.0.lines.lock().unwrap().iter().find_map(|line| find(line));
                found.is_some()
            }),
        )
        .await
        .unwrap();
        found.expect("it was found")
    }

    /// The JSON lines that came so far and of which this holds.
    pub fn json(&self, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let parsed = |line: &String| serde_json::from_str::<Value>(line).ok();
        self.0.lines.lock().unwrap().iter().filter_map(parsed).filter(|line| holds(line)).collect()
    }

    /// Waits until this holds of so many JSON lines, and gives them.
    pub async fn json_lines(&self, many: usize, what: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut come = self.0.many.subscribe();
        within(what, come.wait_for(|_| self.json(&holds).len() >= many)).await.unwrap();
        self.json(holds)
    }
}
