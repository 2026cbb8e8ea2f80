//! Finds the primary that has the fleet's keys.
//!
//! All of a fleet's keys are in one slot, so in a cluster too it is one server: the one that has that
//! slot. It is located anew each time a line is made, and a line ends when the server answers that it
//! is the wrong one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError, Value,
    cmd,
};
use tokio::net::lookup_host;

use super::super::Error;
use super::check::Wrong;
use super::fault;
use super::names::Names;
use super::race::side_by_side;
use super::target::{Find, Target};

/// The bound of the answer of any seed or sentinel.
const BOUND: Duration = Duration::from_millis(400);

/// Finds the primary. `first` is the index of the seed or sentinel to ask first; the one that answers
/// becomes the first of the next time.
pub(super) async fn primary(
    target: &Target,
    names: &Names,
    first: &AtomicUsize,
) -> Result<ConnectionInfo, Wrong> {
    match &target.find {
        Find::Here(info) => Ok((**info).clone()),
        Find::Cluster(those) | Find::Sentinel { sentinels: those, .. } => {
            let ask = |place: usize| async move {
                let one = &those[place];
                let found = match &target.find {
                    Find::Sentinel { name, node, .. } => by_sentinel(one, name, node).await,
                    Find::Here(_) | Find::Cluster(_) => in_cluster(one, &names.last).await,
                };
                found.map_err(|error| match fault::judge(&error).0 {
                    Error::Refused(why) => Wrong::Never(format!("{}: {why}", one.addr())),
                    other => Wrong::Passing(Error::Unavailable(format!("{}: {other}", one.addr()))),
                })
            };
            let (place, found) = side_by_side(those.len(), first.load(Ordering::Relaxed), BOUND, ask).await?;
            first.store(place, Ordering::Relaxed);
            Ok(found)
        }
    }
}

/// Resolves a host to its addresses. Each is a server that may be silent, so the choice is not left to
/// the client library. `None` stands for a Unix socket.
pub(super) async fn addresses(info: &ConnectionInfo) -> Result<Vec<Option<SocketAddr>>, Wrong> {
    let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = info.addr() else {
        return Ok(vec![None]);
    };
    let found = lookup_host((host.as_str(), *port)).await;
    let found =
        found.map_err(|error| Wrong::Passing(Error::Unavailable(format!("{}: {error}", info.addr()))))?;
    let mut all: Vec<_> = found.map(Some).collect();
    // A name server returns them in another order each time.
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

async fn in_cluster(seed: &ConnectionInfo, key: &str) -> Result<ConnectionInfo, RedisError> {
    let mut connection = open(seed).await?;
    let slot: u16 = ask(&mut connection, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await?;
    // First and last slot, then the primary's host and port, then its replicas.
    let rows: Vec<Vec<Value>> = ask(&mut connection, cmd("CLUSTER").arg("SLOTS")).await?;
    for row in rows {
        let [first, last, primary, ..] = &row[..] else { continue };
        let (first, last): (u16, u16) =
            (redis::from_redis_value_ref(first)?, redis::from_redis_value_ref(last)?);
        if !(first..=last).contains(&slot) {
            continue;
        }
        let Value::Array(primary) = primary else { continue };
        let [host, port, ..] = &primary[..] else { continue };
        let host: Option<String> = redis::from_redis_value_ref(host)?;
        // A node that does not know its own address has the one it was reached at.
        let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| host_of(seed.addr()));
        let port = redis::from_redis_value_ref(port)?;
        return Ok(seed.clone().set_addr(at(seed.addr(), host, port)));
    }
    Err((redis::ErrorKind::Io, "no server has the slot of this fleet's keys").into())
}

async fn by_sentinel(
    sentinel: &ConnectionInfo,
    name: &str,
    node: &ConnectionInfo,
) -> Result<ConnectionInfo, RedisError> {
    // Sentinels have users of their own, and most have none: the password is the primary's, and is
    // tried here only if one is required.
    let bare = redis::RedisConnectionInfo::default()
        .set_protocol(sentinel.redis_settings().protocol())
        .set_skip_set_lib_name();
    let mut command = cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let first = async {
        let mut connection = open(&sentinel.clone().set_redis_settings(bare)).await?;
        ask::<Option<(String, u16)>>(&mut connection, &command).await
    };
    let found = match first.await {
        Err(error) if matches!(fault::judge(&error).0, Error::Refused(_)) => {
            let mut connection = open(sentinel).await?;
            ask(&mut connection, &command).await?
        }
        other => other?,
    };
    let Some((host, port)) = found else {
        let text = format!("it watches no primary called {name:?}");
        return Err((redis::ErrorKind::InvalidClientConfig, "unknown to the sentinel", text).into());
    };
    Ok(node.clone().set_addr(at(sentinel.addr(), host, port)))
}

async fn open(info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(BOUND)).set_response_timeout(Some(BOUND));
    Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<T, RedisError> {
    command.query_async(connection).await
}

/// The address, with or without TLS as in `like`.
fn at(like: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

fn host_of(addr: &ConnectionAddr) -> String {
    match addr {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        other => other.to_string(),
    }
}
