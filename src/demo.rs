//! The origin of `dustgate demo`, and the commands that it and its fleet propose.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

pub mod origin;

/// The addresses of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// For clients.
    pub proxy: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
}

/// The commands to try at a fleet, and what to look for in their output. `store` says where it meets.
pub fn fleet_guide(fleet: &[Door], origin: SocketAddr, delay: Duration, store: &str) -> String {
    let [first, .., last] = fleet else { return String::new() };
    let at: Vec<_> = fleet.iter().map(|door| format!("http://{}", door.proxy)).collect();
    let slow = delay.as_millis();
    let curls: Vec<_> = at.iter().map(|at| format!("curl -s '{at}/slow?fleet' &")).collect();
    let steps = [
        (
            format!("{} wait", curls.join(" ")),
            format!("three clients, three instances, {slow} ms: all of them get fetch 1 of /slow?fleet."),
        ),
        (format!("curl -s {}/count", at[0]), "the origin counts: /slow?fleet was fetched once.".to_owned()),
        (
            format!("curl -si '{}/slow?fleet' | grep cache-status", at[at.len() - 1]),
            "a hit, wherever it is asked for.".to_owned(),
        ),
        (
            format!(
                "curl -N http://{}/drip & sleep 1; curl -N http://{}/drip; wait",
                first.proxy, last.proxy
            ),
            "ten parts; the second client joins in the middle, at another instance, and gets all of them."
                .to_owned(),
        ),
        (
            format!(
                "curl -X POST -H 'Content-Type: application/json' -d '{{\"all\":true}}' http://{}/v1/purge",
                first.admin
            ),
            "everything is gone at all of them; the answer names the instances that have confirmed it."
                .to_owned(),
        ),
    ];
    let mut text = format!(
        "\nA slow origin runs at http://{origin} ({slow} ms), and three instances before it, at {}.\n{store}\n\
         Try, in another terminal:\n\n",
        at.join(", ")
    );
    listed(&mut text, &steps);
    text
}

/// The curl commands to try, and what to look for in their output.
pub fn guide(proxy: SocketAddr, admin: SocketAddr, origin: SocketAddr, delay: Duration) -> String {
    let at = format!("http://{proxy}");
    let slow = delay.as_millis();
    let steps = [
        (
            format!("curl -i {at}/slow"),
            format!("takes {slow} ms: fwd=uri-miss; stored. Again: at once, hit, with an Age."),
        ),
        (
            format!(
                "for i in $(seq 50); do curl -s -o /dev/null {at}/slow?herd & done; wait; curl -s {at}/count"
            ),
            "fifty clients, and /slow?herd was fetched once.".to_owned(),
        ),
        (
            format!("curl -N {at}/drip & sleep 1; curl -N {at}/drip"),
            "ten parts; the second joins in the middle and gets all of them.".to_owned(),
        ),
        (
            format!("curl -i {at}/private"),
            "each its own: fwd=uri-miss; detail=private, then remembered for 10 s.".to_owned(),
        ),
        (format!("curl -i {at}/etag"), "stored, and validated every time: fwd-status=304.".to_owned()),
        (
            format!("curl -i -H 'Accept-Language: de' {at}/vary"),
            "one response a language; try fr, then de again.".to_owned(),
        ),
        (format!("curl -i {at}/fail"), "500; the second in a row is remembered for a second.".to_owned()),
        (
            format!("curl -s {at}/large?mb=64 | wc -c"),
            "streamed in segments; a second one is a hit.".to_owned(),
        ),
        (
            format!(
                "curl -X POST -H 'Content-Type: application/json' -d '{{\"all\":true}}' http://{admin}/v1/purge"
            ),
            "everything is gone at once, fills under way included.".to_owned(),
        ),
        (
            format!("curl -s http://{admin}/metrics | grep dustgate_fill"),
            "fetches per filled key: 1.0 is the aim.".to_owned(),
        ),
    ];
    let mut text = format!(
        "\nA slow origin runs at http://{origin} ({slow} ms), the proxy before it at {at}. Try, in another terminal:\n\n"
    );
    listed(&mut text, &steps);
    text
}

fn listed(text: &mut String, steps: &[(String, String)]) {
    for (line, look_for) in steps {
        let _ = writeln!(text, "  {line}\n      # {look_for}");
    }
    text.push_str("\nEvery fill and every request is a line below. Ctrl-C ends it.\n\n");
}
