//! Recipes: an instance that serves with the settings of a page, in front of an origin that says what it got.

use std::io::{BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use super::blocks::{Kind, blocks};
use super::pages::pages;
use super::{alike, fleet, origin};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dustgate");
/// The origin that the pages name.
const ORIGIN: &str = "https://origin.example.com";

/// An instance with the settings of one block.
struct Instance {
    child: Child,
    proxy: String,
    admin: String,
    /// Removed with it.
    _dir: tempfile::TempDir,
}

impl Instance {
    fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dustgate.toml");
        std::fs::write(&file, settings.replace(ORIGIN, &format!("http://{}", origin::start()))).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["serve", "-c"])
            .arg(file)
            .env("ADMIN_TOKEN", "0123456789abcdef")
            // As text it says where it listens.
            .env("DUSTGATE_LOG__FORMAT", "text")
            .env("DUSTGATE_SERVER__LISTEN", "127.0.0.1:0")
            .env("DUSTGATE_ADMIN__LISTEN", "127.0.0.1:0")
            .env("DUSTGATE_DUST__URL", "embedded:")
            .env("DUSTGATE_BODIES__URL", "memory:")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let proxy = fleet::address(&mut errors, "listening on http://");
        let admin = fleet::address(&mut errors, "admin on http://");
        std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        Self { child, proxy, admin, _dir: dir }
    }

    fn run(&self, command: &str) -> String {
        let command = command
            .replace("localhost:8080", &self.proxy)
            .replace("dustgate explain", &format!("{PROGRAM} explain"))
            .replace("dustgate purge", &format!("{PROGRAM} purge"));
        let output = Command::new("timeout")
            .args(["60", "bash", "-c", &format!("exec 2>&1; {command}")])
            .env("DUSTGATE_ADMIN__LISTEN", &self.admin)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().replace(&self.proxy, "localhost:8080")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_recipe_does_what_its_page_says() {
    let mut wrong = Vec::new();
    for page in pages() {
        let mut settings = None;
        let mut instance = None;
        for block in blocks(&page) {
            match block.kind {
                Kind::Toml => (settings, instance) = (Some(block.text), None),
                Kind::Recipe => {
                    let settings = settings.as_deref().expect("settings above a recipe");
                    let instance = instance.get_or_insert_with(|| Instance::start(settings));
                    for (command, shown) in block.commands() {
                        let said = instance.run(&command);
                        if let Err(why) = alike::lines(&shown, &said) {
                            wrong.push(format!("{}: $ {command}\n{why}\n--- it said:\n{said}", block.place));
                        }
                    }
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
