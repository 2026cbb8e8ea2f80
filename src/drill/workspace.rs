//! What a drill writes, and how it is removed again. All of it is apart from what the fleet of these
//! settings keeps.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::aws::AmazonS3Builder;
use toml_edit::DocumentMut;
use url::Url;

use super::plan::Plan;
use super::safety::{BodiesAt, DustAt, Nearby};
use crate::dust;

/// The directories, entries and objects of a drill.
#[derive(Debug)]
pub struct Scratch {
    /// The directory of its settings and logs.
    directory: PathBuf,
    /// Its name, which is part of every name that it writes.
    name: String,
    prefix: String,
    /// The directories that it has made.
    own: Vec<PathBuf>,
    /// The one of them that has the bodies.
    bodies: Option<PathBuf>,
    redis: Option<Nearby>,
    /// A Dust server, and the token for it.
    server: Option<(Nearby, String)>,
    objects: Option<Objects>,
    keep: AtomicBool,
}

/// The drill's own objects in a bucket.
#[derive(Debug)]
struct Objects {
    url: Url,
    endpoint: String,
}

/// The name of the file that marks a directory of bodies.
const MARKER: &str = "here";
/// How long removing records may take.
const SWEEP: Duration = Duration::from_secs(30);

// === impl Scratch ===

