//! Whose answer reaches whom: thirty clients at once, each with an identity of its own, before an
//! origin that says back whatever it is told.
//!
//! A row says what each client sends, what the origin answers, whose identity may be in what a
//! client gets, and how many exchanges that may cost. Every row is played twice: all clients at
//! once, with the origin holding its answers until each of them is waiting somewhere, and then one
//! after the other in the opposite order, with a stranger behind them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::RequestFacts;
use crate::support::origin::Seen;
use crate::support::{Answer, Gate, Origin, Proxy, Reply, all, until};

mod bound;
mod credentials;
mod hops;
mod leaders;
mod paths;
mod responses;
mod unkeyed;

/// How many clients there are at once.
const CLIENTS: usize = 30;

/// One row of a table.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    /// Lines of the route that the row has for itself.
    route: &'static str,
    /// The field that a client names itself in, and what stands before its name there.
    field: (&'static str, &'static str),
    /// What a client sends.
    ask: fn(&Client) -> RequestFacts,
    /// What the origin answers to a request.
    answer: fn(&Seen) -> Answer,
    /// What a client may get.
    gets: Gets,
    /// How many exchanges the clients cost at once.
    costs: Times,
    /// How many more they cost one after the other, stranger included.
    again: Times,
    /// The first client has asked the origin before the others come.
    led: bool,
    /// What else is true of an answer.
    also: fn(&Client, &Reply),
}

/// Whose identity may be in an answer, in its fields or its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// The client's own, and it is there.
    Own,
    /// Nobody's.
    Nobodys,
    /// The client's own or nobody's: it may be answered with what is everybody's.
    OwnOrNobodys,
    /// Anybody's: the origin, or the route, has said that it may be shared.
    Anybodys,
}

/// How often the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Exactly(usize),
    AtMost(usize),
}

/// One of the clients of a row.
struct Client<'a> {
    proxy: &'a Proxy,
    /// The row's field, and what stands before a name in it.
    field: (&'static str, &'static str),
    /// Where the row's route is, without a slash at its end.
    base: &'a str,
    /// Which one; none is the stranger.
    n: Option<usize>,
}

/// In turn, of what has no lifetime: each its own exchange, unless one comes before it is noticed here
/// that the last has come to its end.
const ONCE: Times = Times::AtMost(CLIENTS + 1);

/// What most rows say, to be changed where they differ.
const ROW: Row = Row {
    name: "",
    route: "",
    field: ("", ""),
    ask: |client| client.get("/a"),
    answer: |seen| told(seen).cache("max-age=60"),
    gets: Gets::Own,
    costs: Times::Exactly(CLIENTS),
    again: Times::Exactly(CLIENTS + 1),
    led: false,
    also: |_, _| {},
};

/// 200, and all that the origin has heard as its content.
fn told(seen: &Seen) -> Answer {
    Answer::ok(heard(seen))
}

/// All that the origin has heard.
fn heard(seen: &Seen) -> String {
    let fields = seen.fields.0.iter().map(|(name, value)| format!("{name}: {value}\n"));
    format!("{} {}\n{}", seen.method, seen.target, fields.collect::<String>())
        + &String::from_utf8_lossy(&seen.content)
}

/// The identities that are in a text.
fn identities(text: &str) -> BTreeSet<usize> {
    let behind = text.split("who-").skip(1);
    behind.filter_map(|rest| rest.split('-').next()?.parse().ok()).collect()
}

// === impl Row ===

impl Row {
    /// Of a field in which each client names itself.
    const fn sends(self, field: &'static str, before: &'static str) -> Self {
        Self {
            name: field,
            field: (field, before),
            ask: |client| client.named(client.field.0, client.field.1),
            ..self
        }
    }

    /// Whoever comes gets what is stored, whoever it was made for.
    const fn is_anybodys(self) -> Self {
        Self { gets: Gets::Anybodys, costs: Times::AtMost(CLIENTS), again: Times::Exactly(0), ..self }
    }

    /// Nobody's name comes back, and one exchange is for all.
    const fn is_nobodys(self) -> Self {
        Self { gets: Gets::Nobodys, costs: Times::Exactly(1), again: Times::Exactly(0), ..self }
    }

    /// Nobody gets what is another's, and each may have an exchange of its own.
    const fn is_its_own_or_nobodys(self) -> Self {
        let (costs, again) = (Times::AtMost(CLIENTS), Times::AtMost(CLIENTS + 1));
        Self { gets: Gets::OwnOrNobodys, costs, again, ..self }
    }
}

// === impl Client ===

impl<'a> Client<'a> {
    /// One by itself, of no row.
    fn of(proxy: &'a Proxy, n: usize) -> Self {
        Self { proxy, field: ("", ""), base: "", n: Some(n) }
    }

    fn ask(&self, method: &str, target: &str) -> RequestFacts {
        self.proxy.ask(method, &format!("{}{target}", self.base))
    }

    fn get(&self, target: &str) -> RequestFacts {
        self.ask("GET", target)
    }

    /// A GET that says who asks, in a field; the stranger's does not have it.
    fn named(&self, field: &str, before: &str) -> RequestFacts {
        self.names(self.get("/a"), field, before)
    }

