//! The URL of a body store. Pure: nothing is opened here.

use std::path::PathBuf;

use object_store::path::Path;
use url::{Host, Url};

use crate::units::{has_user, web_url};

/// Which body store a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `memory:`: in the memory of this process, lost when it ends.
    Memory,
    /// `file:PATH`: a directory.
    Directory(PathBuf),
    /// `dust:`: the coordination store carries them.
    Dust,
    /// `s3://BUCKET/PREFIX`: a bucket of an object store that speaks S3.
    Bucket(Bucket),
}

/// A bucket, or the part of one below a prefix. What is `None` comes from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The prefix of all object names; empty for the whole bucket.
    pub prefix: Path,
    /// `endpoint=URL`: the server, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// `region=NAME`.
    pub region: Option<String>,
    /// `path_style=true`: the bucket's name is in the path of requests and not in their host.
    pub path_style: Option<bool>,
    /// `credentials=instance`: those of the machine's role, from its metadata service.
    pub instance: bool,
}

// === impl Location ===

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that continues "bodies.url: ".
    pub fn parse(url: &str) -> Result<Self, String> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "memory" if url == "memory:" => Ok(Self::Memory),
            "dust" if url == "dust:" => Ok(Self::Dust),
            "file" => {
                let path = &url["file:".len()..];
                let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
                if path.is_empty() {
                    return Err("a path is missing: file:PATH is meant".to_owned());
                }
                Ok(Self::Directory(path.into()))
            }
            "s3" => Bucket::parse(url).map(Self::Bucket),
            "gs" | "az" | "http" | "https" => Err(format!(
                "{scheme}: is not in this build; there are dust:, file:PATH, s3://BUCKET/PREFIX and memory:"
            )),
            _ => Err("dust:, file:PATH, s3://BUCKET/PREFIX or memory: is meant".to_owned()),
        }
    }
}

// === impl Bucket ===

impl Bucket {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("s3://") || text == "s3://" || text.starts_with("s3:///") {
            return Err("the bucket is missing: s3://BUCKET/PREFIX is meant".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("s3://BUCKET/PREFIX is meant: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong in the URL: they are read from AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY"
                .to_owned());
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err(
                "a bucket has no port and no fragment: the server is named by ?endpoint=URL".to_owned()
            );
        }
        let name = url.host_str().unwrap_or_default().to_owned();
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !(3..=63).contains(&name.len()) || !name.bytes().all(letters) {
            return Err(format!(
                "\"{name}\" cannot be a bucket: 3 to 63 lower case letters, digits, dots and hyphens"
            ));
        }
        let prefix = Path::from_url_path(url.path())
            .map_err(|error| format!("the prefix behind the bucket cannot be one: {error}"))?;
        let mut bucket =
            Self { name, prefix, endpoint: None, region: None, path_style: None, instance: false };
        for (key, value) in url.query_pairs() {
            bucket.set(&key, &value)?;
        }
        Ok(bucket)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match (key, value) {
            ("endpoint", url) => {
                let read = endpoint(url).map_err(|why| format!("?endpoint={}: {why}", shown(url)))?;
                self.endpoint = Some(read);
            }
            ("region", "") => return Err("?region= is empty".to_owned()),
            ("region", name) => self.region = Some(name.to_owned()),
            ("path_style", "true") => self.path_style = Some(true),
            ("path_style", "false") => self.path_style = Some(false),
            ("path_style", _) => return Err(format!("?path_style={value}: true or false is meant")),
            ("credentials", "instance") => self.instance = true,
            ("credentials", "environment") => self.instance = false,
            ("credentials", _) => {
                return Err("?credentials: environment or instance is meant; keys are read from \
                            AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    .to_owned());
            }
            // Does not show the value: it may be a secret key.
            _ => {
                return Err(format!(
                    "?{key} is not known: endpoint, region, path_style and credentials may stand there"
                ));
            }
        }
        Ok(())
    }

    /// Returns whether the bucket's name is in the path of requests. If the URL does not set it: with every
    /// server but Amazon's, and if dots in the name would not match a wildcard certificate.
    pub(super) fn in_path(&self, endpoint: Option<&str>) -> bool {
        self.path_style.unwrap_or_else(|| endpoint.is_some() || self.name.contains('.'))
    }

