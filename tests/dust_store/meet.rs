//! Where the instances of shared cases meet: in a Dust server.

use dustgate::testkit::dust_server::{DustServer, TOKEN};
use tempfile::TempDir;

use crate::kit::{self, STORE};
use crate::support::Proxy;
use crate::support::all;
use crate::support::fleet::Fleet;
use crate::support::proxy::Setup;

pub async fn fleet(many: usize, adjust: impl FnOnce(Setup) -> Setup) -> Fleet<DustServer> {
    let server = kit::server().await;
    let shelf = TempDir::with_prefix("dustgate-bodies-").unwrap();
    let bodies = format!("file:{}", shelf.path().display());
    let lines = format!("url = \"{}\"\ntoken = \"{TOKEN}\"", server.url(STORE));
    let fleet = Fleet::over(server, &lines, many, shelf, &bodies, adjust).await;
    all(fleet.of.iter().map(Proxy::ready)).await;
    fleet
}
