//! Makes sure that a drill stays on this machine. Each address in the settings has to be a loopback one,
//! and no option changes that: a drill kills and floods what it reaches.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use url::{Host, Url};

use crate::config::Settings;
use crate::dust;
use crate::secret::SecretUrl;

/// The stores in which a drill may write, beside what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The coordination store.
    pub dust: DustAt,
    /// The body store.
    pub bodies: BodiesAt,
}

/// Where the coordination store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DustAt {
    /// In the memory of one process.
    Memory,
    /// In a directory of one process.
    Directory(PathBuf),
    /// A Redis on this machine, which instances share.
    Redis(Nearby),
    /// A Dust server on this machine, which instances share.
    Server(Nearby),
}

/// A server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearby {
    /// Its URL, with its password.
    pub url: SecretUrl,
    /// The address for a relay in front of it.
    pub near: IpAddr,
    /// Its host as a connection takes it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Where bodies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodiesAt {
    /// In the memory of one process.
    Memory,
    /// In the coordination store.
    Dust,
    /// In a directory.
    Directory(PathBuf),
    /// In an object store on this machine.
    Objects {
        /// The URL of the settings.
        url: String,
        /// The URL of its server.
        endpoint: String,
    },
}

/// How names are resolved and variables are read, handed in.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// All addresses of a name.
    pub resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Variables that name the server of an object store. The first that is set counts.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// The variable of a proxy for the object store. It has to be on this machine, too.