    /// The endpoint with the bucket's name in its host.
    pub(super) fn hosted_at(&self, endpoint: &str) -> Result<String, String> {
        let mut url = Url::parse(endpoint).map_err(|error| error.to_string())?;
        let Some(Host::Domain(host)) = url.host() else {
            return Err(format!("{endpoint}: an address has no room for a bucket's name: path_style=true"));
        };
        if !host.starts_with(&format!("{}.", self.name)) {
            let host = format!("{}.{host}", self.name);
            url.set_host(Some(&host)).map_err(|error| error.to_string())?;
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

/// A server's URL for a message; hidden if it names a user, and so perhaps a password.
pub(super) fn shown(url: &str) -> &str {
    if url.contains('@') { "***" } else { url }
}

/// Checks a server's URL, and returns it without slashes at its end.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = web_url(text)?;
    if has_user(text) || url.query().is_some() || url.fragment().is_some() {
        return Err("an endpoint has no user, no password, no query and no fragment".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(url: &str) -> Bucket {
        match Location::parse(url) {
            Ok(Location::Bucket(bucket)) => bucket,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn places_by_their_urls() {
        assert_eq!(Location::parse("memory:"), Ok(Location::Memory));
        assert_eq!(Location::parse("dust:"), Ok(Location::Dust));
        assert!(Location::parse("dust://host").is_err());
        for (url, path) in [("file:./data", "./data"), ("file:/var/b", "/var/b"), ("file:///var/b", "/var/b")]
        {
            assert_eq!(Location::parse(url), Ok(Location::Directory(path.into())), "{url}");
        }
        let plain = bucket("s3://cache");
        assert_eq!((plain.name.as_str(), plain.prefix.as_ref()), ("cache", ""));
        let full = bucket(
            "s3://cache/dust/gate/?endpoint=http://127.0.0.1:9000/&region=garage&path_style=false&credentials=instance",
        );
        assert_eq!(
            full,
            Bucket {
                name: "cache".into(),
                prefix: Path::from("dust/gate"),
                endpoint: Some("http://127.0.0.1:9000".into()),
                region: Some("garage".into()),
                path_style: Some(false),
                instance: true,
            }
        );
        assert_eq!(
            bucket("s3://cache?endpoint=https%3A%2F%2Fs3.example.com").endpoint.unwrap(),
            "https://s3.example.com"
        );
    }

    #[test]
    fn what_is_no_place_is_told_why() {
        for (url, why) in [
            ("", "dust:, file:PATH, s3://BUCKET/PREFIX or memory: is meant"),
            ("memory:x", "memory: is meant"),
            ("file:", "a path is missing"),
            ("gs://cache", "is not in this build"),
            ("s3:", "the bucket is missing"),
            ("s3:cache", "the bucket is missing"),
            ("s3://", "the bucket is missing"),
            ("s3:///prefix", "the bucket is missing"),
            ("s3://key:secret@cache/p", "AWS_ACCESS_KEY_ID"),
            ("s3://cache:9000/p", "?endpoint=URL"),
            ("s3://Cache_1/p", "cannot be a bucket"),
            ("s3://ab", "cannot be a bucket"),
            ("s3://cache/a//b", "the prefix"),
            ("s3://cache?endpoint=9000", "?endpoint=9000: a URL is meant"),
            ("s3://cache?endpoint=ftp://host", "http or https"),
            ("s3://cache?endpoint=http://u:abc@host", "?endpoint=***: an endpoint has no user"),
            ("s3://cache?region=", "?region= is empty"),
            ("s3://cache?path_style=yes", "true or false"),
            ("s3://cache?credentials=abc", "environment or instance"),
            ("s3://cache?secret_access_key=abc", "?secret_access_key is not known: endpoint, region"),
        ] {
            let said = Location::parse(url).expect_err(url);
            assert!(said.contains(why), "{url}: {said}");
            assert!(!said.contains("secret@") && !said.contains("abc"), "{url}: {said}");
        }
    }

    #[test]
    fn the_buckets_name_stands_in_the_path_or_in_the_host() {
        assert!(!bucket("s3://cache").in_path(None), "Amazon's own");
        assert!(bucket("s3://my.cache").in_path(None), "no certificate fits a dot more");
        assert!(bucket("s3://cache").in_path(Some("http://127.0.0.1:9000")));
        let hosted = bucket("s3://cache?path_style=false");
        assert!(!hosted.in_path(Some("http://127.0.0.1:9000")));
        let at = |endpoint| hosted.hosted_at(endpoint);
        assert_eq!(at("https://s3.example.com").unwrap(), "https://cache.s3.example.com");
        assert_eq!(at("https://cache.s3.example.com").unwrap(), "https://cache.s3.example.com");
        assert_eq!(at("http://store:9000").unwrap(), "http://cache.store:9000");
        assert!(at("http://127.0.0.1:9000").unwrap_err().contains("path_style=true"));
    }
}
