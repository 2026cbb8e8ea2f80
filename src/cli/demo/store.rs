//! Where the instances of a demo's fleet meet: a server of its own if one is installed, else this process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::clock::{Dice, SystemClock};
use crate::dust::{self, Dust as _, Embedded, Found, Opened};

/// The programs that are looked for, in this order.
const SERVERS: [&str; 2] = ["valkey-server", "redis-server"];
/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// The store of a demo's fleet.
pub(super) enum Store {
    /// A server that runs for this demo alone.
    Server(Box<Server>),
    /// The memory of this process, and why it is that.
    Here(Arc<Embedded>, String),
}

/// A server that runs for this demo alone. Dropped, it is killed.
pub(super) struct Server {
    program: &'static str,
    at: SocketAddr,
    child: Child,
}

// === impl Store ===

impl Store {
    /// Starts the first server that is installed. Without one, the instances share a store in this process.
    pub(super) async fn find() -> Self {
        let mut why = format!("neither {} is installed", SERVERS.join(" nor "));
        for program in SERVERS {
            match Server::start(program).await {
                Ok(server) => return Self::Server(Box::new(server)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => why = format!("{program} does not start: {error}"),
            }
        }
        Self::Here(Arc::new(Embedded::memory(Arc::new(SystemClock)).in_common()), why)
    }

    /// Its URL for settings.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Server(server) => format!("redis://{}", server.at),
            Self::Here(..) => dust::IN_MEMORY.to_owned(),
        }
    }

    /// The store for one more instance; none if it opens the store itself.
    pub(super) async fn opened(&self) -> Result<Option<Opened>, dust::Error> {
        let Self::Here(dust, _) = self else { return Ok(None) };
        let begins = dust.count() == 0;
        let id: Arc<str> = match dust.life(Some(&Dice::new().name())).await? {
            Some(id) => id,
            None => return Err(dust::Error::Unavailable("the store takes no id".into())),
        };
        let life = if begins { Found::Begins(id) } else { Found::Stands(id) };
        Ok(Some(Opened { dust: dust.clone(), life }))
    }

    /// What was found, in a sentence.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Server(server) => {
                let Server { program, at, child } = &**server;
                let id = child.id().map(|id| format!(", process {id}")).unwrap_or_default();
                format!("They meet in a {program} of their own at {at}{id}, which writes nothing to disk.")
            }
            Self::Here(_, why) => format!(
                "They meet in the memory of this process, because {why}. (A fleet of several processes needs one.)"
            ),
        }
    }
}

// === impl Server ===

impl Server {
    async fn start(program: &'static str) -> io::Result<Self> {
        // Free now, and most likely a moment later.
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let mut command = Command::new(program);
        command.args([
            "--port",
            &at.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        // A dump that lies in a directory of others must not be read.
        let nothing = format!("{}.rdb", Dice::new().name());
        command.args(["--maxmemory-policy", "noeviction", "--dbfilename", &nothing]);
        command.current_dir(std::env::temp_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that Ctrl-C does not end it before the instances.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let mut server = Self { program, at, child };
        match timeout(START, server.listens()).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("it does not listen")),
        }
    }

    async fn listens(&mut self) -> io::Result<()> {
        while TcpStream::connect(self.at).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it has ended ({status})")));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}
