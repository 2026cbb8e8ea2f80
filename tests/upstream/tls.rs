//! Who the origin proves to be.

use std::path::PathBuf;
use std::sync::Arc;

use dustgate::upstream::{ErrorKind, Framing, HostRule, HttpVersion, Shared};
use http::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{HandshakeKind, RootCertStore, ServerConfig};

use super::*;
use crate::support::Gate;
use crate::support::origin::Act::{Expect, Mute};
use crate::support::origin::{Heard, Wire, say, wait_at};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An authority, and what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, name: &str, alpn: &[&str], clients: bool) -> TlsAcceptor {
        let (cert, key) = self.sign(name);
        let chain = vec![CertificateDer::from(cert.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(self.issuer.der().to_vec())).unwrap();
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config).into()
    }
}

async fn origin(authority: &Authority, name: &str, clients: bool) -> Wire {
    Wire::tls(vec![vec![Expect, say(OK)]], authority.acceptor(name, &["http/1.1"], clients)).await
}

fn trusting(origin: &Wire, authority: &Authority, change: impl FnOnce(&mut Settings)) -> Client {
    client(&format!("https://localhost:{}", origin.address.port()), |settings| {
        settings.tls.ca = Some(authority.path("ca.pem"));
        change(settings);
    })
}

#[tokio::test]
async fn a_given_authority_is_trusted() {
    let authority = Authority::new();
    let mut origin = origin(&authority, "localhost", false).await;
    let response = get(&trusting(&origin, &authority, |_| {}), "/").await.unwrap();
    assert_eq!(read(response).await, ("ok".into(), None));
    assert!(origin.request().await.contains(&format!("host: localhost:{}\r\n", origin.address.port())));
}

