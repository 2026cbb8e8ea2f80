//! Settings that must not be printed. Each is a string, `{ env = "NAME" }` or `{ file = "PATH" }`.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::form_urlencoded;

/// A setting that must not be printed. Shows as `***`; only [`Secret::reveal`] gives its text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    source: Source,
    text: String,
}

/// A URL whose password, if it has one, prints as `***`. It is written like a [`Secret`].
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretUrl(Secret);

/// Where a secret's text comes from.
#[derive(Clone, PartialEq, Eq, Default)]
enum Source {
    /// It stands in the settings.
    #[default]
    Here,
    Env(String),
    File(String),
}

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

// === impl Secret ===

impl Secret {
    /// A secret that stands in the settings.
    pub fn here(text: &str) -> Self {
        Self { source: Source::Here, text: text.to_owned() }
    }

    /// The text. Empty until it has been read from where it is.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns whether its text stands in the settings themselves.
    pub(crate) fn is_here(&self) -> bool {
        self.source == Source::Here
    }

    /// The environment variable that holds it, if one does.
    pub fn variable(&self) -> Option<&str> {
        if let Source::Env(name) = &self.source { Some(name) } else { None }
    }

    /// The file that holds it, if one does.
    pub fn file(&self) -> Option<&str> {
        if let Source::File(path) = &self.source { Some(path) } else { None }
    }

    /// Reads its text from the variable or file that it names, or says why it can't.
    pub fn fetch(&mut self, env: &BTreeMap<String, String>) -> Result<(), String> {
        let text = match &self.source {
            Source::Here => return Ok(()),
            Source::Env(name) => {
                env.get(name).cloned().ok_or_else(|| format!("the environment has no {name}"))?
            }
            Source::File(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?
            }
        };
        // Files end with a line break, and no secret does.
        text.trim_end_matches(['\r', '\n']).clone_into(&mut self.text);
        if self.text.is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

// === impl SecretUrl ===

impl SecretUrl {
    /// A URL that stands in the settings.
    pub fn here(text: &str) -> Self {
        Self(Secret::here(text))
    }

    /// The URL, with its password.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// The text before the first colon: the scheme.
    pub fn scheme(&self) -> &str {
        self.reveal().split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The URL as a secret: where its text is, and what it is.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The same, so that its text can be fetched.
    pub fn secret_mut(&mut self) -> &mut Secret {
        &mut self.0
    }
}

impl Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked_url(self.reveal()))
    }
}

impl Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// A URL with `***` in place of its password and of parameters that are secret by their name. Text that is no
/// URL stays as it is.
pub(crate) fn masked_url(url: &str) -> String {
    // First: a password may have a question mark in it.
    without_secret_parameters(&without_password(url), is_secret)
}

/// The same of a URL that others have written: what stands before an `@` behind the authority is no password.
pub fn masked_link(url: &str) -> String {
    masked_link_by(url, is_secret)
}

/// The same, where the caller says which parameters are secret by their names.
pub(crate) fn masked_link_by(url: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let scheme = url.find(':').filter(|&at| url[..at].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let behind = scheme.map_or(0, |at| at + 1);
    let slashes = url[behind..].bytes().take_while(|byte| b"/\\".contains(byte)).count();
    if scheme.is_none() && slashes < 2 {
        return without_secret_parameters(url, is_secret);
    }
    let begins = behind + slashes;
    let ends = url[begins..].find(['/', '\\', '?', '#']).map_or(url.len(), |at| begins + at);
    let authority = masked_user(&url[begins..ends]);
    without_secret_parameters(&format!("{}{authority}{}", &url[..begins], &url[ends..]), is_secret)
}

/// The values of a URL's parameters that are secret by their names, as they are written.
pub fn secret_parameters(url: &str, is_secret: impl Fn(&str) -> bool) -> Vec<String> {
    let found = parameters(url, is_secret).into_iter().filter_map(|(_, value)| value);
    found.map(str::to_owned).collect()
}

fn without_secret_parameters(url: &str, is_secret: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(url.len());
    for (plain, secret) in parameters(url, is_secret) {
        shown.push_str(plain);
        if secret.is_some() {
            shown.push_str(MASK);
        }
    }
    shown
}

/// The text of a URL in pieces, with the secret value that stands behind each, if one does. A parameter may stand in
/// a query or in a fragment, as those do that a sign-in hands over. There the secret ends with the next `&`: another
/// mark in it may be its own, so rather too much is masked than too little. In a path it stands behind a `;`, as
/// `jsessionid` does, and ends with its segment.
fn parameters(url: &str, is_secret: impl Fn(&str) -> bool) -> Vec<(&str, Option<&str>)> {
    let mut found = Vec::new();
    let mut shown = 0;
    let path_ends = url.find(['?', '#']).unwrap_or(url.len());
    let mut rest = url.find([';', '?', '#']);
    while let Some(begins) = rest.map(|at| at + 1) {
        let in_path = begins <= path_ends;
        let (ends_at, next): (&[char], &[char]) = if in_path {
            (&[';', '/', '?', '#'], &[';', '?', '#'])
        } else {
            (&['&', ';', '?', '#'], &['&', ';', '?', '#'])
        };
        let ends = url[begins..].find(ends_at).map_or(url.len(), |at| begins + at);
        rest = url[ends..].find(next).map(|at| ends + at);
        let Some((name, _)) = url[begins..ends].split_once('=') else { continue };
        let name_ends = begins + name.len() + 1;
        let plain = form_urlencoded::parse(name.as_bytes()).next();
        if plain.is_some_and(|(plain, _)| is_secret(&plain)) {
            let mut value_ends = ends;
            if !in_path {
                rest = url[name_ends..].find('&').map(|at| name_ends + at);
                value_ends = rest.unwrap_or(url.len());
            }
            found.push((&url[shown..name_ends], Some(&url[name_ends..value_ends])));
            shown = value_ends;
        }
    }
    found.push((&url[shown..], None));
    found
}

fn without_password(url: &str) -> String {
    // A password may have an unescaped slash in it; mask too much rather than too little.
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", masked_user(rest)),
        // It lacks its slashes or its scheme, or is no URL.
        None if url.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) => masked_user(url),
        None => url.to_owned(),
    }
}

