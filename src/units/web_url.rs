//! The URL of a server, as people write it.

use url::Url;

/// Reads an http or https URL. What a parser of URLs would take and mend is refused, since other readers of the
/// same setting would not: slashes that are missing, white space, a backslash.
///
/// # Errors
/// What is wrong with it, without what may be a password.
pub fn web_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "a URL is meant, such as \"https://origin.example.com\"")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("an http or https URL is meant".to_owned());
    }
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        return Err("a URL has no white space in it".to_owned());
    }
    let behind = behind_scheme(text).unwrap_or_default();
    let host = behind.trim_start_matches(['/', '\\']);
    if behind.len() != host.len() + 2 || !behind.starts_with("//") {
        let write =
            if host.contains('@') { String::new() } else { format!(": write \"{}://{host}\"", url.scheme()) };
        return Err(format!("two slashes stand between the scheme and the host{write}"));
    }
    if host.contains('\\') {
        return Err("a URL has a slash where this has a backslash".to_owned());
    }
    if url.port() == Some(0) {
        return Err("no server has the port 0".to_owned());
    }
    Ok(url)
}

/// Returns whether a text begins as an http or https URL does.
pub fn has_web_scheme(text: &str) -> bool {
    behind_scheme(text).is_some()
}

/// Returns whether a URL has a user or a password, or a place for them: `http://@host`.
pub fn has_user(text: &str) -> bool {
    let behind = behind_scheme(text).unwrap_or_default().trim_start_matches(['/', '\\']);
    behind.split(['/', '\\', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn behind_scheme(text: &str) -> Option<&str> {
    let (scheme, behind) = text.trim_start().split_once(':')?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_as_all_read_it_is_a_url() {
        for (text, wrong) in [
            ("http://x", ""),
            ("HTTPS://X:8443/a%20b/", ""),
            ("http://[::1]:80", ""),
            ("http:x", "two slashes stand between the scheme and the host: write \"http://x\""),
            ("http:/x:1/a", "two slashes stand between the scheme and the host: write \"http://x:1/a\""),
            ("https:///x", "two slashes stand between the scheme and the host: write \"https://x\""),
            ("https:\\\\x", "two slashes stand between the scheme and the host: write \"https://x\""),
            ("http:me:pw@x", "two slashes stand between the scheme and the host"),
            (" http://x", "a URL has no white space in it"),
            ("http://x/a b", "a URL has no white space in it"),
            ("http://x\t/a", "a URL has no white space in it"),
            ("http://x\\a", "a URL has a slash where this has a backslash"),
            ("http://x:0", "no server has the port 0"),
            ("http://", "a URL is meant, such as \"https://origin.example.com\""),
            ("http://x:99999", "a URL is meant, such as \"https://origin.example.com\""),
            ("x", "a URL is meant, such as \"https://origin.example.com\""),
            ("ftp://x", "an http or https URL is meant"),
            ("localhost:3000", "an http or https URL is meant"),
        ] {
            assert_eq!(web_url(text).err().unwrap_or_default(), wrong, "{text:?}");
        }
        for (text, has) in [
            ("http://@x", true),
            ("http://me@x/", true),
            ("http:me:pw@x", true),
            ("http://x/@me?a=b@c#@", false),
            ("redis://:p@h", false),
        ] {
            assert_eq!(has_user(text), has, "{text}");
        }
        assert!(has_web_scheme("HTTP:x") && !has_web_scheme("httpx") && !has_web_scheme("ftp://x"));
    }
}
