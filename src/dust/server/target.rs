//! Which stores of which Dust server a URL names.

use std::fmt;

use url::Url;

/// The most stores that one URL names.
const MOST_STORES: u32 = 64;
/// Where a Dust server has its socket.
const SOCKET: &str = "/ws/sync";
/// The form that is meant.
const FORM: &str = "dust+wss://HOST/ws/sync?store=ORG/NAME is meant, or NAME-{0..7} for several stores";

/// Stores of one server, and the token for them.
#[derive(Clone)]
pub struct Target {
    /// Whether it is reached over TLS.
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// What precedes the server's own paths.
    pub(super) base: String,
    /// The stores, as `org/name`.
    pub(super) stores: Vec<String>,
    pub(super) token: String,
}

// === impl Target ===

impl Target {
    /// Reads a URL, without its token.
    ///
    /// # Errors
    /// What is wrong and which form is meant, without any part of the URL that may be a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let (is_tls, default) = match scheme {
            "dust+ws" => (false, 80),
            "dust+wss" => (true, 443),
            _ => return Err(FORM.to_owned()),
        };
        // The URL standard parses hosts and ports of its own schemes only.
        let url = Url::parse(&format!("http{}://{rest}", if is_tls { "s" } else { "" }));
        let url = url.map_err(|error| format!("{error}; {FORM}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the token does not stand in the URL; set dust.token".to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?.to_owned();
        let base = url.path().trim_end_matches('/').strip_suffix(SOCKET);
        let base = base.ok_or_else(|| format!("the path must end in {SOCKET}; {FORM}"))?.to_owned();
        let mut stores = Vec::new();
        for (name, value) in url.query_pairs() {
            match &*name {
                "store" => stores.extend(many(&value)?),
                "token" => return Err("the token does not stand in the URL; set dust.token".to_owned()),
                _ => return Err(format!("there is no parameter of that name; {FORM}")),
            }
        }
        let mut known: Vec<_> = stores.iter().collect();
        known.sort_unstable();
        known.dedup();
        if stores.is_empty() || known.len() != stores.len() {
            return Err(format!("store must name each store once; {FORM}"));
        }
        let port = url.port().unwrap_or(default);
        Ok(Self { is_tls, host, port, base, stores, token: String::new() })
    }

    /// The same with the token that the server knows the client by.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self }
    }

    /// The URL of a store's entries.
    pub(super) fn entries(&self, store: usize) -> String {
        let Self { host, port, base, stores, .. } = self;
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{host}:{port}{base}/api/stores/{}/entries", stores[store])
    }

    /// The URL of the socket, with the token in it.
    pub(super) fn socket(&self, device: &str) -> String {
        let Self { host, port, base, token, .. } = self;
        let scheme = if self.is_tls { "wss" } else { "ws" };
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let (token, device) = (encoded(token), encoded(device));
        format!(
            "{scheme}://{host}:{port}{base}{SOCKET}/websocket?token={token}&device_id={device}&capver=3&vsn=2.0.0"
        )
    }

    /// The host without brackets, as a connection takes it.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// The stores that one parameter names: `org/name`, or `org/name-{0..7}`.
fn many(text: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = text.split_once('{') else { return Ok(vec![one(text.to_owned())?]) };
    let range = || format!("a range of stores is written {{0..7}}, with at most {MOST_STORES} of them");
    let (range_text, after) = rest.split_once('}').ok_or_else(range)?;
    let (first, last) = range_text.split_once("..").ok_or_else(range)?;
    let (first, last): (u32, u32) = (first.parse().map_err(|_| range())?, last.parse().map_err(|_| range())?);
    if last < first || last - first >= MOST_STORES {
        return Err(range());
    }
    (first..=last).map(|n| one(format!("{before}{n}{after}"))).collect()
}

fn one(name: String) -> Result<String, String> {
    let plain = |text: &str, more: &[u8]| {
        let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        text.bytes().next().is_some_and(may) && text.bytes().all(|byte| may(byte) || more.contains(&byte))
    };
    let is_name = name.split_once('/').is_some_and(|(org, store)| plain(org, b"-") && plain(store, b"._-"));
    if is_name { Ok(name) } else { Err(format!("{name:?} is no name of a store; ORG/NAME is meant")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = Target::parse("dust+ws://127.0.0.1:7755/ws/sync?store=acme/cache")
            .unwrap()
            .with_token("dust_tok_x y");
        assert_eq!(target.entries(0), "http://127.0.0.1:7755/api/stores/acme/cache/entries");
        assert_eq!(
            target.socket("a"),
            "ws://127.0.0.1:7755/ws/sync/websocket?token=dust_tok_x+y&device_id=a&capver=3&vsn=2.0.0"
        );
        let target = Target::parse("dust+wss://[::1]/dust/ws/sync/?store=acme/cache-{0..3}").unwrap();
        assert_eq!((target.port, target.is_tls, target.bare_host()), (443, true, "::1"));
        assert_eq!(target.stores, ["acme/cache-0", "acme/cache-1", "acme/cache-2", "acme/cache-3"]);
        assert_eq!(target.entries(3), "https://[::1]:443/dust/api/stores/acme/cache-3/entries");
        let several = Target::parse("dust+ws://h/ws/sync?store=a/b&store=a/c").unwrap();
        assert_eq!(several.stores, ["a/b", "a/c"]);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_token() {
        for url in [
            "dust+ws:h",
            "dust://h/ws/sync?store=a/b",
            "dust+ws:///ws/sync?store=a/b",
            "dust+ws://h/?store=a/b",
            "dust+ws://h/ws/sync",
            "dust+ws://h/ws/sync?store=a",
            "dust+ws://h/ws/sync?store=A/b",
            "dust+ws://h/ws/sync?store=a/b&store=a/b",
            "dust+ws://h/ws/sync?store=a/b-{0..}",
            "dust+ws://h/ws/sync?store=a/b-{0..64}",
            "dust+ws://h/ws/sync?store=a/b-{7..0}",
            "dust+ws://h/ws/sync?store=a/b&token=secret",
            "dust+ws://h/ws/sync?store=a/b&secret=1",
            "dust+ws://secret@h/ws/sync?store=a/b",
            "dust+ws://h:port/ws/sync?store=a/b",
        ] {
            let why = Target::parse(url).expect_err(url);
            assert!(!why.contains("secret"), "{url}: {why}");
        }
        let target = Target::parse("dust+ws://h/ws/sync?store=a/b").unwrap().with_token("secret");
        assert!(!format!("{target:?}").contains("secret"));
    }
}
