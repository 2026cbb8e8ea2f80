//! Whether what the settings allow fits into the file descriptors that the process may have. Pure:
//! what the system allows is handed in.
//!
//! Without descriptors nothing works: no accept, no fetch, no file of the body store. So the limits
//! together are kept below the descriptors that there are: then the newest connection is refused, and
//! all that is under way goes on.

use super::Settings;
use super::problem::Problem;
use crate::upstream;

/// The limits of what takes descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Connections of clients.
    pub connections: usize,
    /// Connections of operators.
    pub admin: usize,
    /// Exchanges with each upstream; they have some connections more (`SPARE`).
    pub upstreams: Vec<usize>,
}

/// Descriptors for the process itself: stores, files of bodies, listeners, name look-ups, the runtime,
/// and on each port the connection that is refused.
const OWN: usize = 194;
/// One spare connection for this number of exchanges of an upstream: connections that are idle, or that
/// were begun for a request that then took another.
const EXCHANGES_A_SPARE: usize = 8;
/// Further spare connections of each upstream.
const SPARE: usize = 2;
/// The fewest connections of operators: a probe, a scrape, a person, and one more.
const FEWEST_ADMIN: usize = 4;

// === impl Places ===

impl Places {
    /// The limits that fit under a limit of descriptors; unchanged if all fit, or if there is no limit.
    ///
    /// Otherwise the descriptors are shared out. At most a quarter is for the process itself, and a
    /// sixteenth for operators. Of the rest, upstreams get a third, or what clients leave if that is more:
    /// a connection can be answered from memory, but a fetch is of no use without a client. Each limit
    /// stays at least one.
    #[must_use]
    pub fn within(&self, limit: Option<u64>) -> Self {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return self.clone() };
        let fetches =
            self.upstreams.iter().fold(0, |sum: usize, one| sum.saturating_add(connections_of(*one)));
        let all = [self.admin, self.connections, fetches].iter().fold(OWN, |sum, n| sum.saturating_add(*n));
        if all <= limit {
            return self.clone();
        }
        let admin = self.admin.min((limit / 16).max(FEWEST_ADMIN));
        let rest = limit.saturating_sub(OWN.min(limit / 4)).saturating_sub(admin);
        let left = rest.saturating_sub(self.connections);
        let of_fetches = fetches.min(left.max(rest / 3));
        let share =
            |one: &usize| exchanges_of(connections_of(*one).saturating_mul(of_fetches) / fetches.max(1));
        Self {
            connections: self.connections.min(rest.saturating_sub(of_fetches)).max(1),
            admin,
            upstreams: self.upstreams.iter().map(|one| share(one).max(1)).collect(),
        }
    }
}

/// The most connections that this number of exchanges has.
fn connections_of(exchanges: usize) -> usize {
    exchanges.saturating_add(exchanges / EXCHANGES_A_SPARE).saturating_add(SPARE)
}

/// The most exchanges that this number of connections is enough for.
fn exchanges_of(connections: usize) -> usize {
    let shared = connections.saturating_sub(SPARE);
    shared - shared.saturating_add(1) / (EXCHANGES_A_SPARE + 1)
}

// === impl Settings ===

