//! Checks whether a server is suitable, by its `INFO`.

use super::super::Error;

/// The oldest Redis that has what the scripts and the listener use.
const OLDEST: (u32, u32) = (6, 2);

/// Why a server is not suitable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It may be suitable later, or another server is.
    Passing(Error),
    /// It is a replica: suitable once it is promoted.
    Replica(String),
    /// It is unsuitable until its settings change.
    Never(String),
}

/// What `INFO` says, if the user may call it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    version: Option<String>,
    valkey: bool,
    role: Option<String>,
    primary: Option<String>,
    policy: Option<String>,
    loading: bool,
}

// === impl Wrong ===

impl Wrong {
    /// The error while running: a failover mends a replica without the operator.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Passing(why) => why,
            Self::Replica(why) => Error::Unavailable(why),
            Self::Never(why) => Error::Refused(why),
        }
    }
}

// === impl About ===

impl About {
    pub(super) fn parse(info: &str) -> Self {
        let mut about = Self::default();
        for (name, value) in info.lines().filter_map(|line| line.trim_end().split_once(':')) {
            let value = value.to_owned();
            match name {
                "redis_version" => about.version = Some(value),
                "valkey_version" => about.valkey = true,
                "role" => about.role = Some(value),
                "master_host" => about.primary = Some(value),
                "maxmemory_policy" => about.policy = Some(value),
                "loading" => about.loading = value == "1",
                _ => {}
            }
        }
        about
    }

    /// Checks the server's version, role and policy. An unknown version is accepted.
    pub(super) fn judge(&self, allow_eviction: bool) -> Result<(), Wrong> {
        if let Some(version) = self.version.as_deref().filter(|_| !self.valkey) {
            let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
            let known = parts.next().zip(parts.next());
            if known.is_some_and(|known| known < OLDEST) {
                let (major, minor) = OLDEST;
                let why =
                    format!("it is Redis {version}; needed is Redis {major}.{minor} or later, or any Valkey");
                return Err(Wrong::Never(why));
            }
        }
        if !allow_eviction {
            self.keeps_all().map_err(Wrong::Never)?;
        }
        if self.role.is_none() {
            return Err(Wrong::Never("INFO does not say whether it is a primary (role)".into()));
        }
        if self.role.as_deref().is_some_and(|role| role != "master") {
            let primary = self.primary.as_deref().map_or(String::new(), |host| format!(" of {host}"));
            return Err(Wrong::Replica(format!("it is a replica{primary}; the primary is needed")));
        }
        if self.loading {
            return Err(Wrong::Passing(Error::Unavailable("LOADING: it still reads its data".into())));
        }
        Ok(())
    }

    /// Checks that the server keeps what is written until it expires. The policy counts even while no
    /// `maxmemory` is set, for it applies once one is.
    pub(super) fn keeps_all(&self) -> Result<(), String> {
        let what = match self.policy.as_deref() {
            Some("noeviction") => return Ok(()),
            Some(policy) => format!("its maxmemory-policy is {policy}"),
            None => "INFO does not say its maxmemory-policy".to_owned(),
        };
        Err(format!(
            "{what}: when memory runs short it may throw purges away, so that purged responses come back, \
             and leases, so that one response is fetched twice; run CONFIG SET maxmemory-policy noeviction \
             (and set it in the server's configuration), or accept that with dust.allow_eviction = true"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(info: &str) -> Result<(), Wrong> {
        About::parse(info).judge(false)
    }

    #[test]
    fn servers_that_will_do() {
        for info in [
            "# Server\r\nredis_version:6.2.0\r\nrole:master\r\nmaxmemory_policy:noeviction\r\nloading:0\r\n",
            "redis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n",
            "redis_version:5.9.0\r\nvalkey_version:8.0.1\r\nrole:master\nmaxmemory_policy:noeviction\n",
            "redis_version:255.255.255\r\nrole:master\nmaxmemory_policy:noeviction\n",
            "redis_version:unstable\r\nrole:master\nmaxmemory_policy:noeviction\n",
        ] {
            assert_eq!(judged(info), Ok(()), "{info}");
        }
    }

    #[test]
    fn servers_that_will_not() {
        assert!(matches!(judged("redis_version:6.0.16\n"), Err(Wrong::Never(why)) if why.contains("6.0.16")));
        for policy in ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"] {
            let info = format!("redis_version:7.0.0\nrole:master\nmaxmemory_policy:{policy}\n");
            let Err(Wrong::Never(why)) = judged(&info) else { panic!("{policy}") };
            assert!(why.contains(policy) && why.contains("CONFIG SET maxmemory-policy noeviction"), "{why}");
            assert_eq!(About::parse(&info).judge(true), Ok(()), "accepted");
        }
        let silent = "redis_version:7.0.0\nrole:master\n";
        assert!(matches!(judged(silent), Err(Wrong::Never(why)) if why.contains("maxmemory-policy")));
        let silent = "redis_version:7.0.0\nmaxmemory_policy:noeviction\n";
        assert!(matches!(judged(silent), Err(Wrong::Never(why)) if why.contains("role")));
        let replica =
            judged("redis_version:7.0.0\nmaxmemory_policy:noeviction\nrole:slave\nmaster_host:10.0.0.1\n");
        assert!(matches!(replica, Err(Wrong::Replica(why)) if why.contains("10.0.0.1")));
        assert!(matches!(
            judged("redis_version:7.0.0\nmaxmemory_policy:noeviction\nrole:master\nloading:1\n"),
            Err(Wrong::Passing(Error::Unavailable(_)))
        ));
    }
}
