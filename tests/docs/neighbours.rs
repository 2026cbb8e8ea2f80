//! Files of other programs on the pages: those programs accept them, and the one for HAProxy loses no request
//! while the instances behind it are restarted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::blocks::{Kind, blocks_of};
use super::fleet::{address, connect, free_port};
use super::pages::{page, pages};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dustgate");
const PAGE: &str = "docs/proxies.md";
/// The instances that the page's file for HAProxy names.
const SERVERS: [(&str, &str); 3] = [("a", "10.0.0.11"), ("b", "10.0.0.12"), ("c", "10.0.0.13")];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that Debian puts where only root looks for it.
fn program(name: &str) -> Command {
    let there = Path::new("/usr/sbin").join(name);
    Command::new(if there.exists() { there } else { name.into() })
}

/// The file with ports and certificates that are here.
fn here(text: &str, dir: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [("site.crt", &cert), ("site.key", &key), ("site.pem", &format!("{cert}{key}"))] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let (plain, tls) = (free_port().to_string(), free_port().to_string());
    let text = text.replace("/etc/tls", dir.to_str().unwrap());
    let text = text.replace("listen 443", &format!("listen 127.0.0.1:{tls}"));
    let text = text.replace("listen 80;", &format!("listen 127.0.0.1:{plain};"));
    text.replace("bind :443", &format!("bind 127.0.0.1:{tls}"))
        .replace("bind :80", &format!("bind 127.0.0.1:{plain}"))
}

