//! A store behind TLS: its certificate is checked, by the authorities of this machine or of the
//! file that `SSL_CERT_FILE` names.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::server::{LEAST, Server};
use crate::support::{Answer, Origin, Proxy};

/// Leaves an authority's certificate in a directory, and a server's that it has signed.
fn certify(directory: &Path, name: &str) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (file, text) in [("ca.pem", issuer.pem()), ("cert.pem", cert.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(directory.join(file), text).unwrap();
    }
}

async fn server(directory: &Path) -> Server {
    let of = |setting: &str, file: &str| format!("{setting} {}", directory.join(file).display());
    let lines = [
        "port 0".to_owned(),
        "tls-port PORT".to_owned(),
        "tls-auth-clients no".to_owned(),
        of("tls-ca-cert-file", "ca.pem"),
        of("tls-cert-file", "cert.pem"),
        of("tls-key-file", "key.pem"),
        format!("user dustgate on >secret {LEAST}"),
    ];
    Server::start(&lines.each_ref().map(String::as_str)).await
}

#[tokio::test]
async fn a_certificate_of_a_private_authority_is_trusted_if_the_environment_says_so() {
    let directory = TempDir::new().unwrap();
    certify(directory.path(), "localhost");
    let server = server(directory.path()).await;
    let url = format!("url = \"rediss://dustgate:secret@localhost:{}\"", server.port);
    let origin = Origin::answering(Answer::cacheable("hello")).await;
    let ca = directory.path().join("ca.pem");
    let setup = || Proxy::before(&origin).dust(&url);
    let proxy = setup().env("SSL_CERT_FILE", ca.to_str().unwrap()).await;
    proxy.fill("/a").await.assert(200, "hello");
    let status = proxy.admin_get("/v1/status").await.json();
    assert_eq!((&status["dust"]["kind"], &status["dust"]["up"]), (&"redis".into(), &true.into()));
    let fill = proxy.log.json(|line| line["event"] == "fill");
    assert_eq!(fill[0]["coordinated"], true, "{fill:?}");

    // Without that it is a stranger's, and no retry mends it.
    let said = proxy.command(&["sweep"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("dust.url") && said.err.contains("certificate"), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let directory = TempDir::new().unwrap();
    certify(directory.path(), "elsewhere.test");
    let server = server(directory.path()).await;
    let url = format!("redis://dustgate:secret@localhost:{}", server.port).replace("redis:", "rediss:");
    let settings = format!(
        "[dust]\nurl = \"{url}\"\n[bodies]\nurl = \"file:{}\"\n",
        directory.path().join("bodies").display()
    );
    let config = directory.path().join("dustgate.toml");
    std::fs::write(&config, settings).unwrap();
    let mut command = crate::support::process::dustgate();
    command
        .args(["sweep", "-c", config.to_str().unwrap()])
        .env("SSL_CERT_FILE", directory.path().join("ca.pem"));
    let said = crate::support::command::finish(&mut command).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("certificate"), "{said:?}");
}