impl Settings {
    /// Lowers the limits that do not fit into this number of file descriptors, and warns of each.
    pub fn fit_into(&mut self, limit: Option<u64>) {
        let origins = self.origins();
        let used = |name: &str| self.routes.iter().any(|route| route.route.upstream == name);
        let origins: Vec<(String, upstream::Settings)> =
            origins.into_iter().filter(|(name, _)| used(name)).collect();
        let wanted = Places {
            connections: self.server.max_connections,
            admin: self.admin.max_connections,
            upstreams: origins.iter().map(|(_, origin)| origin.most_here()).collect(),
        };
        let fit = wanted.within(limit);
        let Some(limit) = limit.filter(|_| fit != wanted) else { return };
        let mut warn = |key: String, value: usize, lowered: usize| {
            if lowered < value {
                let reason = format!(
                    "does not fit into the {limit} file descriptors that this process may have (ulimit -n, \
                     LimitNOFILE): {lowered} in force"
                );
                let value = value.to_string();
                self.warnings.push(Problem { file: None, line: None, key, value, reason });
            }
        };
        warn("server.max_connections".to_owned(), wanted.connections, fit.connections);
        warn("admin.max_connections".to_owned(), wanted.admin, fit.admin);
        for (place, (name, origin)) in origins.iter().enumerate() {
            // A route may name its upstream by a URL, and that may have a password in it.
            let key = if self.upstreams.contains_key(name) { name.as_str() } else { &origin.url.to_string() };
            let key = format!("upstreams.{key}.max_concurrent");
            warn(key, wanted.upstreams[place], fit.upstreams[place]);
        }
        self.server.max_connections = fit.connections;
        self.admin.max_connections = fit.admin;
        for ((name, _), most) in origins.into_iter().zip(fit.upstreams) {
            match self.upstreams.get_mut(&name) {
                Some(upstream) => upstream.max_concurrent = upstream.max_concurrent.min(most),
                None => _ = self.most.insert(name, most),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, admin: usize, upstreams: &[usize]) -> Places {
        Places { connections, admin, upstreams: upstreams.to_vec() }
    }

    #[test]
    fn what_fits_stays_and_what_does_not_is_shared_out() {
        let defaults = places(10_000, 64, &[1024]);
        for (wanted, limit, fit) in [
            (&defaults, None, defaults.clone()),
            (&defaults, Some(u64::MAX), defaults.clone()),
            (&defaults, Some(11_412), defaults.clone()),
            (&defaults, Some(11_411), places(9_999, 64, &[1024])),
            (&defaults, Some(4_096), places(2_684, 64, &[1024])),
            (&defaults, Some(1_024), places(511, 64, &[225])),
            (&defaults, Some(256), places(118, 16, &[50])),
            (&defaults, Some(64), places(30, 4, &[11])),
            (&places(10_000, 64, &[1024, 3072]), Some(1_024), places(511, 64, &[55, 168])),
            // If one side needs little it gets that, and the other side gets the rest.
            (&places(100, 64, &[5_000]), Some(1_024), places(100, 64, &[591])),
            (&places(10_000, 64, &[10]), Some(1_024), places(753, 64, &[10])),
            (&places(10_000, 2, &[]), Some(1_024), places(828, 2, &[])),
            // No limit becomes 0, however few descriptors there are.
            (&defaults, Some(0), places(1, 4, &[1])),
            (&places(10, 64, &[1, 1, 1, 1000]), Some(100), places(10, 6, &[1, 1, 1, 50])),
        ] {
            assert_eq!(wanted.within(limit), fit, "{wanted:?} {limit:?}");
        }
    }

    #[test]
    fn exchanges_are_as_many_as_have_room_for_their_connections() {
        for room in 0..5_000 {
            let fit = exchanges_of(room);
            assert!(fit == 0 || connections_of(fit) <= room, "{room}: {fit}");
            assert!(connections_of(fit + 1) > room, "{room}: {fit}");
        }
    }

    #[test]
    fn what_is_shared_out_is_never_more_than_there_is_or_than_was_wanted() {
        for limit in (64..30_000).step_by(37) {
            for connections in [1, 100, 10_000, 100_000] {
                for upstreams in [&[1024][..], &[], &[1, 1024, 4096], &[100_000]] {
                    let wanted = places(connections, 64, upstreams);
                    let fit = wanted.within(Some(limit));
                    let fetches: usize = fit.upstreams.iter().map(|one| connections_of(*one)).sum();
                    let sum = fit.connections + fit.admin + fetches;
                    // Each upstream that would have got none has one.
                    let few = upstreams.len() * connections_of(1);
                    assert!(sum as u64 <= limit + few as u64, "{wanted:?} {limit}: {fit:?}");
                    assert!(fit.connections <= connections && fit.admin <= 64);
                    assert!(fit.upstreams.iter().zip(upstreams).all(|(fit, wanted)| fit <= wanted));
                }
            }
        }
    }
}