fn check(command: &mut Command, place: &str) {
    let said = command.output().unwrap_or_else(|error| panic!("{place}: {command:?}: {error}"));
    assert!(said.status.success(), "{place}:\n{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn other_programs_accept_their_files() {
    let mut count = 0;
    for page in pages() {
        for kind in [Kind::Nginx, Kind::Haproxy] {
            for block in blocks_of(&page, kind) {
                let dir = tempfile::tempdir().unwrap();
                let file = dir.path().join("file");
                let text = here(&block.text, dir.path());
                count += 1;
                if kind == Kind::Haproxy {
                    std::fs::write(&file, text).unwrap();
                    check(program("haproxy").args(["-c", "-f"]).arg(&file), &block.place);
                    continue;
                }
                // What the distribution's own file has around it.
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let paths: String = temporary.map(|name| format!("{name}_temp_path {name};\n")).concat();
                let around = format!(
                    "pid pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
                );
                std::fs::write(&file, around).unwrap();
                check(program("nginx").args(["-t", "-p"]).arg(dir.path()).arg("-c").arg(&file), &block.place);
            }
        }
    }
    assert!(count >= 2, "the page has files for nginx and HAProxy");
}

/// Three instances on one Redis, the origin that counts, and HAProxy in front of them.
struct Fleet {
    instances: Vec<(Running, u16, u16)>,
    redis: u16,
    origin: u16,
    balancer: u16,
    /// What HAProxy says of its servers.
    said: Receiver<String>,
    _others: Vec<Running>,
    _dir: tempfile::TempDir,
}

impl Fleet {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (redis, origin, balancer) = (free_port(), free_port(), free_port());
        let server = std::env::var("DUSTGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let mut store = Command::new(server);
        store
            .args(["--port", &redis.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path());
        let mut counting = Command::new(PROGRAM);
        counting.args(["demo", "--origin-only", &format!("127.0.0.1:{origin}"), "--delay-ms", "20"]);
        let quiet = |command: &mut Command| {
            Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        };
        let mut others = vec![quiet(&mut store), quiet(&mut counting)];
        connect(redis);
        connect(origin);
        let instances: Vec<_> = SERVERS.iter().map(|_| serve(0, 0, redis, origin)).collect();
        let blocks = blocks_of(&page(PAGE), Kind::Haproxy);
        let block = blocks.iter().find(|block| block.text.contains("httpchk")).unwrap();
        let mut text = block.text.replace("bind :80", &format!("bind 127.0.0.1:{balancer}"));
        for ((_, host), (_, data, admin)) in SERVERS.iter().zip(&instances) {
            let shown = format!("{host}:8080 port 8081");
            assert!(text.contains(&shown), "{}: {shown}", block.place);
            text = text.replace(&shown, &format!("127.0.0.1:{data} port {admin}"));
        }
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, here(&text, dir.path())).unwrap();
        let mut proxy = program("haproxy").arg("-f").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(proxy.stderr.take().unwrap()).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        others.push(Running(proxy));
        connect(balancer);
        Self { instances, redis, origin, balancer, said, _others: others, _dir: dir }
    }

    /// Ends an instance as its supervisor does, starts it again, and waits until requests go there.
    fn restart(&mut self, at: usize) {
        let (running, data, admin) = &mut self.instances[at];
        let (data, admin) = (*data, *admin);
        let kill = format!("kill -TERM {}", running.0.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "everything under way has ended");
        self.instances[at] = serve(data, admin, self.redis, self.origin);
        let up = format!("Server dustgate/{} is UP", SERVERS[at].0);
        let patience = Duration::from_mins(1);
        while !self.said.recv_timeout(patience).unwrap_or_else(|_| panic!("\"{up}\"")).contains(&up) {}
    }
}

fn serve(data: u16, admin: u16, redis: u16, origin: u16) -> (Running, u16, u16) {
    let mut instance = Command::new(PROGRAM);
    instance
        .args(["serve", "-c", "config/fleet.toml"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("ADMIN_TOKEN", "demo")
        // As text it says where it listens.
        .env("DUSTGATE_LOG__FORMAT", "text")
        .env("DUSTGATE_SERVER__LISTEN", format!("127.0.0.1:{data}"))
        .env("DUSTGATE_ADMIN__LISTEN", format!("127.0.0.1:{admin}"))
        // As much longer than HAProxy takes to notice as on the page, and not a second more.
        .env("DUSTGATE_SERVER__DRAIN_DELAY", "2s")
        .env("DUSTGATE_DUST__URL", format!("redis://127.0.0.1:{redis}"))
        .env("DUSTGATE_UPSTREAMS__ORIGIN__URL", format!("http://127.0.0.1:{origin}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = instance.spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut port = |before| {
        let at = address(&mut errors, before);
        at.rsplit(':').next().unwrap().parse().unwrap()
    };
    let (data, admin) = (port("listening on http://"), port("admin on http://"));
    std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
    (Running(child), data, admin)
}

/// Asks once, and returns what was wrong with the answer.
fn ask(port: u16, target: &str) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(told)?;
    write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").map_err(told)?;
    let mut said = String::new();
    stream.read_to_string(&mut said).map_err(told)?;
    if said.starts_with("HTTP/1.1 200") && said.ends_with(&format!("of {target}\n")) {
        Ok(())
    } else {
        Err(said)
    }
}

#[test]
fn a_rolling_restart_behind_haproxy_loses_no_request() {
    let mut fleet = Fleet::start();
    let (balancer, over) = (fleet.balancer, AtomicBool::new(false));
    let (asked, lost) = std::thread::scope(|scope| {
        let asks = |client: u32| {
            let (over, mut asked, mut lost) = (&over, 0, Vec::new());
            move || {
                while !over.load(Ordering::Relaxed) {
                    asked += 1;
                    // Some are hits, and some have to be fetched.
                    let page = if asked % 2 == 0 { asked } else { asked % 10 };
                    lost.extend(ask(balancer, &format!("/slow?{client}-{page}")).err());
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                (asked, lost)
            }
        };
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(asks(client))).collect();
        for at in 0..SERVERS.len() {
            fleet.restart(at);
        }
        over.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().map(|client| client.join().unwrap());
        ended.fold((0, Vec::new()), |(asked, lost), (more, also)| (asked + more, [lost, also].concat()))
    });
    assert!(asked > 100, "{asked} requests");
    assert!(lost.is_empty(), "{} of {asked}: {lost:?}", lost.len());
}
