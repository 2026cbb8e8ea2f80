//! `dust.url`: the server, or the nodes or sentinels that know it.

use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo};

/// The forms, for messages.
const FORMS: &str = "redis://[user:password@]host[:port][/db] is meant (rediss:// with TLS), \
                     redis+cluster://host[:port],… or redis+sentinel://host[:port],…/name[/db]";

/// Where the primary is found.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) find: Find,
    pub(super) db: i64,
    /// Accept a server that evicts.
    pub(super) allow_eviction: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Find {
    /// The server itself.
    Here(Box<ConnectionInfo>),
    /// Nodes of a cluster: each knows which one has the slot of the fleet's hash tag.
    Cluster(Vec<ConnectionInfo>),
    /// Sentinels: each knows which server is the primary called `name`. `node` has the login there.
    Sentinel { sentinels: Vec<ConnectionInfo>, name: String, node: Box<ConnectionInfo> },
}

// === impl Target ===

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without any part of it that may be a secret.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (tls, kind) = match scheme {
            "redis" => ("redis", ""),
            "rediss" => ("rediss", ""),
            _ => scheme.split_once('+').filter(|(tls, _)| matches!(*tls, "redis" | "rediss")).ok_or(FORMS)?,
        };
        if rest.contains(['?', '#']) {
            return Err(format!(
                "nothing may come after the path (a password's ? is %3F, its # %23): {FORMS}"
            ));
        }
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        if user.is_some_and(|user| user.contains(['/', '@'])) {
            return Err("in a user's name or password / is %2F and @ is %40".into());
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<&str> = hosts.split(',').collect();
        match kind {
            "" => {
                let [host] = hosts[..] else { return Err(format!("one host is meant: {FORMS}")) };
                let db = db(path)?;
                Ok(Self {
                    find: Find::Here(Box::new(info(tls, user, host, 6379, db)?)),
                    db,
                    allow_eviction: false,
                })
            }
            "cluster" => {
                if !matches!(path, "" | "0") {
                    return Err("a cluster has no databases: leave the path away".into());
                }
                let seeds = hosts.iter().map(|host| info(tls, user, host, 6379, 0));
                Ok(Self {
                    find: Find::Cluster(seeds.collect::<Result<_, _>>()?),
                    db: 0,
                    allow_eviction: false,
                })
            }
            "sentinel" => {
                let (name, path) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err(format!("the primary's name is missing: {FORMS}"));
                }
                let db = db(path)?;
                let sentinels = hosts.iter().map(|host| info(tls, user, host, 26379, 0));
                let sentinels = sentinels.collect::<Result<_, _>>()?;
                let node = Box::new(info(tls, user, hosts[0], 6379, db)?);
                Ok(Self {
                    find: Find::Sentinel { sentinels, name: name.to_owned(), node },
                    db,
                    allow_eviction: false,
                })
            }
            _ => Err(FORMS.into()),
        }
    }

    /// Sets whether a server is accepted that may evict purges and leases.
    #[must_use]
    pub fn allowing_eviction(self, allowed: bool) -> Self {
        Self { allow_eviction: allowed, ..self }
    }
}

fn db(path: &str) -> Result<i64, String> {
    if path.is_empty() {
        return Ok(0);
    }
    let number =
        path.parse::<u16>().map_err(|_| format!("/{path} is no database: a number is meant, such as /0"))?;
    Ok(i64::from(number))
}

fn info(tls: &str, user: Option<&str>, host: &str, port: u16, db: i64) -> Result<ConnectionInfo, String> {
    // The last colon ends an address in brackets, or a name.
    let has_port = host.rsplit_once(':').is_some_and(|(_, last)| !last.ends_with(']'));
    let port = if has_port { String::new() } else { format!(":{port}") };
    let user = user.map_or(String::new(), |user| format!("{user}@"));
    let info = format!("{tls}://{user}{host}{port}/{db}").into_connection_info();
    // The library's message may quote the password.
    let info = info.map_err(|_| {
        format!("{host:?} is no host and port, or the user and password are not percent-encoded: {FORMS}")
    })?;
    if host.is_empty() || host.starts_with(':') {
        return Err(format!("a host is missing: {FORMS}"));
    }
    let login = settings(info.redis_settings(), db);
    Ok(info.set_redis_settings(login))
}

/// RESP3 carries answers and events alike; setting the client library's name would need one more right.
fn settings(of: &RedisConnectionInfo, db: i64) -> RedisConnectionInfo {
    of.clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name().set_db(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(url: &str) -> ConnectionInfo {
        match Target::parse(url).expect("it is one").find {
            Find::Here(info) => *info,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_server() {
        let info = here("redis://h");
        assert_eq!(info.addr().to_string(), "h:6379");
        assert_eq!((info.redis_settings().username(), info.redis_settings().password()), (None, None));
        let info = here("rediss://us%40er:p%2Fw%3F@[::1]:7000/3");
        assert!(matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }), "{info:?}");
        assert_eq!(info.addr().to_string(), "::1:7000");
        let login = info.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("us@er"), Some("p/w?"), 3));
        assert_eq!(here("redis://:pw@h:1").redis_settings().password(), Some("pw"));
        assert_eq!(here("redis://[::1]").addr().to_string(), "::1:6379");
    }

    #[test]
    fn several_that_know_which() {
        let Ok(Target { find: Find::Cluster(seeds), db: 0, .. }) =
            Target::parse("redis+cluster://u:p@a,b:7001")
        else {
            panic!("not a cluster")
        };
        let seeds: Vec<_> = seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(seeds, ["a:6379", "b:7001"]);
        let Ok(Target { find: Find::Sentinel { sentinels, name, node }, db: 2, .. }) =
            Target::parse("rediss+sentinel://:pw@a,b:26000/cache/2")
        else {
            panic!("no sentinels")
        };
        let sentinels: Vec<_> = sentinels.iter().map(|one| one.addr().to_string()).collect();
        assert_eq!((sentinels, name.as_str()), (vec!["a:26379".to_owned(), "b:26000".to_owned()], "cache"));
        assert_eq!((node.redis_settings().password(), node.redis_settings().db()), (Some("pw"), 2));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for url in [
            "redis:h",
            "redis://",
            "redis://:secret@",
            "redis://u:secret@h:port",
            "redis://u:secret@h/x",
            "redis://u:secret@h/1?protocol=resp2",
            "redis://u:sec/secret@h",
            "redis://a,b",
            "redis+cluster://u:secret@h/1",
            "redis+sentinel://u:secret@h",
            "redis+what://u:secret@h",
            "http://u:secret@h",
            "redis://u:secret%zz@h:99999",
        ] {
            let why = Target::parse(url).expect_err(url);
            assert!(!why.contains("secret"), "{url}: {why}");
        }
    }
}
