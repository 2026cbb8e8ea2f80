//! The sockets that a process serves on. It binds them itself, or a service manager has done so before it
//! started.

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket};

use super::BuildError;
use crate::config::Settings;
use crate::units::Socket;

/// How many connections wait in the kernel: a herd arrives faster than one loop accepts, and is not reset.
const BACKLOG: u32 = 4096;
/// The variable with the names of the sockets that are handed over.
const NAMES: &str = "LISTEN_FDNAMES";
/// What a socket is called that has no name (sd_listen_fds_with_names(3)).
const NAMELESS: &str = "unknown";

/// The bound sockets. They are bound first: a port that is taken shows before anything else happens.
pub struct Sockets {
    pub(super) data: Vec<TcpListener>,
    pub(super) admin: TcpListener,
}

/// The sockets that a service manager has handed over to this process, each with its name.
pub struct Handed {
    sockets: ListenFd,
    names: Vec<String>,
}

// === impl Handed ===

impl Handed {
    /// Those that the environment tells of; without a service manager there are none. They can be taken
    /// once.
    pub fn from_env() -> Self {
        let sockets = ListenFd::from_env();
        let named = std::env::var(NAMES).unwrap_or_default();
        let mut names: Vec<_> = named.split(':').map(str::to_owned).take(sockets.len()).collect();
        names.resize(sockets.len(), NAMELESS.to_owned());
        Self { sockets, names }
    }

    /// Takes all sockets of this name.
    fn take(&mut self, name: &str) -> io::Result<Vec<TcpListener>> {
        let mut taken = Vec::new();
        for (at, _) in self.names.iter().enumerate().filter(|(_, named)| *named == name) {
            if let Some(socket) = self.sockets.take_tcp_listener(at)? {
                socket.set_nonblocking(true)?;
                taken.push(TcpListener::from_std(socket)?);
            }
        }
        if taken.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, self.nothing()));
        }
        Ok(taken)
    }

    /// Says what there is instead of the name that is not there.
    fn nothing(&self) -> String {
        match self.names.as_slice() {
            [] => {
                "no socket was handed over; a service manager does that, such as systemd with a socket unit"
                    .to_owned()
            }
            names => format!("no socket of this name was handed over; there are: {}", names.join(", ")),
        }
    }
}

// === impl Sockets ===

impl Sockets {
    /// Binds the addresses that the settings name, and takes the sockets that are handed over.
    ///
    /// # Errors
    /// The first address or name that can't be listened on.
    pub fn bind(settings: &Settings, mut handed: Handed) -> Result<Self, BuildError> {
        let mut data = Vec::new();
        for socket in &settings.server.listen.0 {
            let bound = match socket {
                Socket::At(address) => listen(*address).map(|socket| vec![socket]),
                Socket::Handed(name) => handed.take(name),
            };
            data.extend(bound.map_err(|cause| failed("server.listen", socket.clone(), cause))?);
        }
        let at = settings.admin.listen.0;
        let admin = listen(at).map_err(|cause| failed("admin.listen", Socket::At(at), cause))?;
        Ok(Self { data, admin })
    }

    /// The data port's first address.
    pub fn data_address(&self) -> io::Result<SocketAddr> {
        self.data.first().map_or_else(|| Err(io::ErrorKind::NotFound.into()), TcpListener::local_addr)
    }

    /// All addresses of the data port.
    pub fn data_addresses(&self) -> Vec<SocketAddr> {
        self.data.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// The operator's port's address.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// All addresses of the data port, as they are told.
    pub(super) fn places(&self) -> Vec<String> {
        self.data_addresses().iter().map(ToString::to_string).collect()
    }
}

fn failed(setting: &'static str, address: Socket, cause: io::Error) -> BuildError {
    BuildError::Listen { setting, address, cause }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
