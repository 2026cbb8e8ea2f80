//! Addresses that a port listens on, and networks.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

/// Where a port listens: at an address, or on a socket that a service manager has bound and named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    /// Such as `127.0.0.1:8080`.
    At(SocketAddr),
    /// Such as `fd:http`: the name in `FileDescriptorName=`.
    Handed(String),
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(pub IpNet);

/// What stands before the name of a socket that is handed over.
const HANDED: &str = "fd:";

// === impl Listen, Socket, Net ===

impl Listen {
    /// What is said of something else. It names the address that is meant, if that is plain.
    pub fn meant(text: &str) -> String {
        let valid = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
        let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        // Without brackets, the port reads as the end of the address.
        if host.parse::<Ipv6Addr>().is_ok() && valid(port) {
            return format!("an IPv6 address stands in brackets: write \"[{host}]:{port}\"");
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return format!("a port is missing: write \"{}\"", SocketAddr::new(ip, 8080));
        }
        if digits(port) && !valid(port) {
            return format!("there is no port {port}: the last one is 65535");
        }
        if valid(port) {
            match host {
                "" if text.starts_with(':') => {
                    return format!(
                        "an address is meant; \"0.0.0.0:{port}\" is every one, \"127.0.0.1:{port}\" this machine alone"
                    );
                }
                "" => return format!("an address and a port are meant; write \"127.0.0.1:{port}\""),
                "localhost" => {
                    return format!("an address is meant, and no name; write \"127.0.0.1:{port}\"");
                }
                "*" => return format!("an address is meant; \"0.0.0.0:{port}\" is every one"),
                _ => {}
            }
        }
        "an address and a port are meant, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| Self::meant(text))
    }
}

impl Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(HANDED) {
            // Names are told apart by colons where they are handed over.
            Some(name) if name.is_empty() || name.contains(':') => {
                Err("the name of a socket is meant, such as \"fd:http\"".to_owned())
            }
            Some(name) => Ok(Self::Handed(name.to_owned())),
            None => text.parse().map(|Listen(at)| Self::At(at)),
        }
    }
}

impl Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => Display::fmt(at, f),
            Self::Handed(name) => write!(f, "{HANDED}{name}"),
        }
    }
}

impl FromStr for Net {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Self).map_err(|_| "a network is meant, such as \"10.0.0.0/8\" or \"::1\"")
    }
}

impl Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}
