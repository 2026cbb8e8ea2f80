//! Cache deception: an address that looks like a file and brings somebody's own page.

use super::{CLIENTS, Client, Gets, ROW, Row, Times, play, told};
use crate::support::client::RequestFacts;
use crate::support::{Answer, Gate, Origin, Proxy, Reply, all};

/// How the page's address can be made to look like something else.
const DISGUISES: [&str; 24] = [
    "/account/x.css",
    "/account%2fx.css",
    "/account%2Fx.css",
    "/account;x.css",
    "/account;/x.css",
    "/account%3bx.css",
    "/account?x.css",
    "/account%3fx.css",
    "/account%23x.css",
    "/account%0ax.css",
    "/account%20x.css",
    "/account%09.css",
    "/account%ff.css",
    "/account.css",
    "/account/./x.css",
    "/account/x.css?a=%",
    "//account/x.css",
    "/account//x.css",
    "/%61ccount/x.css",
    "/ACCOUNT/x.css",
    "/account/x.css?",
    "/account/x.css?a=/../b",
    "/account/...css",
    "/static/x.css%2f.css;/account",
];

/// What is refused before anybody is asked.
const REFUSED: [&str; 15] = [
    "/static/../account",
    "/static/..%2faccount",
    "/static/..%2Faccount/x.css",
    "/static/%2e%2e/account",
    "/static/%2E./account/x.css",
    "/static/..;/account/x.css",
    "/static/..%3b/account/x.css",
    "/static/..%5caccount",
    "/static/.%2faccount",
    "/account/.;/x.css",
    "/account\\x.css",
    "/account%00.css",
    "/account/x.css?a=%00",
    "/static/..%20/account",
    "/static/%252e%252e/account",
];

/// A page of somebody's own, of which the origin has said nothing.
fn own_page(seen: &crate::support::origin::Seen) -> Answer {
    told(seen).field("Content-Type", "text/css").field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
}

/// All disguises with a session's cookie, at once and in turn, on a route that stores whatever the
/// origin is silent about; and every one of them afterwards by somebody without.
#[tokio::test]
async fn a_private_page_is_under_no_address_that_others_ask_for() {
    let gate = Gate::shut();
    let origin = Origin::start().await;
    let held = gate.clone();
    origin.on_each("*", move |seen| own_page(seen).held_by(&held));
    let proxy = Proxy::before(&origin).route("default_ttl = \"1m\"").await;
    for credential in ["Cookie", "Authorization"] {
        let asks = (0..CLIENTS).map(|n| {
            let victim = Client::of(&proxy, n);
            victim.names(proxy.get(DISGUISES[n % DISGUISES.len()]), credential, "session=").send()
        });
        let reached = gate.reached();
        let (victims, ()) = tokio::join!(all(asks), async {
            if reached == 0 {
                gate.reached_by(CLIENTS).await;
                gate.open();
            }
        });
        for (n, reply) in victims.iter().enumerate() {
            assert_eq!(super::identities(reply.text()), [n].into(), "{}", DISGUISES[n % DISGUISES.len()]);
        }
        for _ in 0..2 {
            // The second time it is stored: what a stranger was answered.
            let asks = DISGUISES.iter().map(|target| proxy.get(target).send());
            for (target, reply) in DISGUISES.iter().zip(all(asks).await) {
                assert_eq!(reply.status, 200, "{target}");
                assert!(super::identities(reply.text()).is_empty(), "{target}: {}", reply.text());
            }
        }
    }
}

/// What two servers might read as another path is refused, and costs nothing.
#[tokio::test]
async fn what_could_be_another_path_goes_nowhere() {
    let origin = Origin::start().await;
    origin.on_each("*", own_page);
    let proxy = Proxy::before(&origin).route("default_ttl = \"1m\"").await;
    let asks = (0..REFUSED.len() * 3).map(|n| {
        let victim = Client::of(&proxy, n);
        victim.names(proxy.get(REFUSED[n / 3]), "Cookie", "session=").send()
    });
    for (n, reply) in all(asks).await.iter().enumerate() {
        assert_eq!(reply.status, 400, "{}", REFUSED[n / 3]);
        reply.assert_error(400);
    }
    assert_eq!(origin.total(), 0);
}

/// Spellings that mean one path have one route. Each reaches the origin as it is, and what came of one is
/// given to no other.
#[tokio::test]
async fn a_spelling_is_given_what_came_of_it() {
    const SPELLED: [&str; 4] = ["/account", "/acc%6Funt", "/acc%6funt", "/%61ccount"];
    fn spelled(client: &Client) -> RequestFacts {
        client.get(SPELLED[client.n.unwrap_or(0) % SPELLED.len()])
    }
    fn own(client: &Client, reply: &Reply) {
        let own = SPELLED[client.n.unwrap_or(0) % SPELLED.len()];
        assert!(reply.text().contains(&format!("{own}\n")), "{own}: {}", reply.text());
    }
    play(&[
        Row {
            name: "stored",
            ask: spelled,
            gets: Gets::Nobodys,
            costs: Times::Exactly(SPELLED.len()),
            again: Times::Exactly(0),
            also: own,
            ..ROW
        },
        Row {
            name: "each with a session",
            ask: |client| client.names(spelled(client), "Cookie", "session="),
            also: own,
            ..ROW
        },
    ])
    .await;
}

/// A route that only passes can't be got round by another spelling of its path.
#[tokio::test]
async fn a_route_is_found_under_every_spelling_of_its_path() {
    let origin = Origin::start().await;
    origin.on_each("*", |seen| told(seen).cache("public, max-age=60"));
    let proxy = Proxy::before(&origin)
        .more("[[routes]]\nname = \"own\"\npath = [\"/account\", \"/account/*\"]\nupstream = \"origin\"\ncache = false")
        .await;
    for target in ["/account/x.css", "/%61ccount/x.css", "/accoun%74/x.css", "/account?x.css", "/account/"] {
        let asks = (0..CLIENTS).map(|n| {
            let client = Client::of(&proxy, n);
            client.names(proxy.get(target), "X-User", "").send()
        });
        for (n, reply) in all(asks).await.iter().enumerate() {
            assert_eq!(super::identities(reply.text()), [n].into(), "{target}");
        }
    }
}
