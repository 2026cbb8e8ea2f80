//! The product in front of an origin of HTTP/2: what broke off is nobody's hit.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dustgate::upstream::HttpVersion::Two;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ground::Origin;

struct Proxy {
    child: Child,
    at: SocketAddr,
    _dir: TempDir,
}

impl Proxy {
    async fn before(origin: &Origin) -> Self {
        let dir = TempDir::new().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (at, admin) = (free(), free());
        let settings = format!(
            "[server]\nlisten = \"{at}\"\n[admin]\nlisten = \"{admin}\"\n[dust]\nurl = \"embedded:\"\n\
             [bodies]\nurl = \"memory:\"\n[upstreams.origin]\nurl = \"{}\"\nhttp = \"2\"\n\
             [[routes]]\nname = \"all\"\npath = \"/*\"\nupstream = \"origin\"\n",
            origin.url()
        );
        let file = dir.path().join("dustgate.toml");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dustgate"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DUSTGATE_")) {
            command.env_remove(name);
        }
        let child = command.arg("serve").arg("-c").arg(file).stdout(Stdio::null()).spawn().unwrap();
        let proxy = Self { child, at, _dir: dir };
        for _ in 0..1000 {
            if TcpStream::connect(at).await.is_ok() {
                return proxy;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the product does not listen");
    }

    /// All that comes on a connection of its own, until that ends or breaks.
    async fn get(&self, target: &str) -> String {
        let mut socket = TcpStream::connect(self.at).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _broken = socket.read_to_end(&mut all).await;
        String::from_utf8(all).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_half_that_was_reset_with_no_error_is_broken_off_and_not_stored() {
    let origin = Origin::python(&[]);
    let proxy = Proxy::before(&origin).await;
    for (nth, length) in ["none", "right"].into_iter().enumerate() {
        let target = format!("/?id=half{nth}&do=reset.0&at=middle&pause=50&size=20000&length={length}");
        for _ in 0..3 {
            let came = proxy.get(&target).await;
            // Broken off, or an error: a failure is shared for a moment.
            let clean = came.ends_with("\r\n0\r\n\r\n") || came.matches('x').count() >= 20_000;
            assert!(!came.starts_with("HTTP/1.1 200 OK\r\n") || !clean, "it does not end cleanly");
            assert!(!came.contains("; hit"), "{came}");
        }
        assert!(origin.count(&origin.client(Two), &format!("half{nth}")).await > 0);
    }
    // What is whole is stored.
    for _ in 0..3 {
        let came = proxy.get("/?id=whole&length=none").await;
        assert!(came.contains("xxx"), "{came}");
    }
    assert_eq!(origin.count(&origin.client(Two), "whole").await, 1);
}