const PROXY: &str = "AWS_PROXY_URL";
/// The variables of the keys. Without these, the client requests keys from another machine.
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Checks that all stores that the settings name are on this machine. Connects to nothing. Upstreams are
/// not checked: a drill replaces them by its own.
///
/// # Errors
/// Each setting that names another machine, and what to do about it.
pub fn survey(settings: &Settings, machine: Machine<'_>) -> Result<Ground, Vec<String>> {
    let mut refused = Vec::new();
    let listening = settings.server.addresses().into_iter().map(|at| ("server.listen", at));
    for (setting, address) in listening.chain([("admin.listen", settings.admin.listen.0)]) {
        if !is_loopback(address.ip()) {
            refused.push(format!(
                "{setting}: {address} is not a loopback address, and a drill touches no other; set \
                 {setting} to 127.0.0.1 for it"
            ));
        }
    }
    let dust = store(&settings.dust.store.url, machine).map_err(|reason| refused.push(reason));
    let bodies = bodies(settings, machine).map_err(|reason| refused.push(reason));
    match (dust, bodies) {
        (Ok(dust), Ok(bodies)) if refused.is_empty() => Ok(Ground { dust, bodies }),
        _ => Err(refused),
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The loopback address of a URL's host. Only `localhost` is resolved.
fn loopback(url: &Url, machine: Machine<'_>) -> Option<IpAddr> {
    // In schemes that the URL's parser does not know, hosts are opaque: addresses are parsed here.
    let text = url.host_str()?;
    let ip = match Host::parse(text).ok()? {
        Host::Ipv4(ip) => IpAddr::V4(ip),
        Host::Ipv6(ip) => IpAddr::V6(ip),
        Host::Domain(name) if name == "localhost" => {
            let all = (machine.resolve)("localhost");
            if all.is_empty() || !all.into_iter().all(is_loopback) {
                return None;
            }
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
        Host::Domain(_) => return None,
    };
    is_loopback(ip).then_some(ip)
}

fn store(secret: &SecretUrl, machine: Machine<'_>) -> Result<DustAt, String> {
    let text = secret.reveal();
    if let Some(path) = text.strip_prefix(dust::IN_MEMORY) {
        return Ok(if path.is_empty() { DustAt::Memory } else { DustAt::Directory(path.into()) });
    }
    let not_here = || {
        format!(
            "dust.url: {secret} is not on a loopback address, and a drill touches no other; start a \
             store on this machine and set dust.url to redis://127.0.0.1:PORT for it"
        )
    };
    if !matches!(secret.scheme(), "redis" | "rediss" | "dust+ws" | "dust+wss") {
        return Err(format!(
            "dust.url: {secret} cannot be drilled, since where it leads is not known beforehand; \
             embedded:…, redis://127.0.0.1:PORT and dust+ws://127.0.0.1:PORT/ws/sync?store=ORG/NAME can"
        ));
    }
    let url = Url::parse(text).map_err(|_| not_here())?;
    let near = loopback(&url, machine).ok_or_else(not_here)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if dust::is_server(text) {
        let port = url.port().unwrap_or(if secret.scheme() == "dust+wss" { 443 } else { 80 });
        return Ok(DustAt::Server(Nearby { url: secret.clone(), near, host, port }));
    }
    // The URLs of further nodes would stand here; the store itself names their addresses.
    if url.query().is_some_and(|query| query.contains(['.', ':', ','])) {
        return Err(not_here());
    }
    Ok(DustAt::Redis(Nearby { url: secret.clone(), near, host, port: url.port().unwrap_or(6379) }))
}

fn bodies(settings: &Settings, machine: Machine<'_>) -> Result<BodiesAt, String> {
    let secret = &settings.bodies.url;
    let text = secret.reveal();
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(BodiesAt::Directory(path.into()));
    }
    if settings.bodies.large.is_some() {
        return Err("bodies.large: a drill touches no place for long bodies; leave it out for it".to_owned());
    }
    match text {
        "memory:" => return Ok(BodiesAt::Memory),
        "dust:" => return Ok(BodiesAt::Dust),
        _ => {}
    }
    objects(text, machine).map_err(|reason| format!("bodies.url: {secret} {reason}"))
}

/// An object store on this machine, with its address and its keys at hand, so that its client looks
/// nothing else up.
fn objects(text: &str, machine: Machine<'_>) -> Result<BodiesAt, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let said =
        |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
    let variable = |name: &str| (machine.variable)(name).filter(|value| !value.is_empty());
    let endpoint = said("endpoint").or_else(|| ENDPOINTS.into_iter().find_map(variable));
    let Some(endpoint) = endpoint.filter(|_| url.scheme() == "s3") else {
        return Err("has no endpoint on this machine, and a drill touches no other; start an S3 store \
                    here and add ?endpoint=http://127.0.0.1:PORT for it"
            .to_owned());
    };
    for (what, address) in [("endpoint", Some(&endpoint)), (PROXY, variable(PROXY).as_ref())] {
        let Some(address) = address else { continue };
        if Url::parse(address).ok().and_then(|url| loopback(&url, machine)).is_none() {
            return Err(format!(
                "has {what} = {}, not a loopback address, and a drill touches no other; add \
                 ?endpoint=http://127.0.0.1:PORT for it",
                SecretUrl::here(address)
            ));
        }
    }
    let by_host = variable("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").is_some();
    if said("path_style").map_or(by_host, |style| style == "false") {
        return Err("puts the bucket into a host's name, which leads who knows where; a drill needs \
                    path_style=true"
            .to_owned());
    }
    if said("credentials").is_some_and(|from| from == "instance")
        || KEYS.into_iter().any(|name| variable(name).is_none())
    {
        return Err(format!(
            "takes its credentials from elsewhere, and a drill touches nothing but this machine; set {} \
             and {}",
            KEYS[0], KEYS[1]
        ));
    }
    Ok(BodiesAt::Objects { url: text.to_owned(), endpoint })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::units::{List, Socket};

    fn with(dust: &str, bodies: &str) -> Settings {
        let mut settings = Settings::default();
        settings.dust.store.url = SecretUrl::here(dust);
        settings.bodies.url = SecretUrl::here(bodies);
        settings
    }

    fn look(settings: &Settings, localhost: &str, endpoint: Option<&str>) -> Result<Ground, Vec<String>> {
        let keys = KEYS.into_iter().map(|name| (name, "k"));
        let endpoint = endpoint.map(|url| ("AWS_ENDPOINT_URL", url));
        look_with(settings, localhost, &keys.chain(endpoint).collect::<Vec<_>>())
    }

    fn look_with(settings: &Settings, localhost: &str, set: &[(&str, &str)]) -> Result<Ground, Vec<String>> {
        let address: IpAddr = localhost.parse().unwrap();
        let resolve = |name: &str| {
            assert_eq!(name, "localhost", "no other name is looked up");
            vec![address]
        };
        let variable =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        survey(settings, Machine { resolve: &resolve, variable: &variable })
    }

    #[test]
    fn what_is_on_this_machine_is_taken() {
        for dust in [
            "embedded:",
            "embedded:./data/dust",
            "redis://127.0.0.1:7000",
            "redis://127.1.2.3",
            "redis://[::1]:7000/3",
            "redis://localhost",
            "rediss://user:pw@localhost:7001",
            "redis://[::ffff:127.0.0.1]:1",
            "dust+ws://127.0.0.1:7755/ws/sync?store=acme/cache-{0..7}",
            "dust+wss://localhost/ws/sync?store=acme/cache.v1",
        ] {
            let taken = look(&with(dust, "file:./data/bodies"), "127.0.0.1", None);
            assert!(taken.is_ok(), "{dust}: {taken:?}");
        }
        let ground = look(&with("redis://localhost", "dust:"), "127.0.0.1", None).unwrap();
        assert_eq!(ground.bodies, BodiesAt::Dust);
        let ground = look(&with("redis://:pw@[::1]:7000/3", "memory:"), "127.0.0.1", None).unwrap();
        let DustAt::Redis(redis) = ground.dust else { panic!("{ground:?}") };
        assert_eq!((redis.host.as_str(), redis.port, redis.near.to_string().as_str()), ("::1", 7000, "::1"));
    }

    #[test]
    fn what_is_elsewhere_is_refused_by_the_name_of_its_setting() {
        for dust in [
            "redis://10.0.0.7:6379",
            "redis://redis:6379",
            "redis://localhost.example.com",
            "redis://127.0.0.1.example.com",
            "redis://0.0.0.0",
            "redis://[::]",
            "redis://[fe80::1]",
            "redis://127.0.0.1,10.0.0.7",
            "redis://127.0.0.1:1@10.0.0.7",
            "redis://127.0.0.1?nodes=10.0.0.7:6379",
            "redis:///",
            "redis+cluster://127.0.0.1",
            "redis+sentinel://127.0.0.1/main",
            "redis+unix:///run/redis.sock",
            "dust+ws://10.0.0.7/ws/sync?store=acme/cache",
            "dust+ws://127.0.0.1.example.com/ws/sync?store=acme/cache",
            "nonsense",
        ] {
            let refused = look(&with(dust, "memory:"), "127.0.0.1", None).unwrap_err();
            assert!(refused.len() == 1 && refused[0].starts_with("dust.url"), "{dust}: {refused:?}");
        }
        let refused = look(&with("redis://u:secret@10.0.0.7", "memory:"), "127.0.0.1", None).unwrap_err();
        assert!(refused[0].contains("u:***@10.0.0.7") && !refused[0].contains("secret"), "{refused:?}");
        // A machine on which localhost is another one.
        assert!(look(&with("redis://localhost", "memory:"), "192.0.2.1", None).is_err());
    }

    #[test]
    fn object_stores_need_an_endpoint_here() {
        let here = "http://127.0.0.1:9000";
        for (url, endpoint, taken) in [
            ("s3://bucket/prefix", None, false),
            ("s3://bucket/prefix", Some("https://s3.example.com"), false),
            ("s3://bucket/prefix", Some(here), true),
            ("s3://bucket/prefix?endpoint=http://127.0.0.1:9000", None, true),
            // What the URL says is what counts.
            ("s3://bucket/prefix?endpoint=http://localhost:9000", Some("https://s3.example.com"), true),
            ("s3://bucket/prefix?endpoint=https://s3.example.com", Some(here), false),
            ("s3://bucket/prefix?path_style=false", Some(here), false),
            ("s3://bucket/prefix?credentials=instance", Some(here), false),
            ("gs://bucket", Some(here), false),
        ] {
            let looked = look(&with("embedded:", url), "127.0.0.1", endpoint);
            assert_eq!(looked.is_ok(), taken, "{url}: {looked:?}");
            if let Err(refused) = looked {
                assert!(refused[0].starts_with("bodies.url"), "{refused:?}");
            }
        }
        let settings = with("embedded:", "s3://bucket?endpoint=http://127.0.0.1:9000");
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "k")];
        assert!(look_with(&settings, "127.0.0.1", &keys).is_ok());
        assert!(look_with(&settings, "127.0.0.1", &keys[..1]).is_err(), "keys would be asked for elsewhere");
        let proxy = [keys[0], keys[1], ("AWS_PROXY_URL", "http://proxy.example.com")];
        assert!(look_with(&settings, "127.0.0.1", &proxy).is_err());
    }

    #[test]
    fn every_listener_counts_and_everything_is_said_at_once() {
        let mut settings = with("redis://10.0.0.7", "memory:");
        let socket = |text: &str| text.parse::<Socket>().unwrap();
        settings.server.listen = List(vec![socket("127.0.0.1:1"), socket("[::]:2"), socket("192.0.2.1:3")]);
        settings.admin.listen = "0.0.0.0:4".parse().unwrap();
        let refused = look(&settings, "127.0.0.1", None).unwrap_err();
        let named: Vec<_> = refused.iter().map(|line| line.split(" is not").next().unwrap()).collect();
        assert_eq!(
            named,
            [
                "server.listen: [::]:2",
                "server.listen: 192.0.2.1:3",
                "admin.listen: 0.0.0.0:4",
                "dust.url: redis://10.0.0.7"
            ]
        );
    }
}