    /// The same of any request.
    fn names(&self, ask: RequestFacts, field: &str, before: &str) -> RequestFacts {
        match self.n {
            Some(_) => ask.field(field, &format!("{before}{}", self.who())),
            None => ask,
        }
    }

    /// Its identity; empty for the stranger.
    fn who(&self) -> String {
        self.n.map(|n| format!("who-{n}-")).unwrap_or_default()
    }
}

// === impl Times ===

impl Times {
    fn holds(self, times: usize) -> bool {
        match self {
            Self::Exactly(wanted) => times == wanted,
            Self::AtMost(most) => times <= most,
        }
    }
}

// === impl Gets ===

impl Gets {
    fn holds(self, client: &Client, reply: &Reply) -> bool {
        let mut text = String::from_utf8_lossy(&reply.body).into_owned();
        for (name, value) in &reply.fields.0 {
            text.push_str(&format!("\n{name}: {value}"));
        }
        let found = identities(&text);
        let own: BTreeSet<_> = identities(&client.who());
        match self {
            Self::Own => found == own,
            Self::Nobodys => found.is_empty(),
            Self::OwnOrNobodys => found.is_subset(&own),
            Self::Anybodys => true,
        }
    }
}

/// Plays a table: one proxy and one origin for all of it, a route for each row.
async fn play(rows: &[Row]) {
    play_with(rows, "").await;
}

/// The same with lines of `[server]`.
async fn play_with(rows: &[Row], server: &str) {
    let origin = Origin::start().await;
    let mut setup = Proxy::before(&origin).no_route();
    if !server.is_empty() {
        setup = setup.server(server);
    }
    for (nth, row) in rows.iter().enumerate() {
        let (path, route) = (format!("/r{nth}/*"), row.route);
        setup = setup.more(&format!(
            "[[routes]]\nname = \"r{nth}\"\npath = \"{path}\"\nupstream = \"origin\"\n{route}"
        ));
    }
    let proxy = setup.await;
    let mut wrong = Vec::new();
    for (nth, row) in rows.iter().enumerate() {
        let base = format!("/r{nth}");
        let client = |n| Client { proxy: &proxy, field: row.field, base: &base, n };

        let gate = Gate::shut();
        let held = (gate.clone(), row.answer);
        origin.on_each("*", move |seen| held.1(seen).held_by(&held.0));
        let before = origin.total();
        let replies = at_once(row, nth, &proxy, &base, &gate).await;
        let costs = origin.total() - before;
        for (n, reply) in replies.iter().enumerate() {
            judge(row, &client(Some(n)), reply, "at once", &mut wrong);
        }
        if !row.costs.holds(costs) {
            wrong.push(format!("{}: {costs} exchanges at once, and not {:?}", row.name, row.costs));
        }

        settled(&proxy, nth).await;
        let before = origin.total();
        for n in (0..CLIENTS).rev().map(Some).chain([None]) {
            let client = client(n);
            judge(row, &client, &(row.ask)(&client).await, "in turn", &mut wrong);
        }
        let again = origin.total() - before;
        if !row.again.holds(again) {
            wrong.push(format!("{}: {again} exchanges in turn, and not {:?}", row.name, row.again));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All clients at once. The origin goes on when each of them waits: there, or for somebody else,
/// or for nothing more.
async fn at_once(row: &Row, nth: usize, proxy: &Proxy, base: &str, gate: &Gate) -> Vec<Reply> {
    let done = Arc::new(AtomicUsize::new(0));
    let route = format!("r{nth}");
    let waiting = async |many: usize| {
        until(&format!("{many} clients of {:?} to wait", row.name), async || {
            let followers = proxy.metrics().await.sum("dustgate_followers", &[("route", &route)]);
            let there = gate.reached() + done.load(Ordering::SeqCst);
            (there as f64 + followers >= many as f64).then_some(())
        })
        .await;
    };
    let send = async |n: usize| {
        let reply = (row.ask)(&Client { proxy, field: row.field, base, n: Some(n) }).await;
        done.fetch_add(1, Ordering::SeqCst);
        reply
    };
    let others = usize::from(row.led);
    let first = all((0..others).map(&send));
    let rest = async {
        if row.led {
            waiting(1).await;
        }
        all((others..CLIENTS).map(&send)).await
    };
    let (mut replies, rest, ()) = tokio::join!(first, rest, async {
        waiting(CLIENTS).await;
        gate.open();
    });
    replies.extend(rest);
    replies
}

/// Waits until no fill of a row's route is under way.
async fn settled(proxy: &Proxy, nth: usize) {
    let route = format!("r{nth}");
    proxy.until_metric("dustgate_fills", &[("route", &route)], |fills| fills == 0.0).await;
}

fn judge(row: &Row, client: &Client, reply: &Reply, when: &str, wrong: &mut Vec<String>) {
    if !row.gets.holds(client, reply) {
        let who = client.n.map_or("the stranger".to_owned(), |n| format!("client {n}"));
        let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(600)]);
        wrong.push(format!(
            "{}: {who}, {when}, gets {} {:?}\n{text}\nand not {:?}",
            row.name, reply.status, reply.fields.0, row.gets
        ));
    }
    (row.also)(client, reply);
}
