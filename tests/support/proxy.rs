//! The proxy under test: a real process of the built binary.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Conn, RequestFacts};
use super::command::{self, Said};
use super::log::Lines;
use super::metrics::Metrics;
use super::process::{Process, dustgate, dustgate_under, other_build};
use super::{Origin, Reply, all, until};

/// A running proxy. Killed when the test ends.
pub struct Proxy {
    pub at: SocketAddr,
    pub admin: SocketAddr,
    /// Its log: one JSON line a request.
    pub log: Lines,
    /// What it tells whoever started it.
    pub errors: Lines,
    place: Place,
    process: Process,
}

/// Settings in the making, and then a proxy: `Proxy::before(&origin).route("…").await`.
#[derive(Clone, Default)]
pub struct Setup {
    server: String,
    admin: String,
    /// The lines of `[dust]`.
    pub dust: String,
    bodies: String,
    other: String,
    upstream: String,
    route: Option<String>,
    origin: String,
    log_format: Option<&'static str>,
    log: String,
    environment: Vec<(String, String)>,
    limits: Option<String>,
    binary: Option<OsString>,
}

/// Where a proxy keeps its data and settings; a restart is one more process in the same place.
#[derive(Clone)]
struct Place {
    directory: Arc<TempDir>,
    config: PathBuf,
    environment: Vec<(String, String)>,
    limits: Option<String>,
    binary: Option<OsString>,
}

// === impl Setup ===

impl Setup {
    /// A line of `[server]`.
    pub fn server(mut self, line: &str) -> Self {
        writeln!(self.server, "{line}").unwrap();
        self
    }

    /// A line of `[admin]`.
    pub fn admin(mut self, line: &str) -> Self {
        writeln!(self.admin, "{line}").unwrap();
        self
    }

    /// A line of `[dust]`.
    pub fn dust(mut self, line: &str) -> Self {
        writeln!(self.dust, "{line}").unwrap();
        self
    }

    /// A line of `[bodies]`.
    pub fn bodies(mut self, line: &str) -> Self {
        writeln!(self.bodies, "{line}").unwrap();
        self
    }

    /// A line of `[upstreams.origin]`.
    pub fn upstream(mut self, line: &str) -> Self {
        writeln!(self.upstream, "{line}").unwrap();
        self
    }

    /// A line of the route that takes everything.
    pub fn route(mut self, line: &str) -> Self {
        writeln!(self.route.get_or_insert_default(), "{line}").unwrap();
        self
    }

    /// Without the route that takes everything.
    pub fn no_route(mut self) -> Self {
        self.route = None;
        self
    }

    /// How its log is written, if not as JSON.
    pub fn log(mut self, format: &'static str) -> Self {
        self.log_format = Some(format);
        self
    }

    /// A line of `[log]`.
    pub fn log_also(mut self, line: &str) -> Self {
        writeln!(self.log, "{line}").unwrap();
        self
    }

    /// Anything more: sections of their own.
    pub fn more(mut self, text: &str) -> Self {
        writeln!(self.other, "{text}").unwrap();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Started under limits of the system's, as `ulimit` has them: "-n 256".
    pub fn limits(mut self, limits: &str) -> Self {
        self.limits = Some(limits.to_owned());
        self
    }

    /// Another build than the one under test.
    pub fn binary(mut self, binary: Option<OsString>) -> Self {
        self.binary = binary;
        self
    }

    /// The settings file.
    pub fn text(&self, directory: &Path) -> String {
        let Self { server, admin, dust, bodies, other, upstream, origin, .. } = self;
        let data = directory.display();
        // A setting that the test makes stands before ours, which is then left out.
        let or = |text: &str, name: &str, value: &str| {
            let set = text.lines().any(|line| line.split('=').next().is_some_and(|n| n.trim() == name));
            if set { String::new() } else { format!("{name} = {value}\n") }
        };
        let mut text = format!("[server]\n{}{server}", or(server, "listen", "\"127.0.0.1:0\""));
        write!(text, "[admin]\n{}{admin}", or(admin, "listen", "\"127.0.0.1:0\"")).unwrap();
        write!(text, "[dust]\n{}{dust}", or(dust, "url", &format!("\"embedded:{data}/dust\""))).unwrap();
        write!(text, "[log]\nformat = \"{}\"\n{}", self.log_format.unwrap_or("json"), self.log).unwrap();
        write!(text, "[bodies]\n{}{bodies}", or(bodies, "url", &format!("\"file:{data}/bodies\""))).unwrap();
        write!(text, "[upstreams.origin]\nurl = \"http://{origin}\"\n{upstream}").unwrap();
        if let Some(route) = &self.route {
            write!(text, "[[routes]]\nname = \"all\"\n").unwrap();
            write!(text, "{}{}", or(route, "path", "\"/*\""), or(route, "upstream", "\"origin\"")).unwrap();
            write!(text, "{route}").unwrap();
        }
        write!(text, "{other}").unwrap();
        text
    }

    /// Starts it, and waits until it listens.
    pub async fn start(self) -> Proxy {
        let directory = Arc::new(TempDir::with_prefix("dustgate-").unwrap());
        let config = directory.path().join("dustgate.toml");
        std::fs::write(&config, self.text(directory.path())).unwrap();
        let Self { environment, limits, binary, .. } = self;
        Proxy::run(Place { directory, config, environment, limits, binary }).await
    }
}

impl IntoFuture for Setup {
    type Output = Proxy;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Proxy>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

// === impl Proxy ===

impl Proxy {
    /// A proxy before an origin, with one route that takes everything.
    pub fn before(origin: &Origin) -> Setup {
        Self::before_address(&origin.at.to_string())
    }