impl Scratch {
    /// Makes the directory of a drill.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(plan: &Plan, random: &str) -> io::Result<Self> {
        let name = format!("drill-{random}");
        let directory = std::env::temp_dir().join(format!("dustgate-{name}"));
        // Settings may hold secrets.
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let mut own = Vec::new();
        if let DustAt::Directory(path) = &plan.ground.dust {
            own.push(path.join(&name));
        }
        let (mut objects, mut bodies) = (None, None);
        match &plan.ground.bodies {
            BodiesAt::Directory(path) => {
                own.push(path.join(&name));
                bodies = Some(path.join(&name));
            }
            BodiesAt::Objects { url, endpoint } => {
                objects = Url::parse(url).ok().map(|url| Objects::below(url, &name, endpoint));
            }
            BodiesAt::Memory | BodiesAt::Dust => {}
        }
        let redis = match &plan.ground.dust {
            DustAt::Redis(redis) => Some(redis.clone()),
            _ => None,
        };
        let server = match &plan.ground.dust {
            DustAt::Server(server) => {
                let token = plan.settings.dust.store.token.as_ref();
                Some((server.clone(), token.map_or(String::new(), |token| token.reveal().to_owned())))
            }
            _ => None,
        };
        let prefix = format!("{}-{name}", plan.settings.dust.store.prefix);
        Ok(Self {
            directory,
            name,
            prefix,
            own,
            bodies,
            redis,
            server,
            objects,
            keep: AtomicBool::new(false),
        })
    }

    /// The fleet's prefix in the store.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes one instance's settings.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write_settings(&self, instance: usize, plan: &Plan, origin: SocketAddr) -> io::Result<PathBuf> {
        let path = self.file(&format!("instance-{instance}.toml"));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(settings(plan, origin).as_bytes())?;
        Ok(path)
    }

    /// The variables that override the settings: ports of its own, and its own part of the user's stores,
    /// through the relay if there is one.
    pub fn overrides(&self, plan: &Plan, relay: Option<SocketAddr>) -> Vec<(String, String)> {
        let below = |path: &Path| path.join(&self.name).display().to_string();
        let store = match &plan.ground.dust {
            DustAt::Memory => dust::IN_MEMORY.to_owned(),
            DustAt::Directory(path) => format!("{}{}", dust::IN_MEMORY, below(path)),
            DustAt::Redis(it) | DustAt::Server(it) => relayed(it, relay),
        };
        let bodies = match &plan.ground.bodies {
            BodiesAt::Memory => "memory:".to_owned(),
            BodiesAt::Dust => "dust:".to_owned(),
            BodiesAt::Directory(path) => format!("file:{}", below(path)),
            BodiesAt::Objects { url, .. } => {
                self.objects.as_ref().map_or(url.clone(), |objects| objects.url.to_string())
            }
        };
        [
            ("SERVER__LISTEN", "127.0.0.1:0".to_owned()),
            ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("DUST__URL", store),
            ("DUST__PREFIX", self.prefix.clone()),
            ("BODIES__URL", bodies),
            // As text: then an instance says on stderr where it listens.
            ("LOG__FORMAT", "text".to_owned()),
        ]
        .map(|(name, value)| (format!("DUSTGATE_{name}"), value))
        .to_vec()
    }

    /// Removes everything after the instances have ended, and the logs if they are not kept. Returns what
    /// could not be removed.
    pub async fn clear(&self, keep_logs: bool) -> Vec<String> {
        let mut left = Vec::new();
        if let Some(redis) = &self.redis {
            let swept =
                tokio::time::timeout(SWEEP, dust::redis::sweep(redis.url.reveal(), &self.prefix)).await;
            let failed = match swept {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it takes too long".to_owned()),
            };
            if let Some(reason) = failed {
                left.push(format!("keys with {} in them in {}: {reason}", self.prefix, redis.url));
            }
        }
        if let Some((server, token)) = &self.server {
            let swept = dust::server::sweep(server.url.reveal(), token, &self.prefix);
            let failed = match tokio::time::timeout(SWEEP, swept).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it takes too long".to_owned()),
            };
            left.extend(failed.map(|why| format!("keys of {} in {}: {why}", self.prefix, server.url)));
        }
        if let Some(objects) = &self.objects {
            let swept = tokio::time::timeout(SWEEP, objects.sweep()).await;
            let failed = match swept {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it takes too long".to_owned()),
            };
            left.extend(failed.map(|reason| format!("objects below {}: {reason}", objects.url)));
        }
        self.keep.store(keep_logs, Ordering::Relaxed);
        self.clear_files(keep_logs, &mut left);
        left
    }

    /// Removes the segments of all bodies that are files, and returns how many there were.
    ///
    /// # Errors
    /// A segment can't be removed.
    pub fn lose_bodies(&self) -> io::Result<usize> {
        let mut removed = 0;
        for file in self.bodies_of_lives().iter().flat_map(|life| files(life)) {
            match fs::remove_file(file) {
                Ok(()) => removed += 1,
                // A sweep has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The directories in which each life of the store has its bodies, if they are files.
    pub fn bodies_of_lives(&self) -> Vec<PathBuf> {
        let entries = self.bodies.iter().filter_map(|bodies| fs::read_dir(bodies).ok()).flatten();
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Makes the store forget everything of the fleet, in one step, as if it had been emptied. Other
    /// entries stay.
    ///
    /// # Errors
    /// In words, if the store does not do it.
    pub async fn forget_store(&self) -> Result<(), String> {
        let redis = self.redis.as_ref().ok_or("there is none")?;
        let forgotten =
            tokio::time::timeout(SWEEP, dust::redis::forget(redis.url.reveal(), &self.prefix)).await;
        forgotten.map_err(|_| "it takes too long".to_owned())?.map_err(|error| error.to_string())
    }

    fn clear_files(&self, keep_logs: bool, left: &mut Vec<String>) {
        let settings = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let settings = settings.map(|entry| entry.path());
        let settings: Vec<_> =
            settings.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
        for path in settings {
            let _gone = fs::remove_file(path);
        }
        let logs = (!keep_logs).then_some(&self.directory);
        for path in self.own.iter().chain(logs) {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    left.push(format!("{}: {error}", path.display()));
                }
                _ => {}
            }
        }
    }
}

impl Drop for Scratch {
    /// Removes what it can without waiting, when the drill was dropped before its end: settings may hold
    /// secrets. After [`Scratch::clear`] nothing is left to do.
    fn drop(&mut self) {
        self.clear_files(self.keep.load(Ordering::Relaxed), &mut Vec::new());
    }
}

// === impl Objects ===

impl Objects {
    fn below(mut url: Url, name: &str, endpoint: &str) -> Self {
        let path = format!("{}/{name}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Self { url, endpoint: endpoint.to_owned() }
    }

    /// Removes all of them.
    async fn sweep(&self) -> object_store::Result<()> {
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(self.url.host_str().unwrap_or_default())
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false);
        let region = self.url.query_pairs().find(|(key, _)| key == "region");
        let store = match region {
            Some((_, region)) => store.with_region(region).build()?,
            None => store.build()?,
        };
        let prefix = object_store::path::Path::from_url_path(self.url.path())?;
        let names = store.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        store.delete_stream(names).try_for_each(async |_| Ok(())).await
    }
}

/// The user's settings, with the drill's one route and upstream in place of theirs.
fn settings(plan: &Plan, origin: SocketAddr) -> String {
    // It parses: it has been read as settings before.
    let mut document: DocumentMut = plan.text.parse().unwrap_or_default();
    document.remove("routes");
    document.remove("upstreams");
    let mut text = document.to_string();
    let wide = plan.clients.max(1024);
    // A fetch that is held while a leader is frozen sends no byte for more than a lease.
    let patience = 60 + 2 * plan.lease().as_secs();
    let _ = write!(
        text,
        r#"
[upstreams.drill]
url = "http://{origin}"
first_byte_timeout = "{patience}s"
read_timeout = "{patience}s"
max_concurrent = {wide}
queue = {wide}

[[routes]]
name = "drill"
path = "/*"
upstream = "drill"
"#
    );
    text
}

/// The store's URL, through the relay.
fn relayed(redis: &Nearby, relay: Option<SocketAddr>) -> String {
    let text = redis.url.reveal();
    let (Some(relay), Ok(mut url)) = (relay, Url::parse(text)) else { return text.to_owned() };
    // Its host stays, because a certificate may name it. It is a loopback host, and so is the relay's.
    let _ = url.set_port(Some(relay.port()));
    url.into()
}

/// The stored segments below a directory, without the file that marks the directory.
pub fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(below).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != MARKER) {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config;
    use crate::drill::plan::Options;
    use crate::drill::safety::Ground;
    use crate::secret::SecretUrl;

    fn plan(text: &str, dust: DustAt, bodies: BodiesAt) -> Plan {
        let wish =
            Options { instances: 3, clients: 9, delay: Duration::from_millis(9), rounds: 1, only: vec![] };
        let settings = config::load_text(Some(("file".into(), text.into())), []).unwrap();
        Plan::new(&wish, settings, text.into(), Ground { dust, bodies }, PathBuf::new()).unwrap()
    }

    const TEXT: &str = r#"
[dust]
prefix = "acme"
lease_ttl = "2s"
[upstreams.live]
url = "https://live.example.com"
[upstreams.live.tls]
insecure = true
[[routes]]
name = "all"
upstream = "live"
[[routes]]
name = "other"
path = "/a/*"
upstream = "https://other.example.com"
[memory]
size = "1MiB"
"#;

    #[test]
    fn only_the_drills_own_origin_can_be_asked() {
        let plan = plan(TEXT, DustAt::Memory, BodiesAt::Memory);
        let text = settings(&plan, "127.0.0.1:99".parse().unwrap());
        assert!(!text.contains("example.com"), "{text}");
        let settings = config::load_text(Some(("file".into(), text)), []).unwrap();
        let origins: Vec<_> = settings.origins().into_values().collect();
        assert_eq!(origins.len(), 1);
        assert_eq!(origins[0].url.reveal(), "http://127.0.0.1:99");
        assert_eq!(settings.table().in_order().len(), 1);
        assert_eq!(
            (settings.memory.size, settings.dust.flight.lease_ttl),
            (1 << 20, Duration::from_secs(2)),
            "theirs stay"
        );
    }

    #[test]
    fn nothing_of_the_fleet_that_is_in_use_is_written_to() {
        let redis = Nearby {
            url: SecretUrl::here("redis://u:p%40w@127.0.0.1:7000/3"),
            near: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: "127.0.0.1".into(),
            port: 7000,
        };
        let plan = plan(TEXT, DustAt::Redis(redis), BodiesAt::Directory("/data/bodies".into()));
        let random = format!("test-{}", std::process::id());
        let scratch = Scratch::new(&plan, &random).unwrap();
        let overrides = scratch.overrides(&plan, Some("127.0.0.1:55".parse().unwrap()));
        let over = |name: &str| overrides.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(over("DUSTGATE_DUST__URL"), "redis://u:p%40w@127.0.0.1:55/3");
        assert_eq!(over("DUSTGATE_DUST__PREFIX"), format!("acme-drill-{random}"));
        assert_eq!(over("DUSTGATE_BODIES__URL"), format!("file:/data/bodies/drill-{random}"));
        assert_eq!(over("DUSTGATE_SERVER__LISTEN"), "127.0.0.1:0");
        let url = Url::parse("s3://bucket/prefix/?endpoint=http://127.0.0.1:9").unwrap();
        let objects = Objects::below(url, "drill-x", "http://127.0.0.1:9");
        assert_eq!(objects.url.as_str(), "s3://bucket/prefix/drill-x?endpoint=http://127.0.0.1:9");
        let directory = scratch.directory.clone();
        let file = scratch.write_settings(0, &plan, "127.0.0.1:99".parse().unwrap()).unwrap();
        assert!(file.exists());
        let mut left = Vec::new();
        scratch.clear_files(false, &mut left);
        assert!(left.is_empty() && !directory.exists(), "{left:?}");
    }
}
