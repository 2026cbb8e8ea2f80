//! `dustgate warm`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::ask::{Answer, begin};
use super::{Config, FAILED, fail, print};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Warm {
    /// A file with a URL in each line; - is the standard input. Empty lines and those that begin with # count
    /// for nothing.
    #[arg(value_name = "FILE")]
    list: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    config: Config,
}

/// How URLs are warmed.
#[derive(Debug, Clone, Args)]
pub(super) struct How {
    /// How many are asked for at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_a_time: u16,
    /// A request field, "Name: value", such as "Accept-Encoding: gzip"; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
}

/// The most URLs, and the most bytes of them.
const MOST: usize = 1_000_000;
const MOST_BYTES: u64 = 256 << 20;
/// How many URLs go in one request, and how many bytes of them.
const AT_ONCE: (usize, usize) = (1_000, 200_000);
/// The width of the bar.
const WIDTH: usize = 40;

/// How far it is.
struct Progress {
    total: usize,
    done: usize,
    ends: BTreeMap<String, usize>,
    /// There is somebody to see a bar.
    bar: bool,
}

pub(super) async fn warm(warm: Warm) -> ExitCode {
    let settings = match warm.config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    match urls(&warm.list) {
        Ok(urls) => run(&settings, urls, &warm.how).await,
        Err(error) => fail(FAILED, &format!("{}: {error}", warm.list.display())),
    }
}

/// Warms these URLs, and says how far it is.
pub(super) async fn run(settings: &Settings, urls: Vec<String>, how: &How) -> ExitCode {
    let mut headers = BTreeMap::new();
    for (at, field) in how.headers.iter().enumerate() {
        // It may be a credential: it is told by its place.
        let Some((name, value)) = field.split_once(':') else {
            return fail(2, &format!("-H number {}: a field is written \"Name: value\"", at + 1));
        };
        headers.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    let bar = std::io::stderr().is_terminal();
    let mut progress = Progress { total: urls.len(), done: 0, ends: BTreeMap::new(), bar };
    progress.show();
    for some in in_parts(&urls) {
        let content = json!({ "urls": some, "headers": headers, "at_a_time": how.at_a_time });
        let before = progress.done;
        let ended = match begin(settings, "/v1/warm", &content).await {
            Ok(response) => listen(response, &mut progress).await,
            Err(Answer::NobodyThere(text)) => Err(format!("no instance answers on the admin port: {text}")),
            Err(Answer::Refused(text)) => Err(text),
            Err(Answer::Said(_)) => Ok(()),
        };
        if let Err(text) = ended {
            progress.clear();
            return fail(FAILED, &text);
        }
        if progress.done - before < some.len() {
            progress.clear();
            return fail(
                FAILED,
                &format!("the instance ends: {} of {} are done", progress.done, progress.total),
            );
        }
    }
    progress.clear();
    print::line(progress.summary());
    let bad = ["failed", "busy", "wrong"].iter().any(|end| progress.ends.contains_key(*end));
    if bad { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// Reads the lines of an answer as they come.
async fn listen(mut response: reqwest::Response, progress: &mut Progress) -> Result<(), String> {
    let mut rest = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| format!("the answer broke off: {error}"))?;
        let Some(chunk) = chunk else { return Ok(()) };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Ok(line) = serde_json::from_slice::<Value>(&line) {
                progress.hears(&line);
            }
        }
    }
}

/// The URLs of a file.
fn urls(file: &Path) -> Result<Vec<String>, String> {
    let input: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| error.to_string())?)
    };
    let mut urls = Vec::new();
    let mut lines = std::io::BufReader::new(input.take(MOST_BYTES + 1));
    let (mut line, mut bytes) = (String::new(), 0);
    loop {
        line.clear();
        let read = lines.read_line(&mut line).map_err(|error| error.to_string())?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        let url = line.trim();
        if !url.is_empty() && !url.starts_with('#') {
            urls.push(url.to_owned());
        }
        if urls.len() > MOST || bytes > MOST_BYTES {
            return Err(format!("more than {MOST} URLs, or than {} MiB of them", MOST_BYTES >> 20));
        }
    }
    if urls.is_empty() { Err("there is no URL in it".to_owned()) } else { Ok(urls) }
}

/// The parts that go in one request each.
fn in_parts(urls: &[String]) -> Vec<&[String]> {
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, url) in urls.iter().enumerate() {
        if at > from && (at - from == AT_ONCE.0 || bytes + url.len() > AT_ONCE.1) {
            parts.push(&urls[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += url.len();
    }
    parts.push(&urls[from..]);
    parts
}

// === impl Progress ===

impl Progress {
    /// Takes a line of the instance: of one URL, or of all.
    fn hears(&mut self, line: &Value) {
        let (Some(url), Some(end)) = (line["url"].as_str(), line["end"].as_str()) else { return };
        self.done += 1;
        *self.ends.entry(end.to_owned()).or_default() += 1;
        let is_told = !self.bar || ["failed", "busy", "wrong"].contains(&end);
        if is_told {
            self.clear();
            let (status, ms) = (line["status"].as_u64().unwrap_or(0), line["ms"].as_u64().unwrap_or(0));
            print::line(format_args!("{end:<6} {status:>3} {ms:>6} ms  {url}"));
        }
        self.show();
    }

    fn show(&self) {
        if self.bar {
            let full = WIDTH * self.done / self.total.max(1);
            let (full, empty) = ("#".repeat(full), "-".repeat(WIDTH - full));
            print::progress(format_args!("[{full}{empty}] {}/{}", self.done, self.total));
        }
    }

    fn clear(&self) {
        if self.bar {
            print::progress("");
        }
    }

    fn summary(&self) -> String {
        let ends: Vec<String> = self.ends.iter().map(|(end, many)| format!("{many} {end}")).collect();
        format!("{} URLs: {}", self.done, ends.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_in_number_and_in_bytes() {
        let many: Vec<String> = (0..2_500).map(|n| n.to_string()).collect();
        let lengths: Vec<usize> = in_parts(&many).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [1000, 1000, 500]);
        let long = vec!["u".repeat(90_000); 5];
        assert_eq!(in_parts(&long).iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(in_parts(&["u".repeat(900_000)]).len(), 1);
    }
}