    /// A proxy before whatever is at an address.
    pub fn before_address(origin: &str) -> Setup {
        Setup { origin: origin.to_owned(), route: Some(String::new()), ..Setup::default() }
    }

    async fn run(place: Place) -> Self {
        let mut command = match (&place.binary, &place.limits) {
            (Some(binary), _) => other_build(binary),
            (None, Some(limits)) => dustgate_under(limits),
            (None, None) => dustgate(),
        };
        command.arg("serve").arg("-c").arg(&place.config).current_dir(place.directory.path());
        command.envs(place.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start(&mut command);
        let (log, errors) = (process.out.clone(), process.err.clone());
        let address = |line: &str, before: &str| line.split_once(before)?.1.trim().parse::<SocketAddr>().ok();
        let listening = async {
            let at = errors.find("listening on", |line| address(line, "listening on http://")).await;
            (at, errors.find("admin on", |line| address(line, "admin on http://")).await)
        };
        // If its log is JSON, that says it.
        let logged = log.find("the event of its start", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address = |value: &Value| value.as_str()?.parse::<SocketAddr>().ok();
            (line["event"] == "started").then(|| address(&line["listen"][0]).zip(address(&line["admin"])))?
        });
        let (at, admin) = tokio::select! {
            found = listening => found,
            found = logged => found,
            end = process.ended() => panic!("it did not start: {end:?}\n{}", errors.so_far().join("\n")),
        };
        Self { at, admin, log, errors, place, process }
    }

    /// Kills it without a word (SIGKILL), and starts another on the same data. The newest fills may be lost by
    /// that; what had to be durable is not.
    pub async fn restart_killed(self) -> Self {
        self.kill().await;
        self.start_again().await
    }

    /// Ends it (SIGTERM), and starts another on the same data.
    pub async fn restart(self) -> Self {
        self.signal("TERM");
        self.ended().await;
        self.start_again().await
    }

    /// Starts another on the same data, with other settings.
    pub async fn restart_with(self, old: &str, new: &str) -> Self {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(old), "{old:?} is not in the settings");
        std::fs::write(self.config(), text.replace(old, new)).unwrap();
        self.restart().await
    }

    /// Starts another on the same data under other limits, after the end of this one.
    pub async fn start_again_under(self, limits: Option<&str>) -> Self {
        Self::run(Place { limits: limits.map(str::to_owned), ..self.place.clone() }).await
    }

    /// Starts another on the same data, after the end of this one.
    pub async fn start_again(&self) -> Self {
        Self::run(self.place.clone()).await
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        until("it to be ready", async || {
            self.admin_get("/readyz").attempt().await.is_ok_and(|reply| reply.status == 200).then_some(())
        })
        .await;
    }

    /// Kills it without a word (SIGKILL).
    pub async fn kill(&self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// Sends it a signal by name, such as TERM.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&self) -> ExitStatus {
        self.process.ended().await
    }

