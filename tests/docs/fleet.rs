//! The fleet of the pages without containers: a Redis with the rights that they give, three instances
//! with `config/fleet.toml`, the origin that counts.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dustgate");
/// What is started is asked so often, ten times a second, before it counts as not started.
const TRIES: u32 = 600;

pub struct Fleet {
    children: Vec<Child>,
    redis: u16,
    /// What stands on the pages, and where that is here.
    ports: Vec<(String, String)>,
    /// Removed with it.
    dir: tempfile::TempDir,
}

impl Fleet {
    /// Starts it; `acl` makes the store's user.
    pub fn start(acl: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (redis, origin) = (free_port(), free_port());
        let mut fleet = Self { children: Vec::new(), redis, ports: Vec::new(), dir };
        let path = fleet.dir.path().to_owned();
        let server = std::env::var("DUSTGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let mut store = Command::new(server);
        store.args(["--port", &redis.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&path);
        fleet.spawn(store.stdout(Stdio::null()));
        // The page's line, for the prefix of `config/fleet.toml`.
        let user = acl.trim().replace("{dustgate}", "{fleet}");
        tell(redis, &format!("{user}\r\n"));
        let mut counting = Command::new(PROGRAM);
        counting.args(["demo", "--origin-only", &format!("127.0.0.1:{origin}"), "--delay-ms", "300"]);
        fleet.spawn(counting.stdout(Stdio::null()).stderr(Stdio::null()));
        connect(origin);
        for (n, (data, admin)) in
            [("8080", "9080"), ("8081", "9081"), ("8082", "9082")].into_iter().enumerate()
        {
            let mut instance = Command::new(PROGRAM);
            instance
                .args(["serve", "-c", "config/fleet.toml"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .env("ADMIN_TOKEN", "demo")
                .env("DUSTGATE_LOG__FORMAT", "text")
                .env("DUSTGATE_SERVER__LISTEN", "127.0.0.1:0")
                .env("DUSTGATE_ADMIN__LISTEN", "127.0.0.1:0")
                .env("DUSTGATE_DUST__URL", format!("redis://dustgate:password@127.0.0.1:{redis}"))
                .env("DUSTGATE_UPSTREAMS__ORIGIN__URL", format!("http://127.0.0.1:{origin}"));
            let child = fleet.spawn(instance.stdout(Stdio::null()).stderr(Stdio::piped()));
            let mut errors = BufReader::new(child.stderr.take().unwrap());
            let (data_at, admin_at) =
                (address(&mut errors, "listening on http://"), address(&mut errors, "admin on http://"));
            // Read on, so that it never waits for a reader.
            std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
            fleet.ports.push((data.to_owned(), port(&data_at, n)));
            fleet.ports.push((admin.to_owned(), port(&admin_at, n)));
        }
        fleet
    }

    /// Runs a command of a page, on the ports that are here; what it wrote.
    pub fn run(&self, command: &str) -> String {
        let here =
            self.ports.iter().fold(command.to_owned(), |text, (shown, here)| text.replace(shown, here));
        let output = Command::new("timeout")
            .args(["60", "bash", "-c", &format!("exec 2>&1; {here}")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The names of all that the store has.
    pub fn keys(&self) -> Vec<String> {
        let mut stream = connect(self.redis);
        stream.write_all(b"KEYS *\r\nQUIT\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        // An array of texts, each behind its length: `*2`, `$1`, `a`, `$1`, `b`, and the farewell.
        let kept = |line: &&str| !line.starts_with(['*', '$', '+']);
        said.split("\r\n").filter(kept).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn spawn(&mut self, command: &mut Command) -> &mut Child {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.children.push(child);
        self.children.last_mut().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn connect(port: u16) -> TcpStream {
    let mut last = None;
    for _ in 0..TRIES {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => last = Some(error),
        }
        // A pause between two looks, not a time that anything is expected to take.
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    panic!("port {port}: {last:?}");
}

/// Gives the store a command as a line, and hears OK.
fn tell(port: u16, line: &str) {
    let mut stream = connect(port);
    stream.write_all(line.as_bytes()).unwrap();
    let mut said = [0; 5];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(std::str::from_utf8(&said), Ok("+OK\r\n"), "{line}");
}

pub fn address(errors: &mut impl BufRead, before: &str) -> String {
    let mut line = String::new();
    while errors.read_line(&mut line).unwrap() > 0 {
        if let Some(found) = line.trim_end().strip_prefix(before) {
            return found.to_owned();
        }
        line.clear();
    }
    panic!("\"{before}…\" was expected, and it ended");
}

fn port(address: &str, n: usize) -> String {
    let (_, port) = address.rsplit_once(':').unwrap_or_else(|| panic!("instance {n} is at {address}"));
    port.to_owned()
}
