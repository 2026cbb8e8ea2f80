//! A front before several instances that has them take turns, request by request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::RequestFacts;
use crate::support::{Proxy, until};

/// The longest head that a client of the suite sends is a small part of this.
const MOST: usize = 64 << 10;

/// The front. Gone with this value.
pub struct Turns {
    pub port: u16,
    given: Arc<Mutex<Given>>,
    _serving: JoinSet<()>,
}

/// What was given to whom.
struct Given {
    instances: Vec<SocketAddr>,
    admins: Vec<SocketAddr>,
    /// Whose turn it is, for each case.
    next: HashMap<Vec<u8>, usize>,
    /// How many requests each was given.
    counts: Vec<usize>,
}

// === impl Turns ===

impl Turns {
    /// Before these. Requests of one case take them in turn, and each case begins with the one that
    /// the case before did not begin with.
    pub async fn of(instances: &[Proxy]) -> Self {
        let admins = instances.iter().map(|instance| instance.admin).collect();
        let instances: Vec<_> = instances.iter().map(|instance| instance.at).collect();
        let counts = vec![0; instances.len()];
        let given = Arc::new(Mutex::new(Given { instances, admins, next: HashMap::new(), counts }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut serving = JoinSet::new();
        let turns = given.clone();
        serving.spawn(async move {
            let mut requests = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                requests.spawn(carry(client, turns.clone()));
            }
        });
        Self { port, given, _serving: serving }
    }

    /// How many requests each instance was given.
    pub fn counts(&self) -> Vec<usize> {
        self.given.lock().unwrap().counts.clone()
    }
}

// === impl Given ===

impl Given {
    /// Whose turn it is.
    fn take(&mut self, case: &[u8]) -> SocketAddr {
        let (cases, many) = (self.next.len(), self.instances.len());
        let next = self.next.entry(case.to_owned()).or_insert(cases);
        let nth = *next % many;
        *next += 1;
        self.counts[nth] += 1;
        self.instances[nth]
    }
}

/// The case that a request is of, by its first line: `GET /test/CASE HTTP/1.1`, or of `/config` or
/// `/state`.
fn case(line: &[u8]) -> &[u8] {
    line.split(|byte| b"/? ".contains(byte)).nth(3).unwrap_or_default()
}

/// Waits until no instance fetches anything for a case. A request with credentials neither leads nor
/// follows: it is answered from what is stored, and another instance can tell it of nothing before
/// that is so.
async fn stored(admins: &[SocketAddr], case: &[u8]) {
    let case = String::from_utf8_lossy(case);
    for admin in admins {
        until("what was fetched to be stored", async || {
            let flights = RequestFacts::new(*admin, "GET", "/v1/flights").host("localhost").send().await;
            (!flights.text().contains(&*case)).then_some(())
        })
        .await;
    }
}

/// One request and its response; the connection ends with it, so the next request is the next
/// one's.
async fn carry(mut client: TcpStream, given: Arc<Mutex<Given>>) {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert!(head.len() < MOST, "a head without an end");
        if client.read_buf(&mut head).await.is_ok_and(|len| len > 0) {
            continue;
        }
        return;
    };
    let lines = head[..end].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let case = case(lines.clone().next().unwrap());
    let named = |line: &[u8], name: &[u8]| line.to_ascii_lowercase().starts_with(name);
    if lines.clone().any(|line| named(line, b"cookie:") || named(line, b"authorization:")) {
        let admins = given.lock().unwrap().admins.clone();
        stored(&admins, case).await;
    }
    let to = given.lock().unwrap().take(case);
    let mut lines: Vec<&[u8]> = lines.filter(|line| !named(line, b"connection:")).collect();
    lines.push(b"connection: close\r\n\r\n");
    let Ok(mut instance) = TcpStream::connect(to).await else { return };
    let sent = [&lines.join(&b"\r\n"[..]), &head[end + 4..]].concat();
    if instance.write_all(&sent).await.is_ok() {
        // Either end may break off.
        let _ = copy_bidirectional(&mut client, &mut instance).await;
    }
}
