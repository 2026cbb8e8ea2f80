//! The instances: processes of this binary. Each is killed when its value is dropped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

mod instance;

pub use instance::Ended;
use instance::Instance;

use super::client;

/// All instances.
#[derive(Debug)]
pub struct Fleet {
    launch: Launch,
    running: Vec<Option<Instance>>,
}

/// How instances are started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Each instance's settings.
    pub settings: Vec<PathBuf>,
    /// Variables that are added to the environment.
    pub variables: Vec<(String, String)>,
    /// The path of the instances' logs; `-N.log` is added.
    pub log: PathBuf,
    /// The token of the operator's port.
    pub token: Option<String>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts one instance for each file of settings. The first starts by itself: it makes the stores that
    /// the others find.
    ///
    /// # Errors
    /// If one does not become ready.
    pub async fn start(launch: Launch) -> Result<Self, Ended> {
        let running = launch.settings.iter().map(|_| None).collect();
        let mut fleet = Self { launch, running };
        fleet.restart(0).await?;
        fleet.heal().await?;
        Ok(fleet)
    }

    /// Starts the instances that do not run, and waits until they are ready.
    ///
    /// # Errors
    /// If one does not become ready.
    pub async fn heal(&mut self) -> Result<(), Ended> {
        let launch = &self.launch;
        let missing: Vec<_> = self.running.iter().enumerate().filter(|(_, slot)| slot.is_none()).collect();
        let starts = missing.into_iter().map(|(number, _)| async move {
            Ok::<_, Ended>((number, Instance::start(launch, number).await?))
        });
        for (number, instance) in futures_util::future::try_join_all(starts).await? {
            self.running[number] = Some(instance);
        }
        Ok(())
    }

    /// Starts one instance.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self, number: usize) -> Result<SocketAddr, Ended> {
        let instance = Instance::start(&self.launch, number).await?;
        let data = instance.data;
        self.running[number] = Some(instance);
        Ok(data)
    }

    /// The data ports of the instances that run.
    pub fn addresses(&self) -> Vec<(usize, SocketAddr)> {
        let slots = self.running.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((number, slot.as_ref()?.data))).collect()
    }

    /// The instances that ended by themselves. From here on they count as not running.
    pub fn lost(&mut self) -> Vec<usize> {
        let mut lost = Vec::new();
        for (number, slot) in self.running.iter_mut().enumerate() {
            if slot.as_mut().is_some_and(Instance::has_ended) {
                *slot = None;
                lost.push(number);
            }
        }
        lost
    }

    /// Kills an instance (SIGKILL), and waits until it is gone.
    pub async fn kill(&mut self, number: usize) {
        if let Some(instance) = self.running[number].take() {
            instance.kill().await;
        }
    }

    /// Freezes an instance (SIGSTOP).
    pub fn freeze(&self, number: usize) {
        self.signal(number, rustix::process::Signal::STOP);
    }

    /// Wakes a frozen instance (SIGCONT).
    pub fn wake(&self, number: usize) {
        self.signal(number, rustix::process::Signal::CONT);
    }

    /// Tells an instance to end (SIGTERM).
    pub fn end(&self, number: usize) {
        self.signal(number, rustix::process::Signal::TERM);
    }

    /// Waits until an instance has ended. `None`: it has not within this time, and is killed.
    pub async fn ended(&mut self, number: usize, within: Duration) -> Option<ExitStatus> {
        self.running[number].take()?.ended(within).await
    }

    fn signal(&self, number: usize, signal: rustix::process::Signal) {
        if let Some(instance) = &self.running[number] {
            instance.signal(signal);
        }
    }

    /// The sum of an instance's metrics of that name, whatever their labels.
    ///
    /// # Errors
    /// In words, if it does not answer.
    pub async fn metric(&self, number: usize, name: &str) -> Result<f64, String> {
        let text = self.ask(number, Method::GET, "/metrics", None).await?;
        Ok(sum(&text, name))
    }

    /// The sum of a metric over all instances that answer.
    pub async fn total(&self, name: &str) -> f64 {
        let mut total = 0.0;
        for (number, _) in self.addresses() {
            total += self.metric(number, name).await.unwrap_or_default();
        }
        total
    }

    /// Purges a URL on an instance.
    ///
    /// # Errors
    /// In words, if that was not done.
    pub async fn purge(&self, number: usize, url: &str) -> Result<Value, String> {
        self.purge_what(number, json!({ "url": url })).await
    }

    /// Purges whatever that names, at an instance.
    pub async fn purge_what(&self, number: usize, what: Value) -> Result<Value, String> {
        let text = self.ask(number, Method::POST, "/v1/purge", Some(what)).await?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    async fn ask(
        &self,
        number: usize,
        method: Method,
        path: &str,
        content: Option<Value>,
    ) -> Result<String, String> {
        let instance = self.running[number].as_ref().ok_or("it does not run")?;
        let token = self.launch.token.as_deref();
        let (status, text) = client::operator(instance.admin, token, method, path, content.as_ref()).await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if status == 200 { Ok(text) } else { Err(format!("{status}: {}", text.trim())) }
    }

    /// Kills all instances, and waits until they are gone.
    pub async fn stop(&mut self) {
        for number in 0..self.running.len() {
            self.kill(number).await;
        }
    }
}

fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())?
    });
    lines.filter_map(|number| number.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# HELP a_total x\na_total{reason=\"not held\"} 2\na_total{reason=\"b\"} 1\na_totals 9\n";
        assert!((sum(text, "a_total") - 3.0).abs() < f64::EPSILON);
        assert!((sum("up 1\n", "up") - 1.0).abs() < f64::EPSILON);
    }
}
