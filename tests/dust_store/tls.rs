//! A server behind TLS.

use std::path::Path;
use std::sync::Arc;

use dustgate::testkit::dust_server::{DustServer, TOKEN};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::kit::{self, STORE};
use crate::support::{Answer, Origin};

/// Terminates TLS before a server, with a certificate for `name` by an authority whose certificate is left
/// in the directory. Returns the port.
async fn before(server: &DustServer, name: &str, directory: &Path) -> u16 {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.pem"), issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), server.addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate ends here.
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_private_authority_is_trusted_if_the_environment_says_so() {
    let (server, directory) = (kit::server().await, TempDir::new().unwrap());
    let port = before(&server, "localhost", directory.path()).await;
    let url = format!("dust+wss://localhost:{port}/ws/sync?store={STORE}");
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let ca = directory.path().join("ca.pem");
    let proxy = kit::settings(&origin, &url).env("SSL_CERT_FILE", ca.to_str().unwrap()).await;
    proxy.ready().await;
    proxy.fill("/a").await.assert(200, "hello");
    let fill = proxy.log.json(|line| line["event"] == "fill");
    assert_eq!(fill[0]["coordinated"], true, "{fill:?}");
    assert!(
        server.rows(STORE).iter().any(|path| path.starts_with("dustgate/1/")),
        "{:?}",
        server.rows(STORE)
    );
    let said = proxy.log.json(|line| line["event"] == "bodies");
    assert!(said[0].to_string().contains("bodies.small has no effect"), "{said:?}");

    // Without that it is a stranger's, and no retry mends it.
    let said = proxy.command(&["sweep"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("dust.url") && said.err.contains("certificate"), "{said:?}");
    assert!(!said.err.contains(TOKEN), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_ends_the_start_with_a_message() {
    let (server, directory) = (kit::server().await, TempDir::new().unwrap());
    let port = before(&server, "elsewhere.test", directory.path()).await;
    let url = format!("dust+wss://localhost:{port}/ws/sync?store={STORE}");
    let settings = format!(
        "[dust]\nurl = \"{url}\"\ntoken = \"{TOKEN}\"\n[bodies]\nurl = \"file:{}\"\n[upstreams.origin]\nurl = \"http://127.0.0.1:1\"\n",
        directory.path().join("bodies").display()
    );
    let config = directory.path().join("dustgate.toml");
    std::fs::write(&config, settings).unwrap();
    let mut command = crate::support::process::dustgate();
    command.args(["serve", "-c", config.to_str().unwrap()]);
    command.env("SSL_CERT_FILE", directory.path().join("ca.pem"));
    let said = crate::support::command::finish(&mut command).await;
    assert!(said.code != 0 && said.err.contains("certificate"), "{said:?}");
    assert!(!said.err.contains(TOKEN), "{said:?}");
}
