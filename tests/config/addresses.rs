//! Addresses and URLs that are not quite what is meant, and that no password is printed of them.

use super::*;

#[test]
fn an_address_that_is_wrong_is_told_as_it_should_be_written() {
    for (text, told) in [
        (
            "[server]\nlisten = \":8080\"",
            "t.toml:2: server.listen = \":8080\": an address is meant; \"0.0.0.0:8080\" is every one, \"127.0.0.1:8080\" this machine alone",
        ),
        (
            "[server]\nlisten = \"::1:8080\"",
            "t.toml:2: server.listen = \"::1:8080\": an IPv6 address stands in brackets: write \"[::1]:8080\"",
        ),
        (
            "[server]\nlisten = \":::18080\"",
            "t.toml:2: server.listen = \":::18080\": an IPv6 address stands in brackets: write \"[::]:18080\"",
        ),
        (
            "[server]\nlisten = \"::1\"",
            "t.toml:2: server.listen = \"::1\": a port is missing: write \"[::1]:8080\"",
        ),
        (
            "[server]\nlisten = 99999",
            "t.toml:2: server.listen = 99999: there is no port 99999: the last one is 65535",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:99999\"",
            "t.toml:2: server.listen = \"127.0.0.1:99999\": there is no port 99999: the last one is 65535",
        ),
        (
            "[admin]\nlisten = -1",
            "t.toml:2: admin.listen = -1: an address and a port are meant, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
        (
            "[server]\nlisten = 80.5",
            "t.toml:2: server.listen = 80.5: an address and a port are meant, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
        (
            "[server]\nlisten = [8080]",
            "t.toml:2: server.listen.0 = 8080: an address and a port are meant; write \"127.0.0.1:8080\"",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", -1]",
            "t.toml:2: server.listen.1 = -1: an address and a port are meant, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
        (
            "[server]\nlisten = \"localhost:8080\"",
            "t.toml:2: server.listen = \"localhost:8080\": an address is meant, and no name; write \"127.0.0.1:8080\"",
        ),
        (
            "[server]\nlisten = \"*:8080\"",
            "t.toml:2: server.listen = \"*:8080\": an address is meant; \"0.0.0.0:8080\" is every one",
        ),
        (
            "[server]\nlisten = \"0.0.0.0\"",
            "t.toml:2: server.listen = \"0.0.0.0\": a port is missing: write \"0.0.0.0:8080\"",
        ),
        (
            "[dust]\nurl = \"dust+ws://h?token=hunter2\"",
            "t.toml:2: dust.url = \"dust+ws://h?token=***\": the path must end in /ws/sync; dust+wss://HOST/ws/sync?store=ORG/NAME is meant, or NAME-{0..7} for several stores",
        ),
        (
            "[upstreams.a]\nurl = [\"http://u:hunter2@h\", 'http://h?token=hunter2#a']",
            "t.toml:2: upstreams.a.url = [\"http://u:***@h\", \"http://h?token=***\"]: a string, { env = \"NAME\" } or { file = \"PATH\" } is meant, and not a list",
        ),
        (
            "[upstreams.a]\nurl = \"http:me:hunter2@h\"",
            "t.toml:2: upstreams.a.url = \"http:***@h\": two slashes stand between the scheme and the host",
        ),
        (
            "[upstreams.a]\nurl = \"http://@x\"",
            "t.toml:2: upstreams.a.url = \"http://***@x\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[upstreams.a]\nurl = \"http:x\"",
            "t.toml:2: upstreams.a.url = \"http:x\": two slashes stand between the scheme and the host: write \"http://x\"",
        ),
        (
            "[upstreams.a]\nurl = \" http://x\"",
            "t.toml:2: upstreams.a.url = \" http://x\": a URL has no white space in it",
        ),
        (
            "[bodies]\nurl = \"s3://bucket/p?endpoint=http:x\"",
            "t.toml:2: bodies.url = \"s3://bucket/p?endpoint=http:x\": ?endpoint=http:x: two slashes stand between the scheme and the host: write \"http://x\"",
        ),
        (
            "[bodies]\nurl = \"s3://bucket/p?endpoint=http://@x\"",
            "t.toml:2: bodies.url = \"s3://bucket/p?endpoint=http:***@x\": ?endpoint=***: an endpoint has no user, no password, no query and no fragment",
        ),
    ] {
        let found = said(text);
        assert!(!found.concat().contains("hunter2"), "{text}: {found:?}");
        assert_eq!(found, [told], "{text}");
    }
}

/// As a newcomer writes them.
#[test]
fn what_is_no_toml_or_no_table_is_told_as_it_should_be_written() {
    for (text, told) in [
        (
            "[[routes]]\nname = \"r\nupstream = \"http://o\"\n",
            "t.toml:2: not TOML: a text without its closing quotation mark; sections are written [name], settings name = value, and text in quotation marks",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n",
            "t.toml:3: not TOML: duplicate key `listen` in table `server`: it is set twice",
        ),
        (
            "[[routes]]\nname = \"r\"\nupstream = \"http://o\"\ngrace = \"1h\"\n",
            "t.toml:4: routes.r.grace = \"1h\": a table is meant: { while_revalidate = …, if_error = … }",
        ),
    ] {
        assert_eq!(said(text), [told], "{text}");
    }
}
