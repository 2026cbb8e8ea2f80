//! What is wrong, all of it at once, each with its place.

use super::*;

#[test]
fn every_problem_is_told_at_once() {
    let text = r#"
[server]
listne = "127.0.0.1:8080"
header_timeout = 10
max_connections = "many"
trusted_proxies = ["10.0.0.0/8", "10.0.0.0/99", "x"]

[admin]
listen = "0.0.0.0:8081"

[dust]
url = "redis://user:hunter2@h:6379/cache"
on_unavailable = "panic"

[memroy]
size = "1GiB"

[upstreams.catalog]
url = "ftp://h"
tls = { cert = "c.pem", insecur = true }

[[routes]]
name = "products"
path = ["v1", "/a/../b"]
upstream = "katalog"
grace = { if_error = 600 }
max_object_size = 1048576

[[routes]]
path = "/x"
upstream = "http://o"
"#;
    assert_eq!(
        said(text),
        [
            "t.toml:3: server.listne = \"127.0.0.1:8080\": no such setting; did you mean listen?",
            "t.toml:4: server.header_timeout = 10: a duration has a unit: ms, s, m, h or d; write \"10s\"",
            "t.toml:5: server.max_connections = \"many\": a whole number is meant",
            "t.toml:6: server.trusted_proxies.1 = \"10.0.0.0/99\": a network is meant, such as \"10.0.0.0/8\" or \"::1\"",
            "t.toml:6: server.trusted_proxies.2 = \"x\": a network is meant, such as \"10.0.0.0/8\" or \"::1\"",
            "t.toml:9: admin.listen = \"0.0.0.0:8081\": admin.token is required when admin does not listen on a loopback address",
            "t.toml:12: dust.url = \"redis://user:***@h:6379/cache\": /cache is no database: a number is meant, such as /0",
            "t.toml:13: dust.on_unavailable = \"panic\": \"run_local\" or \"error\" is meant",
            "t.toml:15: memroy: no such setting; did you mean memory?",
            "t.toml:19: upstreams.catalog.url = \"ftp://h\": an http or https URL is meant",
            "t.toml:20: upstreams.catalog.tls.insecur = true: no such setting; did you mean insecure?",
            "t.toml:20: upstreams.catalog.tls.cert = \"c.pem\": cert and key go together",
            "t.toml:24: routes.products.path.0 = \"v1\": a path begins with \"/\"; \"/*\" is every path",
            "t.toml:24: routes.products.path.1 = \"/a/../b\": no request can have this path: the path has a . or .. segment",
            "t.toml:25: routes.products.upstream = \"katalog\": no such upstream; did you mean \"catalog\"?",
            "t.toml:26: routes.products.grace.if_error = 600: a duration has a unit: ms, s, m, h or d; write \"600s\"",
            "t.toml:27: routes.products.max_object_size = 1048576: a size has a unit: B, KiB, MiB, GiB or TiB; write \"1048576B\"",
            "t.toml:29: routes[1].name: is required: logs, metrics and commands name the route by it",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_by_line() {
    let told = said("[server]\nlisten = \n");
    assert!(told.len() == 1 && told[0].starts_with("t.toml:2: "), "{told:?}");
}

#[test]
fn one_line_per_mistake() {
    for (text, told) in [
        ("server = 3", "t.toml:1: server = 3: must be a table: [server]"),
        (
            "[server]\nlisten = 8080",
            "t.toml:2: server.listen = 8080: an address and a port are meant; write \"127.0.0.1:8080\"",
        ),
        (
            "[admin]\nlisten = 8081",
            "t.toml:2: admin.listen = 8081: an address and a port are meant; write \"127.0.0.1:8081\"",
        ),
        (
            "[upstream.api]\nurl = \"http://h\"",
            "t.toml:1: upstream: no such setting; did you mean upstreams?",
        ),
        ("[[route]]\nname = \"x\"", "t.toml:1: route: no such setting; did you mean routes?"),
        (
            "server:\n  listen: \"127.0.0.1:1\"",
            "t.toml:1: not TOML: expected `.`, `=`; sections are written [name], settings name = value, and text in quotation marks",
        ),
        ("[routes]\nname = \"x\"", "t.toml:1: routes: a list of tables: each route begins with [[routes]]"),
        ("routes = [1]", "t.toml:1: routes.0 = 1: must be a table"),
        (
            "[upstreams]\nurl = \"http://h\"",
            "t.toml:2: upstreams.url = \"http://h\": must be a table: [upstreams.NAME]",
        ),
        ("[upstreams.a]", "t.toml:1: upstreams.a.url: is required, such as \"https://origin.example.com\""),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_concurrent_fleet = 0",
            "t.toml:3: upstreams.a.max_concurrent_fleet = 0: must be from 1 to 65536; without the setting \
             the fleet has no limit of its own",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_rate_fleet = 10",
            "t.toml:3: upstreams.a.max_rate_fleet = 10: a rate is a whole number in a time: s, m, h or d, as in \"10/s\"",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_rate_fleet = \"0/s\"",
            "t.toml:3: upstreams.a.max_rate_fleet = \"0/s\": must be at least 1; without the setting there is no such limit",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_rate_fleet = \"100001/d\"",
            "t.toml:3: upstreams.a.max_rate_fleet = \"100001/d\": must be at most 100000 in any time",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_rate_fleet = \"10/s\"\nmax_rate_burst = 0",
            "t.toml:4: upstreams.a.max_rate_burst = 0: must be from 1 to 100000: nothing begins without one",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nmax_rate_burst = 5",
            "t.toml:3: upstreams.a.max_rate_burst = 5: there is no max_rate_fleet",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nretry_after = \"all\"",
            "t.toml:3: upstreams.a.retry_after = \"all\": \"key\" or \"upstream\" is meant",
        ),
        (
            "[upstreams.a]\nurl = \"origin\"",
            "t.toml:2: upstreams.a.url = \"origin\": a scheme is missing: write \"http://origin\"",
        ),
        (
            "[upstreams.a]\nurl = \"localhost:3000\"",
            "t.toml:2: upstreams.a.url = \"localhost:3000\": a scheme is missing: write \"http://localhost:3000\"",
        ),
        (
            "[upstreams.a]\nurl = \"//10.0.0.1:443/v1\"",
            "t.toml:2: upstreams.a.url = \"//10.0.0.1:443/v1\": a scheme is missing: write \"https://10.0.0.1:443/v1\"",
        ),
        (
            "[upstreams.a]\nurl = \"https://user:hunter2@o\"",
            "t.toml:2: upstreams.a.url = \"https://user:***@o\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[[routes]]\nname = \"r\"\nupstream = \"https://user:hunter2@o\"",
            "t.toml:3: routes.r.upstream = \"https://user:***@o\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[upstreams.a]\nurl = \"http://token@o/v1\"",
            "t.toml:2: upstreams.a.url = \"http://***@o/v1\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[[routes]]\nname = \"r\"\nupstream = \"http://token@o/v1\"",
            "t.toml:3: routes.r.upstream = \"http://***@o/v1\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[upstreams.a]\nurl = \"http://:hunter2@o\"",
            "t.toml:2: upstreams.a.url = \"http://:***@o\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[[routes]]\nname = \"r\"\nupstream = \"http://:hunter2@o\"",
            "t.toml:3: routes.r.upstream = \"http://:***@o\": an origin's URL has no user and no password: set what the origin wants to see with request_headers = { set = { authorization = … } } on its routes",
        ),
        (
            "[bodies]\nurl = \"s3://user:hunter2@bucket/p\"",
            "t.toml:2: bodies.url = \"s3://user:***@bucket/p\": credentials do not belong in the URL: they are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            "[bodies]\nurl = \"s3://bucket/p?endpoint=http://:hunter2@h\"",
            "t.toml:2: bodies.url = \"s3://bucket/p?endpoint=http:***@h\": ?endpoint=***: an endpoint has no user, no password, no query and no fragment",
        ),
        (
            "[dust]\nurl = \"dust+wss://user:hunter2@h/ws/sync?store=a/b\"",
            "t.toml:2: dust.url = \"dust+wss://user:***@h/ws/sync?store=a/b\": the token does not stand in the URL; set dust.token",
        ),
        (
            "[[routes]]\nname = \"r\"\nhost = \"user@h\"\nupstream = \"http://o\"",
            "t.toml:3: routes.r.host = \"user@h\": a host is a name or \"*.name\", perhaps with a port",
        ),
        (
            "[upstreams.a]\nurl = \"a b\"",
            "t.toml:2: upstreams.a.url = \"a b\": a URL is meant, such as \"https://origin.example.com\"",
        ),
        (
            "[upstreams.a]\nurl = [\"http://h\", \"http://i\", 3]",
            "t.toml:2: upstreams.a.url = [\"http://h\", \"http://i\", 3]: a string, { env = \"NAME\" } or { file = \"PATH\" } is meant, and not a list",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\ntimeout = \"5s\"",
            "t.toml:3: upstreams.a.timeout = \"5s\": no such setting; did you mean connect_timeout, first_byte_timeout, read_timeout, pool_idle_timeout or queue_timeout?",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nhost = \"a b\"",
            "t.toml:3: upstreams.a.host = \"a b\": \"upstream\", \"client\" or a host is meant",
        ),
        (
            "[upstreams.a]\nurl = \"http://h\"\nhttp = 2",
            "t.toml:3: upstreams.a.http = 2: \"1.1\", \"2\" or \"auto\" is meant",
        ),
        (
            "[server]\nlisten = \"8080\"",
            "t.toml:2: server.listen = \"8080\": an address and a port are meant; write \"127.0.0.1:8080\"",
        ),
        ("[server]\nlisten = \"127.0.0.1:8081\"", "t.toml: admin.listen: server.listen has the same address"),
        (
            "[admin]\ntoken = \"a\"\n[[admin.tokens]]\nname = \"x\"\ntoken = \"a\"\nmay = [\"read\"]",
            "t.toml:5: admin.tokens.x.token = ***: another has the same text: which of them a request bears could not be told",
        ),
        (
            "[[admin.tokens]]\nname = \"x\"\ntoken = \"a\"\nmay = [\"purge\"]\nwhere = { hosts = [\"h:443\"] }",
            "t.toml:5: admin.tokens.x.where.hosts = ***: \"h:443\": keys leave this port out, so name the host alone",
        ),
        (
            "[[routes]]\nname = \"r50007\"\nupstream = \"http://o\"\n[[routes]]\nname = \"r102831\"\npath = \"/x/*\"\nupstream = \"http://o\"",
            "t.toml:5: routes.r102831.name = \"r102831\": its hash is that of route \"r50007\": give one of them another name",
        ),
        (
            "[server]\nname = \"a b\"",
            "t.toml:2: server.name = \"a b\": must be a token: letters, digits, - and _",
        ),
        (
            "[server]\ndrain = \"0s\"",
            "t.toml:2: server.drain = \"0s\": cannot be off: there must be an end to it",
        ),
        (
            "[server]\ndrain = \"1 s\"",
            "t.toml:2: server.drain = \"1 s\": a duration has a unit: ms, s, m, h or d, behind one whole number, as in \"30s\"",
        ),
        ("[server]\nmax_connections = -1", "t.toml:2: server.max_connections = -1: a whole number is meant"),
        (
            "[server]\nmax_header_size = \"32kb\"",
            "t.toml:2: server.max_header_size = \"32kb\": a size has a unit: B, KiB, MiB, GiB or TiB, behind one whole number, as in \"64KiB\"",
        ),
        (
            "[server]\nmax_header_size = \"4KiB\"",
            "t.toml:2: server.max_header_size = \"4KiB\": must be at least 8KiB",
        ),
        (
            "[server]\nmax_target = \"64KiB\"",
            "t.toml:2: server.max_target = \"64KiB\": must be from 1B to 63KiB",
        ),
        (
            "[dust]\nurl = \"dust+wss://h/ws\"",
            "t.toml:2: dust.url = \"dust+wss://h/ws\": the path must end in /ws/sync; dust+wss://HOST/ws/sync?store=ORG/NAME is meant, or NAME-{0..7} for several stores",
        ),
        (
            "[dust]\nurl = \"./data\"",
            "t.toml:2: dust.url = \"./data\": redis://HOST, dust+wss://HOST/ws/sync?store=ORG/NAME or embedded:PATH is meant, or embedded: for a store in memory",
        ),
        (
            "[bodies]\nurl = \"s3://bodies?zone=x\"",
            "t.toml:2: bodies.url = \"s3://bodies?zone=x\": ?zone is not known: endpoint, region, path_style and credentials may stand there",
        ),
        (
            "[bodies]\nurl = \"gs://bodies\"",
            "t.toml:2: bodies.url = \"gs://bodies\": gs: is not in this build; there are dust:, file:PATH, s3://BUCKET/PREFIX and memory:",
        ),
        (
            "[bodies]\nurl = \"file:\"",
            "t.toml:2: bodies.url = \"file:\": a path is missing: file:PATH is meant",
        ),
        (
            "[bodies]\nurl = \"dust:\"\nlarge = \"memory:\"",
            "t.toml:3: bodies.large = \"memory:\": file:PATH or s3://BUCKET/PREFIX is meant",
        ),
        (
            "[bodies]\nlarge = \"s3://bodies\"",
            "t.toml:2: bodies.large = \"s3://bodies\": is of use only with bodies.url = \"dust:\"",
        ),
        (
            "[dust]\nurl = \"redis://h\"\n[bodies]\nurl = \"memory:\"",
            "t.toml:4: bodies.url = \"memory:\": instances that share the store at dust.url must share their bodies: dust:, file:PATH of a directory that all of them see, or s3://BUCKET",
        ),
        ("[admin]\ntoken = { env = \"NOWHERE\" }", "t.toml:2: admin.token: the environment has no NOWHERE"),
        (
            "[admin]\ntoken = { env = \"A\", file = \"b\" }",
            "t.toml:2: admin.token: either env or file, not both",
        ),
        (
            "[admin]\ntoken = { path = \"b\" }",
            "t.toml:2: admin.token.path = ***: no such setting; there are env, file",
        ),
        ("[admin]\ntoken = \"\"", "t.toml:2: admin.token = ***: it is empty"),
        (
            "[admin]\ntoken = 12345",
            "t.toml:2: admin.token = ***: a string, { env = \"NAME\" } or { file = \"PATH\" } is meant",
        ),
        (
            "[server]\ndefault_ttl = \"1s\"",
            "t.toml:2: server.default_ttl = \"1s\": no such setting here; it belongs in [[routes]]",
        ),
        (
            "default_ttl = \"1s\"",
            "t.toml:1: default_ttl = \"1s\": no such setting here; it belongs in [[routes]]",
        ),
        (
            "[log]\nurl = \"x\"",
            "t.toml:2: log.url = \"x\": no such setting here; it belongs in [dust], [bodies] or [upstreams.NAME]",
        ),
        ("[log]\nformat = \"yaml\"", "t.toml:2: log.format = \"yaml\": \"json\" or \"text\" is meant"),
    ] {
        assert_eq!(said(text), [told], "{text}");
    }
}

#[test]
fn one_line_per_mistake_in_a_route() {
    for (line, told) in [
        ("host = \"*\"", "routes.r.host = \"*\": leave `host` out to match every host"),
        (
            "host = [\"ok\", \"a b\"]",
            "routes.r.host.1 = \"a b\": a host is a name or \"*.name\", perhaps with a port",
        ),
        ("methods = [\"get\"]", "routes.r.methods.0 = \"get\": methods are case-sensitive; \"GET\" is meant"),
        ("secret_headers = [\"x-a\", \"x a\"]", "routes.r.secret_headers.1 = \"x a\": not a field name"),
        (
            "vary_on = \"cookie:\"",
            "routes.r.vary_on = \"cookie:\": a field's name or \"cookie:NAME\" is meant",
        ),
        (
            "ignore_cookies = [\"_ga*\", \"_g*a\"]",
            "routes.r.ignore_cookies.1 = \"_g*a\": a * may only stand at the end, for any rest of the name",
        ),
        (
            "ignore_cookies = \"*\"",
            "routes.r.ignore_cookies = \"*\": that is every cookie, which cookies = \"strip\" says",
        ),
        (
            "ignore_cookies = [\"_ga=1\"]",
            "routes.r.ignore_cookies.0 = \"_ga=1\": a cookie's name is meant, perhaps with a * at its end, or \"analytics\" for the ready list",
        ),
        ("query = { include = [\"a\"], exclude = [\"b\"] }", "routes.r.query: include or exclude, not both"),
        (
            "query = { exlude = [\"a\"] }",
            "routes.r.query.exlude = [\"a\"]: no such setting; did you mean exclude?",
        ),
        (
            "status_ttl = { 99 = \"1s\" }",
            "routes.r.status_ttl.99 = \"1s\": a status from 200 to 599 is meant",
        ),
        (
            "status_ttl = { 404 = 10 }",
            "routes.r.status_ttl.404 = 10: a duration has a unit: ms, s, m, h or d; write \"10s\"",
        ),
        (
            "ignore = [\"max_age\"]",
            "routes.r.ignore.0 = \"max_age\": \"max-age\", \"s-maxage\", \"expires\", \"no-cache\", \"must-revalidate\", \"private\" or \"no-store\" is meant",
        ),
        (
            "heuristic = \"off\"",
            "routes.r.heuristic = \"off\": false, true or { fraction = 0.1, max = \"60s\" } is meant",
        ),
        ("heuristic = { fraction = 2.0 }", "routes.r.heuristic.fraction = 2.0: a share from 0 to 1 is meant"),
        (
            "heuristic = { max = 60 }",
            "routes.r.heuristic.max = 60: a duration has a unit: ms, s, m, h or d; write \"60s\"",
        ),
        (
            "forward = \"some\"",
            "routes.r.forward = \"some\": \"all\", \"keyed\" or a list of field names is meant",
        ),
        ("forward = [\"x y\"]", "routes.r.forward.0 = \"x y\": not a field name"),
        (
            "set_cookie = \"keep\"",
            "routes.r.set_cookie = \"keep\": \"pass\", \"strip\" or \"store\" is meant",
        ),
        ("finish = \"never\"", "routes.r.finish = \"never\": \"always\" or \"while_wanted\" is meant"),
        (
            "strip_prefix = \"v1\"",
            "routes.r.strip_prefix = \"v1\": a path begins with \"/\"; \"/*\" is every path",
        ),
        ("strip_prefix = \"/v1/*\"", "routes.r.strip_prefix = \"/v1/*\": a path without a * is meant"),
        ("upgrade = [\"h2c\"]", "routes.r.upgrade.0 = \"h2c\": connections are never upgraded to h2c"),
        (
            "purge = { methods = [\"get\"], from = \"10.0.0.0/8\" }",
            "routes.r.purge.methods.0 = \"get\": get means something else; \"PURGE\" is meant, or another method of its own",
        ),
        (
            "purge = { methods = [\"PURGE\"] }",
            "routes.r.purge.from: is required: the networks of the clients that may purge, such as \"10.0.0.0/8\"",
        ),
        (
            "purge = { from = \"::1\", rate = \"often\" }",
            "routes.r.purge.rate = \"often\": a rate is a whole number in a time: s, m, h or d, as in \"10/s\"",
        ),
        ("max_variants = 0", "routes.r.max_variants = 0: must be more than 0"),
        (
            "wait_timeout = \"0s\"",
            "routes.r.wait_timeout = \"0s\": cannot be off: there must be an end to it",
        ),
        (
            "request_headers = { set = { host = \"x\" } }",
            "routes.r.request_headers.set.host = \"x\": host is not edited here: it is the upstream's `host` setting",
        ),
        (
            "response_headers = { remove = [\"Connection\"] }",
            "routes.r.response_headers.remove.0 = \"Connection\": connection says how a message is carried and cannot be edited",
        ),
        (
            "request_headers = { set = { authorization = \"a\\nb\" } }",
            "routes.r.request_headers.set.authorization = ***: the value of authorization has bytes that no field may have",
        ),
        ("default_tll = \"1s\"", "routes.r.default_tll = \"1s\": no such setting; did you mean default_ttl?"),
        (
            "ttl = \"1s\"",
            "routes.r.ttl = \"1s\": no such setting; did you mean default_ttl, status_ttl, max_ttl or pass_ttl?",
        ),
        (
            "read_timeout = \"1s\"",
            "routes.r.read_timeout = \"1s\": no such setting here; it belongs in [upstreams.NAME]",
        ),
        ("query = { read_timeout = 1 }", "routes.r.query.read_timeout = 1: no such setting; there are "),
        ("upstream_url = 1", "routes.r.upstream_url = 1: no such setting; did you mean upstream?"),
        (
            "default_ttl = [\"1s\", \"2s\"]",
            "routes.r.default_ttl = [\"1s\", \"2s\"]: a duration such as \"30s\" is meant, and not a list",
        ),
        ("frobnicate = 1", "routes.r.frobnicate = 1: no such setting; there are "),
    ] {
        let found = said(&format!("{ROUTE}{line}\n"));
        assert_eq!(found.len(), 1, "{line}: {found:#?}");
        let told = format!("t.toml:4: {told}");
        assert!(
            found[0] == told || (told.ends_with("there are ") && found[0].starts_with(&told)),
            "{line}\n{}\n{told}",
            found[0]
        );
    }
}

#[test]
fn one_line_per_mistake_in_what_a_route_names_as_its_upstream() {
    for (upstream, told) in [
        ("\"localhost:3000\"", "a scheme is missing: write \"http://localhost:3000\""),
        ("\"[::1]:3000/v1\"", "a scheme is missing: write \"http://[::1]:3000/v1\""),
        ("\"origin.test\"", "no such upstream, and a URL has a scheme: write \"http://origin.test\""),
        ("\"origin\"", "no such upstream; [upstreams.origin] would set it, or write a URL"),
        ("\"katalog\"", "no such upstream; did you mean \"catalog\"?"),
        ("\"ftp://origin\"", "an http or https URL is meant"),
        (
            "\"http:origin:3000\"",
            "two slashes stand between the scheme and the host: write \"http://origin:3000\"",
        ),
        ("[\"http://a\", \"http://b\"]", "a string is meant, and not a list"),
    ] {
        let text = format!(
            "[[routes]]\nname = \"r\"\nupstream = {upstream}\n[[routes]]\nname = \"s\"\npath = \"/s\"\nupstream = \"catalog\"\n\
             [upstreams.catalog]\nurl = \"http://o\"\n"
        );
        assert_eq!(said(&text), [format!("t.toml:3: routes.r.upstream = {upstream}: {told}")]);
    }
}

#[test]
fn a_route_hears_of_all_that_it_meets() {
    let route = |name: &str, path: &str| {
        format!("[[routes]]\nname = {name:?}\nupstream = \"http://o\"\npath = {path}\n")
    };
    let text = [route("a", "\"/a\""), route("b", "\"/b\""), route("c", "[\"/a\", \"/b\"]")].concat();
    assert_eq!(
        said(&text),
        [
            "t.toml:9: routes.c: equal in host, path and methods at /a with route \"a\", equal in host, path and methods at /b \
             with route \"b\": one of them must be more specific"
        ]
    );
}

#[test]
fn a_cookie_that_is_ignored_cannot_be_in_the_key() {
    assert_eq!(
        said(&format!("{ROUTE}vary_on = [\"cookie:s\", \"cookie:_ga_1\"]\nignore_cookies = \"analytics\"\n")),
        [
            "t.toml:4: routes.r.vary_on.1 = \"cookie:_ga_1\": ignore_cookies takes this cookie out, so it can't be in the key"
        ]
    );
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let text = format!(
        "{ROUTE}host = \"h\"\npath = \"/x\"\n[[routes]]\nname = \"s\"\nupstream = \"http://o\"\nhost = [\"g\", \"H\"]\npath = \"/x\"\n\
         [[routes]]\nname = \"r\"\nupstream = \"http://o\"\n"
    );
    assert_eq!(
        said(&text),
        [
            "t.toml:6: routes.s: equal in host, path and methods at h/x with route \"r\": one of them must be more specific",
            "t.toml:12: routes.r.name = \"r\": another route has this name",
        ]
    );
}