/// An authority with `***` in the place of a password, or of a user without one: that may be a token.
fn masked_user(authority: &str) -> String {
    let Some((user, host)) = authority.rsplit_once('@') else { return authority.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{name}:{MASK}@{host}"),
        None => format!("{MASK}@{host}"),
    }
}

/// Returns whether the values of a setting or field of this name must not be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "password", "secret", "authorization", "cookie", "api-key", "api_key", "apikey"]
        .iter()
        .any(|word| name.contains(word))
        && !matches!(
            name.as_str(),
            "cookies" | "ignore_cookies" | "set_cookie" | "secret_headers" | "metrics_token"
        )
}

// === serde ===

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, { env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::here(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let mut source = None;
        while let Some(key) = map.next_key::<String>()? {
            let next = match key.as_str() {
                "env" => Source::Env(map.next_value()?),
                "file" => Source::File(map.next_value()?),
                _ => return Err(de::Error::unknown_field(&key, &["env", "file"])),
            };
            if source.replace(next).is_some() {
                return Err(de::Error::custom("either env or file, not both"));
            }
        }
        let source = source.ok_or_else(|| de::Error::custom("must have env or file in it"))?;
        Ok(Secret { source, text: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        for (url, shown) in [
            ("redis://h:6379/0", "redis://h:6379/0"),
            ("redis://:pw@h/0", "redis://:***@h/0"),
            ("redis://user:pw@h", "redis://user:***@h"),
            ("redis://user:p@w/x@h", "redis://user:***@h"),
            ("https://token@h/x", "https://***@h/x"),
            ("embedded:./data", "embedded:./data"),
            ("dust+ws://h/ws/sync?store=a/b&token=t", "dust+ws://h/ws/sync?store=a/b&token=***"),
            ("redis://:p?w@h/0", "redis://:***@h/0"),
            ("redis:user:pw@h", "redis:***@h"),
            ("user:p/w@h:80", "user:***@h:80"),
            ("user@h", "user@h"),
        ] {
            assert_eq!(masked_url(url), shown);
            let url = SecretUrl::here(url);
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
    }
    #[test]
    fn what_others_link_to_is_masked_in_its_authority_and_its_parameters() {
        for (url, shown) in [
            ("http://h:1/@types/node", "http://h:1/@types/node"),
            ("http://h/u/@me?a=b@c", "http://h/u/@me?a=b@c"),
            ("http://h?email=a@b", "http://h?email=a@b"),
            ("http://h/x?token=t@u", "http://h/x?token=***"),
            ("http://h/x?a=1&%74oken=t&b=2", "http://h/x?a=1&%74oken=***&b=2"),
            ("http://h/x?a=1;token=t;u#v&b=2", "http://h/x?a=1;token=***&b=2"),
            ("http://h/x?a#access_token=t&b", "http://h/x?a#access_token=***&b"),
            ("/x#token=t?u", "/x#token=***"),
            ("/x?next=/y?token=t", "/x?next=/y?token=***"),
            ("/x;token=t/y;a=1;token=u?b=1&token=v", "/x;token=***/y;a=1;token=***?b=1&token=***"),
            ("http://h/x;token=t#token=u", "http://h/x;token=***#token=***"),
            ("/x;a/token=t;y=1", "/x;a/token=t;y=1"),
            ("http://u:pw@h/@x", "http://u:***@h/@x"),
            ("http:\\\\h\\@x", "http:\\\\h\\@x"),
            ("http:u:pw@h/@x", "http:u:***@h/@x"),
            ("http:\\u:pw@h", "http:\\u:***@h"),
            ("//u:pw@h/?b=1", "//u:***@h/?b=1"),
            ("/a:b@c", "/a:b@c"),
            ("/a/@b", "/a/@b"),
        ] {
            assert_eq!(masked_link(url), shown);
        }
    }
}
