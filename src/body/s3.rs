//! Opens a bucket. What the URL does not set comes from the environment, as with other S3 clients. The time
//! that an unreachable server may cost is bounded.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::Error;
use super::location::{Bucket, endpoint, shown};

/// The timeout to connect: a server on the same network answers at once, or is down.
const CONNECT: Duration = Duration::from_secs(3);
/// The timeout between two reads, and from the end of a request to its answer. Every call has a bound of its
/// own; this one ends the connection of a call that was given up.
const READ: Duration = Duration::from_secs(30);
/// How often a call that failed by accident is retried.
const RETRIES: usize = 2;
/// The pause before the first retry. It doubles, with jitter, up to [`PAUSE_MOST`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_millis(500);

/// The variables that name the server; the first that is set counts.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The variables that go to the client under their own names. Not the endpoint and its style, which the URL
/// may set; not the timeouts, which belong to the callers that wait.
const TAKEN: [&str; 24] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_SKIP_SIGNATURE",
    "AWS_UNSIGNED_PAYLOAD",
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_DISABLE_BULK_DELETE",
    "AWS_REQUEST_PAYER",
    "AWS_S3_EXPRESS",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_PROXY_URL",
    "AWS_PROXY_CA_CERTIFICATE",
];

/// Opens a bucket. `env` returns the value of a variable of the environment.
///
/// # Errors
/// [`Error::Url`] with what is missing, and where it belongs. The server is not contacted yet.
pub(super) fn open(
    bucket: &Bucket,
    call_timeout: Duration,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let store = builder(bucket, call_timeout, env).map_err(Error::Url)?;
    let store = store.build().map_err(|cause| Error::store(&cause))?;
    if bucket.prefix.is_root() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(PrefixStore::new(store, bucket.prefix.clone())))
}

fn builder(
    bucket: &Bucket,
    call_timeout: Duration,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<AmazonS3Builder, String> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let is_true = |name: &str| env(name).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    credentials(bucket, &env)?;
    let mut client = ClientOptions::new()
        // It would cover the transfer of a whole body, however steadily it arrives.
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(READ);
    let server = server(bucket, &env)?;
    if server.as_deref().is_some_and(|url| url.starts_with("http:")) {
        client = client.with_allow_http(true);
    }
    let mut builder = AmazonS3Builder::new();
    for name in TAKEN {
        let Some(value) = env(name) else { continue };
        if bucket.instance && matches!(name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY") {
            continue;
        }
        match name.to_ascii_lowercase().parse() {
            Ok(AmazonS3ConfigKey::Client(key)) => client = client.with_config(key, value),
            Ok(key) => builder = builder.with_config(key, value),
            Err(_) => return Err(format!("{name} is not understood by this build")),
        }
    }
    let region = bucket.region.clone().or_else(|| REGIONS.into_iter().find_map(env));
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    let style = Bucket {
        path_style: bucket
            .path_style
            .or_else(|| is_true("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").then_some(false)),
        ..bucket.clone()
    };
    let in_path = style.in_path(server.as_deref());
    if let Some(server) = server {
        builder = builder.with_endpoint(if in_path { server } else { style.hosted_at(&server)? });
    }
    Ok(builder
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(!in_path)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig { init_backoff: PAUSE, max_backoff: PAUSE_MOST, base: 2.0 },
            max_retries: RETRIES,
            // No call is retried after this; reading a body goes on for as long as bytes arrive.
            retry_timeout: call_timeout,
        }))
}

/// The server that the URL or the environment names.
fn server(bucket: &Bucket, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    if bucket.endpoint.is_some() {
        return Ok(bucket.endpoint.clone());
    }
    let Some((name, url)) = ENDPOINTS.into_iter().find_map(|name| Some((name, env(name)?))) else {
        return Ok(None);
    };
    let url = endpoint(&url).map_err(|why| format!("{name} = \"{}\": {why}", shown(&url)))?;
    let allowed = || matches!(env("AWS_ALLOW_HTTP").as_deref(), Some("1" | "true"));
    if url.starts_with("http:") && !allowed() {
        return Err(format!(
            "{name} = \"{url}\" is not encrypted: set AWS_ALLOW_HTTP=true if that is meant, or say \
             ?endpoint={url} in bodies.url"
        ));
    }
    Ok(Some(url))
}