#[tokio::test]
async fn another_authority_is_not() {
    let authority = Authority::new();
    let origin = origin(&authority, "localhost", false).await;
    let error = get(&trusting(&origin, &Authority::new(), |_| {}), "/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
    assert!(error.detail.contains("tls.ca names the file"), "{error}");
}

#[tokio::test]
async fn another_name_is_not() {
    let authority = Authority::new();
    let origin = origin(&authority, "other.example", false).await;
    let error = get(&trusting(&origin, &authority, |_| {}), "/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
    assert!(error.detail.contains("tls.server_name says"), "{error}");
}

#[tokio::test]
async fn unless_it_is_the_one_that_was_asked_for() {
    let authority = Authority::new();
    let mut origin = origin(&authority, "other.example", false).await;
    let client =
        trusting(&origin, &authority, |settings| settings.tls.server_name = Some("other.example".into()));
    assert_eq!(read(get(&client, "/x").await.unwrap()).await.0, "ok");
    let request = origin.request().await;
    assert!(request.contains(&format!("host: localhost:{}\r\n", origin.address.port())), "{request}");
}

#[tokio::test]
async fn insecure_trusts_anybody_and_only_when_set() {
    let authority = Authority::new();
    let origin = origin(&authority, "other.example", false).await;
    let client = client(&format!("https://{}", origin.address), |settings| settings.tls.insecure = true);
    assert_eq!(read(get(&client, "/").await.unwrap()).await.0, "ok");
}

#[tokio::test]
async fn a_certificate_of_our_own() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("client");
    std::fs::write(authority.path("cert.pem"), cert.pem()).unwrap();
    std::fs::write(authority.path("key.pem"), key.serialize_pem()).unwrap();
    let shown = origin(&authority, "localhost", true).await;
    let client = trusting(&shown, &authority, |settings| {
        settings.tls.cert = Some(authority.path("cert.pem"));
        settings.tls.key = Some(authority.path("key.pem"));
    });
    assert_eq!(read(get(&client, "/").await.unwrap()).await.0, "ok");

    let missed = origin(&authority, "localhost", true).await;
    let error = get(&trusting(&missed, &authority, |_| {}), "/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
}

#[tokio::test]
async fn clear_text_where_tls_was_due() {
    let authority = Authority::new();
    let origin = Wire::new(vec![vec![say("HTTP/1.1 400 Bad Request\r\n\r\n")]]).await;
    let error = get(&trusting(&origin, &authority, |_| {}), "/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Tls, "{error}");
    assert!(error.detail.contains("may be meant with http://"), "{error}");
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be() {
    let authority = Authority::new();
    std::fs::write(authority.path("junk.pem"), "junk").unwrap();
    let attempt = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::new("https://localhost");
        settings.tls.ca = Some(authority.path("ca.pem"));
        change(&mut settings);
        Client::new(settings).map(|_| ())
    };
    attempt(&|_| {}).unwrap();
    attempt(&|settings| settings.tls.ca = Some(authority.path("missing.pem"))).unwrap_err();
    attempt(&|settings| settings.tls.ca = Some(authority.path("junk.pem"))).unwrap_err();
    attempt(&|settings| settings.tls.cert = Some(authority.path("ca.pem"))).unwrap_err();
    attempt(&|settings| settings.tls.server_name = Some("127.0.0.1".into())).unwrap_err();
}

/// A request begins to connect, and gets another's connection that comes free meanwhile: that one
/// was used before, whatever becomes of the connection that nobody waits for any more.
#[tokio::test]
async fn a_connection_that_came_free_is_a_used_one() {
    let authority = Authority::new();
    let gate = Gate::shut();
    let scripts = vec![
        vec![Expect, say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"), wait_at(&gate), say("k"), Expect],
        vec![Mute],
        vec![Expect, say(OK)],
    ];
    let mut origin = Wire::tls(scripts, authority.acceptor("localhost", &["http/1.1"], false)).await;
    let client = trusting(&origin, &authority, |_| {});
    let first = get(&client, "/first").await.unwrap();
    origin.until(Heard::Connection).await;
    let meanwhile = async {
        origin.until(Heard::Connection).await;
        gate.open();
        assert_eq!(read(first).await.0, "ok");
    };
    let (second, ()) = tokio::join!(get(&client, "/second"), meanwhile);
    let second = second.unwrap();
    assert_eq!(second.timing.tries, 2);
    assert_eq!(read(second).await.0, "ok");
    let seen = origin.rest().into_iter().filter(|seen| matches!(seen, Heard::Request(_))).count();
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn h2_where_it_is_asked_for_and_both_speak_it() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2", "http/1.1"], false);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let stream = acceptor.accept(socket).await.unwrap();
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = hyper_util::rt::TokioIo::new(stream);
            let service =
                hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                    let said = format!("{} {:?}", request.uri(), request.headers().get("host"));
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(said))
                });
            tokio::spawn(async move {
                if h2 {
                    let builder =
                        hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                    let _ = builder.serve_connection(io, service).await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    let url = format!("https://localhost:{port}");
    let with = |host, http| {
        client(&url, |settings| {
            settings.tls.ca = Some(authority.path("ca.pem"));
            settings.host = host;
            settings.http = http;
        })
    };
    let response = get(&with(HostRule::Upstream, HttpVersion::Auto), "/x?y").await.unwrap();
    assert_eq!(response.version, Version::HTTP_2);
    assert!(matches!(response.framing, Framing::Length(_)));
    assert_eq!(read(response).await.0, format!("{url}/x?y None"));
    // A Host of its own is the authority.
    let response = get(&with(HostRule::Name("name.example".into()), HttpVersion::Two), "/x").await.unwrap();
    assert_eq!(response.version, Version::HTTP_2);
    assert_eq!(read(response).await.0, "https://name.example/x None");
    // Nobody has asked for more than HTTP/1.1.
    let response = get(&with(HostRule::Name("name.example".into()), HttpVersion::One), "/x").await.unwrap();
    assert_eq!(response.version, Version::HTTP_11);
    assert_eq!(read(response).await.0, "/x Some(\"name.example\")");
}

/// An origin that answers one request on each connection, and says whether each resumed another's session.
async fn telling(acceptor: TlsAcceptor) -> (u16, tokio::sync::mpsc::UnboundedReceiver<bool>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let kind = stream.get_ref().1.handshake_kind();
                let _ = tell.send(kind == Some(HandshakeKind::Resumed));
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(OK.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, told)
}

#[tokio::test]
async fn upstreams_of_the_same_settings_share_what_was_read_and_the_sessions() {
    let authority = Authority::new();
    let (port, mut resumed) = telling(authority.acceptor("localhost", &["http/1.1"], false)).await;
    let shared = Shared::default();
    let settings = || {
        let mut settings = Settings::new(format!("https://localhost:{port}"));
        settings.tls.ca = Some(authority.path("ca.pem"));
        settings
    };
    let one = Client::sharing(settings(), &shared).unwrap();
    std::fs::remove_file(authority.path("ca.pem")).unwrap();
    let two = Client::sharing(settings(), &shared).unwrap();
    Client::new(settings()).expect_err("a file that is not there any more");
    for (client, resumes) in [(&one, false), (&two, true), (&one, true)] {
        assert_eq!(read(get(client, "/").await.unwrap()).await.0, "ok");
        assert_eq!(resumed.recv().await, Some(resumes));
    }
}

#[tokio::test]
async fn what_one_upstream_takes_from_anybody_another_does_not() {
    let authority = Authority::new();
    let (port, mut resumed) = telling(authority.acceptor("localhost", &["http/1.1"], false)).await;
    let shared = Shared::default();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::new(format!("https://localhost:{port}"));
        change(&mut settings);
        Client::sharing(settings, &shared).unwrap()
    };
    let careless = with(&|settings| settings.tls.insecure = true);
    for _ in 0..2 {
        assert_eq!(read(get(&careless, "/").await.unwrap()).await.0, "ok");
    }
    assert_eq!((resumed.recv().await, resumed.recv().await), (Some(false), Some(true)));
    let other = Authority::new();
    let careful = with(&|settings| settings.tls.ca = Some(other.path("ca.pem")));
    assert_eq!(get(&careful, "/").await.unwrap_err().kind, ErrorKind::Tls);
}
