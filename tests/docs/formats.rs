//! The page on formats, read as another implementation would read it: what it shows can be read, what it
//! names is what stands in the stores, and by its words alone a response is found there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dustgate::record::codec;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::blocks::{Kind, blocks_of};
use super::fleet::{address, connect, free_port};
use super::pages::{Page, code, page};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dustgate");
const PAGE: &str = "docs/formats.md";

/// What a block of the page shows.
enum Shown {
    Pointer,
    Verdict,
    /// Small, and read by its fields alone.
    Other,
}

fn shown(value: &Value) -> Shown {
    if value.get("key").is_some() {
        Shown::Pointer
    } else if value.get("token").is_some() {
        Shown::Verdict
    } else {
        Shown::Other
    }
}

#[test]
fn what_is_shown_is_read_and_written_again_and_every_field_is_explained() {
    let page = page(PAGE);
    for block in blocks_of(&page, Kind::Json) {
        let there: Value = serde_json::from_str(&block.text).unwrap();
        let failed = |error: codec::CodecError| -> ! { panic!("{}: {error}", block.place) };
        let again = match shown(&there) {
            Shown::Pointer => {
                let pointer = codec::decode(&block.text, &codec::Limits::NONE).unwrap_or_else(|e| failed(e));
                codec::encode(&pointer).unwrap()
            }
            Shown::Verdict => {
                let note =
                    codec::decode_note(&block.text, &codec::Limits::NONE).unwrap_or_else(|e| failed(e));
                codec::encode_note(&note).unwrap()
            }
            Shown::Other => there.to_string(),
        };
        let again: Value = serde_json::from_str(&again).unwrap();
        assert_eq!(there, again, "{}", block.place);
        check_explained(&page, &there);
    }
}

/// Every field of an object, and of those in it, has a row.
fn check_explained(page: &Page, value: &Value) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let has_row = page.rows().any(|row| code(row[0]).contains(&name.as_str()));
        assert!(has_row, "{name} is not explained");
        if name != "select" {
            check_explained(page, value);
        }
    }
}

/// The names that entries may have, as the page writes them.
fn templates(page: &Page) -> Vec<String> {
    let rows = page.rows_below("## Entries of the coordination store");
    rows[1..].iter().flat_map(|row| code(row[0])).map(str::to_owned).collect()
}

