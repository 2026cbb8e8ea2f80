//! Which version is spoken, and what the origin is called in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use dustgate::upstream::HttpVersion::{Auto, One, Two};
use dustgate::upstream::{Client, ErrorKind, HostRule, HttpVersion, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::ground::Came::{Nothing, Whole};
use super::ground::{Origin, client, get};
use super::nginx::Nginx;

/// A certificate for that name, and the authority that signed it.
fn certificate(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
    std::fs::write(dir.path().join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    dir
}

fn over_tls(nginx: &Nginx, dir: &TempDir, http: HttpVersion, change: impl FnOnce(&mut Settings)) -> Client {
    client(&format!("https://localhost:{}", nginx.port), http, |settings| {
        settings.tls.ca = Some(dir.path().join("ca.pem"));
        change(settings);
    })
}

async fn said(client: &Client) -> String {
    let seen = get(client, "/").await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    String::from_utf8(seen.body).unwrap()
}

async fn tls(listen: &str, dir: &TempDir) -> Nginx {
    let at = dir.path().display();
    Nginx::start(listen, &format!("ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;")).await
}

#[tokio::test]
async fn http_1_1_is_spoken_unless_the_setting_says_otherwise() {
    let dir = certificate("localhost");
    let nginx = tls("ssl http2", &dir).await;
    let host = format!("localhost:{}", nginx.port);
    assert_eq!(Settings::new("https://x").http, One);
    for (http, version) in [(One, "HTTP/1.1"), (Two, "HTTP/2.0"), (Auto, "HTTP/2.0")] {
        let client = over_tls(&nginx, &dir, http, |_| {});
        assert_eq!(said(&client).await, format!("GET {host} {version}"), "{http:?}");
    }
}

#[tokio::test]
async fn auto_is_what_the_origin_chooses_and_2_is_no_offer() {
    let dir = certificate("localhost");
    let nginx = tls("ssl", &dir).await;
    let host = format!("localhost:{}", nginx.port);
    let auto = over_tls(&nginx, &dir, Auto, |_| {});
    for _ in 0..3 {
        assert_eq!(said(&auto).await, format!("GET {host} HTTP/1.1"));
    }
    let seen = get(&over_tls(&nginx, &dir, Two, |_| {}), "/").await;
    assert_eq!(seen.came, Nothing(ErrorKind::Tls), "{}", seen.detail);
    // Without TLS nobody chooses.
    let plain = Nginx::start("", "").await;
    let url = format!("http://localhost:{}", plain.port);
    assert_eq!(said(&client(&url, Auto, |_| {})).await, format!("GET localhost:{} HTTP/1.1", plain.port));
    let seen = get(&client(&url, Two, |_| {}), "/").await;
    assert_eq!(seen.came, Nothing(ErrorKind::Protocol), "{}", seen.detail);
}

/// Host and the certificate's name are as set over HTTP/2, too.
#[tokio::test]
async fn the_authority_is_the_host_that_is_set() {
    let dir = certificate("proves.example");
    let nginx = tls("ssl http2", &dir).await;
    for http in [One, Two, Auto] {
        let named = over_tls(&nginx, &dir, http, |settings| {
            settings.host = HostRule::Name("name.example".into());
            settings.tls.server_name = Some("proves.example".into());
        });
        let version = if http == One { "HTTP/1.1" } else { "HTTP/2.0" };
        assert_eq!(said(&named).await, format!("GET name.example {version}"), "{http:?}");
        let other = over_tls(&nginx, &dir, http, |_| {});
        assert_eq!(get(&other, "/").await.came, Nothing(ErrorKind::Tls), "{http:?}");
        let anybody = over_tls(&nginx, &dir, http, |settings| settings.tls.insecure = true);
        assert!(said(&anybody).await.ends_with(version), "{http:?}");
    }
}

/// A port behind which one origin is now and another then.
async fn door(to: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to.load(Ordering::SeqCst);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

/// An origin may be replaced by one that speaks the other version.
#[tokio::test]
async fn auto_goes_along_when_the_origin_changes_its_version() {
    let dir = certificate("localhost");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let new = Origin::python(&["--tls", cert.to_str().unwrap(), key.to_str().unwrap()]);
    let old = tls("ssl", &dir).await;
    let to = Arc::new(AtomicU16::new(new.port));
    let port = door(to.clone()).await;
    let client = client(&format!("https://localhost:{port}"), Auto, |settings| {
        settings.tls.ca = Some(dir.path().join("ca.pem"));
    });
    assert_eq!(get(&client, "/?id=a&size=7").await.body, b"xxxxxxx");
    to.store(old.port, Ordering::SeqCst);
    // The one of HTTP/2 closes in the midst of a request; whatever comes next is of HTTP/1.1.
    let seen = get(&client, "/?id=b&do=close&at=before").await;
    assert_eq!(seen.came, Whole, "{}", seen.detail);
    assert_eq!(seen.body, format!("GET localhost:{port} HTTP/1.1").into_bytes());
    assert_eq!(said(&client).await, format!("GET localhost:{port} HTTP/1.1"));
    // And back, as soon as it is asked again.
    to.store(new.port, Ordering::SeqCst);
    drop(old);
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(11)).await;
    tokio::time::resume();
    let seen = get(&client, "/?id=c&size=7").await;
    assert_eq!((seen.came, &*seen.body), (Whole, &b"xxxxxxx"[..]), "{}", seen.detail);
}