    /// Memory in use: resident set, in bytes.
    pub fn resident(&self) -> u64 {
        self.process.resident()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Lets it open nothing more, as if all descriptors were taken; what it might open before.
    pub fn leave_no_descriptor(&self) -> Rlimit {
        let taken = self.process.open_descriptors();
        let free = (0..1 << 20).find(|n| !taken.contains(n)).expect("some number is free");
        let maximum = getrlimit(Resource::Nofile).maximum;
        self.limit_descriptors(Rlimit { current: Some(free), maximum })
    }

    /// How many descriptors it may have; what it might have before.
    pub fn limit_descriptors(&self, limit: Rlimit) -> Rlimit {
        prlimit(Some(self.process.pid()), Resource::Nofile, limit).unwrap()
    }

    /// Where it keeps its data.
    pub fn directory(&self) -> &Path {
        self.place.directory.path()
    }

    /// Its settings file.
    pub fn config(&self) -> &str {
        self.place.config.to_str().unwrap()
    }

    pub fn ask(&self, method: &str, target: &str) -> RequestFacts {
        RequestFacts::new(self.at, method, target)
    }

    pub fn get(&self, target: &str) -> RequestFacts {
        self.ask("GET", target)
    }

    /// A GET that fills, and the end of its fill: what it brought is in the store, or nowhere.
    pub async fn fill(&self, target: &str) -> Reply {
        self.filled_by(self.get(target)).await
    }

    /// The same for any request.
    pub async fn filled_by(&self, ask: RequestFacts) -> Reply {
        let path = ask.path().to_owned();
        let is_fill = |line: &Value| line["event"] == "fill" && line["path"] == path;
        let before = self.log.json(is_fill).len();
        let reply = ask.await;
        self.log.json_lines(before + 1, &format!("the end of a fill of {path}"), is_fill).await;
        reply
    }

    /// So many clients at once.
    pub async fn herd(&self, many: usize, target: &str) -> Vec<Reply> {
        all((0..many).map(|_| self.get(target).send())).await
    }

    pub async fn connect(&self) -> Conn {
        Conn::open(self.at).await
    }

    /// A GET on the operator's port.
    pub fn admin_get(&self, target: &str) -> RequestFacts {
        RequestFacts::new(self.admin, "GET", target).host("localhost")
    }

    /// A POST on the operator's port.
    pub fn admin_post(&self, target: &str, content: &Value) -> RequestFacts {
        RequestFacts::new(self.admin, "POST", target).host("localhost").json(content)
    }

    /// Purges, and fails the test if that is refused.
    pub async fn purge(&self, what: &Value) -> Value {
        let reply = self.admin_post("/v1/purge", what).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Purges one URL of the usual host.
    pub async fn purge_url(&self, target: &str) -> Value {
        self.purge(&json!({"url": format!("http://{}{target}", super::client::HOST)})).await
    }

    /// Runs another command of the binary with this one's settings and limits.
    pub async fn command(&self, arguments: &[&str]) -> Said {
        let mut command = self.place.limits.as_deref().map_or_else(dustgate, dustgate_under);
        command.args(arguments).args(["-c", self.config()]).current_dir(self.directory());
        command.env("DUSTGATE_ADMIN__LISTEN", self.admin.to_string());
        command::finish(&mut command).await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(self.admin_get("/metrics").await.text())
    }

    /// Waits until the series of a metric add up to something.
    pub async fn until_metric(&self, name: &str, labels: &[(&str, &str)], holds: impl Fn(f64) -> bool) {
        until(&format!("{name} {labels:?}"), async || {
            holds(self.metrics().await.sum(name, labels)).then_some(())
        })
        .await;
    }

    /// Waits until so many clients wait for somebody else's exchange.
    pub async fn until_followers(&self, many: usize) {
        self.until_metric("dustgate_followers", &[], |n| n == many as f64).await;
    }

    /// Waits until so many fills have stored something.
    pub async fn until_stored(&self, many: usize) {
        self.until_metric("dustgate_fills_total", &[("outcome", "stored")], |n| n == many as f64).await;
    }

    /// The log lines of so many requests for a path.
    pub async fn logged(&self, many: usize, path: &str) -> Vec<Value> {
        let of_path = |line: &Value| line["path"] == path && line["method"].is_string();
        self.log.json_lines(many, &format!("{many} log lines of {path}"), of_path).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = |lines: Vec<String>| lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- the proxy said ---\n{}", tail(self.errors.so_far()));
            eprintln!("--- its log ends ---\n{}", tail(self.log.so_far()));
        }
    }
}