/// Fails if there are no credentials. The client would look for a metadata service where there is none, and
/// wait without saying for what.
fn credentials(bucket: &Bucket, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let has = |name: &str| env(name).is_some();
    match (has("AWS_ACCESS_KEY_ID"), has("AWS_SECRET_ACCESS_KEY")) {
        (true, true) => return Ok(()),
        (true, false) if !bucket.instance => {
            return Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not".to_owned());
        }
        (false, true) if !bucket.instance => {
            return Err("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not".to_owned());
        }
        _ => {}
    }
    let role = has("AWS_WEB_IDENTITY_TOKEN_FILE") && has("AWS_ROLE_ARN");
    let pod = has("AWS_CONTAINER_CREDENTIALS_FULL_URI") && has("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let task = has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let open = matches!(env("AWS_SKIP_SIGNATURE").as_deref(), Some("1" | "true"));
    if role || pod || task || open || bucket.instance {
        return Ok(());
    }
    Err("there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with \
         AWS_SESSION_TOKEN if they are temporary), or say ?credentials=instance to use the machine's \
         own role"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::location::Location;
    use super::*;

    fn opened(url: &str, env: &[(&str, &str)]) -> Result<AmazonS3Builder, String> {
        let Ok(Location::Bucket(bucket)) = Location::parse(url) else { panic!("{url}") };
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        builder(&bucket, Duration::from_secs(10), &env)
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        KEYS.into_iter().chain(more.iter().copied()).collect()
    }

    #[test]
    fn every_variable_that_is_taken_is_known_to_the_client() {
        for name in TAKEN {
            assert!(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().is_ok(), "{name}");
        }
    }

    #[test]
    fn the_url_goes_before_the_environment() {
        let env = with(&[("AWS_ENDPOINT_URL", "https://env.example.com"), ("AWS_DEFAULT_REGION", "north")]);
        let get = |builder: &AmazonS3Builder, key| builder.get_config_value(&key).unwrap_or_default();
        let from_env = opened("s3://cache", &env).unwrap();
        assert_eq!(get(&from_env, AmazonS3ConfigKey::Endpoint), "https://env.example.com");
        assert_eq!(get(&from_env, AmazonS3ConfigKey::Region), "north");
        let from_url = opened("s3://cache?endpoint=http://127.0.0.1:9&region=south", &env).unwrap();
        assert_eq!(get(&from_url, AmazonS3ConfigKey::Endpoint), "http://127.0.0.1:9");
        assert_eq!(get(&from_url, AmazonS3ConfigKey::Region), "south");
        let amazon = opened("s3://cache", &KEYS).unwrap();
        assert_eq!(get(&amazon, AmazonS3ConfigKey::Endpoint), "");
        assert_eq!(get(&amazon, AmazonS3ConfigKey::VirtualHostedStyleRequest), "true");
    }

    #[test]
    fn without_credentials_nothing_is_opened() {
        for (env, why) in [
            (&[][..], "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            (&[("AWS_ACCESS_KEY_ID", "")], "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            (&[("AWS_ACCESS_KEY_ID", "id")], "AWS_SECRET_ACCESS_KEY is not"),
            (&[("AWS_SECRET_ACCESS_KEY", "secret")], "AWS_ACCESS_KEY_ID is not"),
        ] {
            let said = opened("s3://cache", env).expect_err("nobody may ask");
            assert!(said.contains(why), "{said}");
            assert!(!said.contains("\"secret\""), "{said}");
        }
        assert!(opened("s3://cache?credentials=instance", &[]).is_ok());
        assert!(opened("s3://cache", &[("AWS_SKIP_SIGNATURE", "true")]).is_ok());
    }

    #[test]
    fn what_is_not_encrypted_has_to_be_meant() {
        let plain = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")];
        let said = opened("s3://cache", &with(&plain)).expect_err("it was not meant");
        assert!(said.contains("AWS_ENDPOINT_URL") && said.contains("AWS_ALLOW_HTTP=true"), "{said}");
        assert!(opened("s3://cache", &with(&[plain[0], ("AWS_ALLOW_HTTP", "true")])).is_ok());
        assert!(opened("s3://cache?endpoint=http://127.0.0.1:9000", &KEYS).is_ok());
        let said = opened("s3://cache", &with(&[("AWS_ENDPOINT", "store:9000")])).expect_err("no URL");
        assert!(said.contains("AWS_ENDPOINT = \"store:9000\""), "{said}");
    }
}