/// Whether a name is one of a template, with `prefix` for its prefix.
fn fits(template: &str, prefix: &str, name: &str) -> bool {
    let Some((before, rest)) = template.split_once('<') else { return template == name };
    let Some(name) = name.strip_prefix(before) else { return false };
    let (what, rest) = rest.split_once('>').unwrap();
    let ends = |takes: fn(u8) -> bool| name.bytes().take_while(|byte| takes(*byte)).count();
    match what {
        "prefix" => name.strip_prefix(prefix).is_some_and(|name| fits(rest, prefix, name)),
        "hash" => {
            name.len() >= 32 && ends(|byte| byte.is_ascii_hexdigit()) >= 32 && fits(rest, prefix, &name[32..])
        }
        "token" | "n" => {
            let digits = ends(|byte| byte.is_ascii_digit());
            digits > 0 && fits(rest, prefix, &name[digits..])
        }
        "instance" | "upstream" => {
            let letters = ends(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            letters > 0 && fits(rest, prefix, &name[letters..])
        }
        other => panic!("<{other}> is not explained to the test"),
    }
}

fn check_names(names: impl IntoIterator<Item = impl AsRef<str>>, prefix: &str) {
    let templates = templates(&page(PAGE));
    for name in names {
        let name = name.as_ref();
        assert!(templates.iter().any(|template| fits(template, prefix, name)), "{name} is not on the page");
    }
}

/// The names of a fleet's keys in Redis: its own, and those of entries.
pub fn check_names_in_redis(keys: &[String], prefix: &str) {
    let page = page(PAGE);
    let own: Vec<_> = page
        .rows_below("### Redis and Valkey")
        .iter()
        .flat_map(|row| code(row[0]))
        .map(|key| key.replace("<prefix>", prefix))
        .collect();
    let entries = keys.iter().filter(|key| !own.contains(key));
    // Entries, and the bytes of carried segments.
    let before = [format!("{{{prefix}}}:"), format!("{{{prefix}}}=")];
    let name = |key| before.iter().find_map(|before| str::strip_prefix(key, before.as_str()));
    let names: Vec<_> = entries.map(|key| name(key).unwrap_or(key)).collect();
    assert!(names.len() > 3 && names.len() + 3 < keys.len() + 1, "{keys:?}");
    check_names(names, prefix);
}

#[test]
fn names_fit_their_templates() {
    let hash = "7bf1deb8ca9bd07dd022799af251021f";
    for (template, name, is) in [
        ("<prefix>/1/<hash>!<token>w", format!("p/1/{hash}!17w"), true),
        ("<prefix>/1/<hash>!<token>w", format!("p/1/{hash}!17"), false),
        ("<prefix>/1/<hash>", format!("p/1/{hash}0"), false),
        ("_dust:sf/<prefix>/1/<hash>", format!("_dust:sf/p/1/{hash}"), true),
        ("<prefix>/i/<instance>!", "p/i/vm-1!".to_owned(), true),
    ] {
        assert_eq!(fits(template, "p", &name), is, "{template} / {name}");
    }
}

/// An origin and an instance with stores on disk. Ended when dropped.
struct Rig {
    children: Vec<Child>,
    dir: tempfile::TempDir,
    proxy: String,
    admin: String,
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let origin = free_port();
        let mut counting = Command::new(PROGRAM);
        counting.args(["demo", "--delay-ms", "1", "--origin-only", &format!("127.0.0.1:{origin}")]);
        let mut children = vec![counting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()];
        connect(origin);
        let settings = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [dust]\nurl = \"embedded:{0}/dust\"\n[bodies]\nurl = \"file:{0}/bodies\"\nsmall = \"0B\"\n\
             [[routes]]\nname = \"all\"\nupstream = \"http://127.0.0.1:{origin}\"\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("d.toml"), settings).unwrap();
        let mut instance = Command::new(PROGRAM);
        instance.arg("serve").arg("-c").arg(dir.path().join("d.toml"));
        instance.env("DUSTGATE_LOG__FORMAT", "text");
        let mut instance = instance.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = std::io::BufReader::new(instance.stderr.take().unwrap());
        let proxy = address(&mut errors, "listening on http://");
        let admin = address(&mut errors, "admin on http://");
        children.push(instance);
        Self { children, dir, proxy, admin }
    }

    fn purge(&self, content: &str) {
        let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d", content];
        let said = get(&format!("http://{}/v1/purge", self.admin), &json);
        assert!(said.contains("confirmed"), "{said}");
    }

    /// Ends the instance as an operator does.
    fn end(&mut self) {
        let mut instance = self.children.pop().unwrap();
        let kill = format!("kill -TERM {}", instance.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(instance.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What curl gets.
fn get(url: &str, more: &[&str]) -> String {
    let said = Command::new("curl").args(["-s", "--max-time", "60", url]).args(more).output().unwrap();
    assert!(said.status.success(), "{url}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

fn hash(bytes: &[u8]) -> String {
    let mut first = [0; 16];
    first.copy_from_slice(&Sha256::digest(bytes)[..16]);
    codec::hex(&first)
}

#[test]
fn by_the_page_alone_a_response_is_found_in_the_stores() {
    let mut rig = Rig::start();
    let url = |path: &str| format!("http://{}{path}", rig.proxy);
    rig.purge(&format!("{{\"url\":\"{}\",\"soft\":true}}", url("/slow")));
    rig.purge("{\"all\":true}");
    let body = get(&url("/slow"), &[]);
    get(&url("/vary"), &["-H", "Accept-Language: de"]);
    get(&url("/private"), &[]);
    get(&url("/fail"), &[]);
    get(&url("/fail"), &[]);
    rig.end();

    let file = rusqlite::Connection::open(rig.dir.path().join("dust/dust.sqlite")).unwrap();
    let pragma = |name: &str| file.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("user_version"), pragma("application_id")), (2, 0x6475_7374));
    let mut all = file.prepare("SELECT key, value, number FROM entries").unwrap();
    let all: Vec<(String, String, i64)> = all
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    check_names(all.iter().map(|(name, ..)| name), "dustgate");
    let value = |name: &str| -> Value {
        let (_, text, _) =
            all.iter().find(|(key, ..)| key == name).unwrap_or_else(|| panic!("{name}: {all:?}"));
        serde_json::from_str(text).unwrap()
    };
    let page = page(PAGE);
    for (name, text, _) in &all {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(!value.is_object() || value["v"] == 1, "{name}: {text}");
        check_explained(&page, &value);
    }

    // A response: the record, and its bytes.
    let name = |key: &str| format!("dustgate/1/{}", hash(key.as_bytes()));
    let record = value(&name("http://127.0.0.1/slow"));
    assert_eq!(record["key"], "http://127.0.0.1/slow");
    let life = record["body"]["life"].as_str().unwrap();
    let id: String = file.query_row("SELECT id FROM store", [], |row| row.get(0)).unwrap();
    assert_eq!(life, id);
    let bodies = rig.dir.path().join("bodies").join(life);
    assert_eq!(read_body(&file, &bodies, &record), body.as_bytes());
    let marker: Value = serde_json::from_slice(&std::fs::read(bodies.join("here")).unwrap()).unwrap();
    assert_eq!((&marker["v"], &marker["prefix"]), (&1.into(), &"dustgate".into()));
    check_explained(&page, &marker);

    // A variant, by its node.
    let node = value(&name("http://127.0.0.1/vary"));
    assert_eq!(node["vary"], serde_json::json!(["accept-language"]));
    let variant = value(&name("http://127.0.0.1/vary\n+accept-language: de"));
    assert_eq!(node["variants"][0], hash(variant["key"].as_str().unwrap().as_bytes()));

    // Verdicts and stamps. What is in memory alone is not in the file: a failure may be over.
    assert_eq!(value(&format!("{}!", name("http://127.0.0.1/private")))["pass"], "private");
    let stamp = value("dustgate/1/s/all/h");
    assert_eq!((&stamp["kind"], &stamp["soft"]), (&"all".into(), &false.into()));
    let number = |name: &str| all.iter().find(|(key, ..)| key == name).unwrap().2;
    assert!(
        number("dustgate/1/s/all/h") < record["born"].as_i64().unwrap(),
        "purged before it was asked for"
    );
    let samples: BTreeSet<_> = blocks_of(&page, Kind::Json).iter().map(|block| fields(&block.text)).collect();
    for (name, text, _) in all.iter().filter(|(name, ..)| name.contains("/s/") || name.contains('~')) {
        assert!(samples.contains(&fields(text)), "{name}: {text} is not shown");
    }
}

fn fields(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

/// The bytes of a record, as the page says where they are.
fn read_body(records: &rusqlite::Connection, life: &Path, record: &Value) -> Vec<u8> {
    let key = hash(record["key"].as_str().unwrap().as_bytes());
    let mut body = Vec::new();
    for segment in record["body"]["segments"].as_array().unwrap() {
        let digest = segment[3].as_str().unwrap();
        let bytes: Vec<u8> = if digest.starts_with('+') {
            let (name, tail) = (format!("dustgate/1/{key}"), format!("{}/{}", segment[0], segment[1]));
            let sql = "SELECT body FROM entries WHERE key = ?1 AND tail = ?2";
            records.query_row(sql, [&name, &tail], |row| row.get(0)).unwrap()
        } else {
            let file = format!("{}/{key}.{}.{}", &key[..1], segment[0], segment[1]);
            std::fs::read(life.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        assert_eq!(segment[2].as_u64(), Some(bytes.len() as u64));
        assert_eq!(digest.trim_start_matches('+'), hash(&bytes));
        body.extend(bytes);
    }
    assert_eq!(record["body"]["len"].as_u64(), Some(body.len() as u64));
    body
}
