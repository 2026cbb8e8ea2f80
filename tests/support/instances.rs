//! Instances that are killed and started again, each with the logs of all its lives.

use std::path::Path;

use tempfile::TempDir;

use super::log::Lines;
use super::proxy::Setup;
use super::{Proxy, all};

/// Instances by number.
pub struct Instances {
    pub of: Vec<Proxy>,
    /// What each life of each has written.
    logs: Vec<(usize, Lines, Lines)>,
}

impl Instances {
    /// Starts them and waits until they are ready: the first by itself, since it makes what the others
    /// find.
    pub async fn start(setups: Vec<Setup>) -> Self {
        let mut setups = setups.into_iter();
        let first = setups.next().expect("one at least").start().await;
        first.ready().await;
        let mut of = vec![first];
        of.extend(all(setups.map(Setup::start)).await);
        all(of.iter().map(Proxy::ready)).await;
        let mut instances = Self { of, logs: Vec::new() };
        for number in 0..instances.of.len() {
            instances.keep(number);
        }
        instances
    }

    /// Starts one again that has ended, on its data and with its settings.
    pub async fn restart(&mut self, number: usize) -> &Proxy {
        self.of[number].ended().await;
        self.of[number] = self.of[number].start_again().await;
        self.of[number].ready().await;
        self.keep(number);
        &self.of[number]
    }

    fn keep(&mut self, number: usize) {
        let one = &self.of[number];
        self.logs.push((number, one.log.clone(), one.errors.clone()));
    }

    /// Those that have ended.
    pub fn ended(&self) -> Vec<usize> {
        (0..self.of.len()).filter(|number| self.of[*number].process().has_ended()).collect()
    }

    /// Writes down all logs, and says where.
    pub fn keep_logs(&self) -> String {
        let mut place = TempDir::with_prefix("dustgate-logs-").unwrap();
        place.disable_cleanup(true);
        for (life, (number, log, errors)) in self.logs.iter().enumerate() {
            write(
                place.path(),
                &format!("{life}-instance-{number}"),
                &[errors.so_far(), log.so_far()].concat(),
            );
        }
        format!("the instances' logs are in {}", place.path().display())
    }
}

fn write(place: &Path, name: &str, lines: &[String]) {
    std::fs::write(place.join(name), lines.join("\n")).unwrap();
}
