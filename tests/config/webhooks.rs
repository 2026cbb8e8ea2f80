//! What is wrong with webhooks.

use super::*;

#[test]
fn a_webhook_that_can_not_work_is_told_by_its_settings() {
    let text = r#"
[purge.webhooks.cms]
path = "/v1/x"
form = "sha1=hex2"
tags = "$.ids["

[purge.webhooks.other]
path = "/hooks/o"
secret = { env = "NOBODY" }
tags = "{$.a}"
timestamp = "x-sent"
signed = "{body}"
where = { routes = ["nobody"] }

[purge.webhooks.third]
path = "/hooks/o"
secret = "s"

[purge.webhooks.ports]
path = "/hooks/p"
secret = "s"
tags = "a"
host = "h:80"
where = { hosts = ["h:443"] }
"#;
    assert_eq!(
        said(text),
        [
            "t.toml:2: purge.webhooks.cms.secret: is required: the key of the signature, as the other system has it",
            "t.toml:3: purge.webhooks.cms.path = \"/v1/x\": a path such as \"/hooks/cms\" is meant, of letters, digits, -, _, dots and slashes",
            "t.toml:4: purge.webhooks.cms.form = \"sha1=hex2\": \"hex\" or \"base64\" is meant, or one of them behind a key, as in \"sha256=hex\"",
            "t.toml:5: purge.webhooks.cms.tags = \"$.ids[\": \"[\" is no step of a path: \".name\", \"['name']\", \"[0]\" or \"[*]\" is meant",
            "t.toml:9: purge.webhooks.other.secret: the environment has no NOBODY",
            "t.toml:12: purge.webhooks.other.signed = \"{body}\": {body} and {timestamp} are in it, each once: a time that is not signed proves nothing",
            "t.toml:13: purge.webhooks.other.where.routes = [\"nobody\"]: no route is called \"nobody\"",
            "t.toml:15: purge.webhooks.third.tags: it purges nothing: tags, urls or prefixes are meant, as in tags = \"$.ids[*]\"",
            "t.toml:16: purge.webhooks.third.path = \"/hooks/o\": the webhook \"other\" has the same path",
            "t.toml:23: purge.webhooks.ports.host = \"h:80\": \"h:80\": keys leave this port out, so name the host alone",
            "t.toml:24: purge.webhooks.ports.where.hosts = [\"h:443\"]: \"h:443\": keys leave this port out, so name the host alone",
        ]
    );
}
