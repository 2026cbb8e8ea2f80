//! The origin of the recipes: it says what it got, and how often.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The body of a large file.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
/// The request fields that the answers name.
const TOLD: [&str; 3] = ["authorization", "cookie", "x-tenant"];

/// Starts it, for as long as the process lives.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let counts = Arc::new(Mutex::new(HashMap::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counts = counts.clone();
            std::thread::spawn(move || while answer(&stream, &counts).is_some() {});
        }
    });
    at
}

/// Reads one request and answers it; none at the end of the connection.
fn answer(mut stream: &TcpStream, counts: &Mutex<HashMap<String, u32>>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    lines.read_line(&mut first).ok().filter(|&read| read > 0)?;
    let mut fields = HashMap::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        fields.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let content = fields.get("content-length").and_then(|length| length.parse::<usize>().ok());
    lines.read_exact(&mut vec![0; content.unwrap_or(0)]).ok()?;
    let target = first.split(' ').nth(1)?;
    let told = TOLD.iter().filter_map(|&name| Some((name, fields.get(name)?)));
    let told = told.map(|(name, value)| format!(" {name}: {value}")).collect::<Vec<_>>().concat();
    let count = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(format!("{target}{told}")).or_insert(0);
        *count += 1;
        *count
    };
    let said = format!("fetch {count} of {target}{told}\n");
    let (status, more, body) = match target.split('/').nth(1)? {
        "files" => part(fields.get("range")),
        "account" => ("200 OK", "cache-control: private\r\n".to_owned(), said),
        "pages" => ("200 OK", "cache-control: max-age=60\r\n".to_owned(), said),
        _ => ("200 OK", String::new(), said),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
    .ok()
}

/// The letters, or those of a range from one to another.
fn part(range: Option<&String>) -> (&'static str, String, String) {
    let fields = "etag: \"v1\"\r\ncache-control: public, max-age=3600\r\n".to_owned();
    let ends = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = ends else { return ("200 OK", fields, LETTERS.to_owned()) };
    let end = LETTERS.len() - 1;
    let (first, last): (usize, usize) = (first.parse().unwrap_or(0), last.parse().unwrap_or(end).min(end));
    let fields = format!("{fields}content-range: bytes {first}-{last}/{}\r\n", LETTERS.len());
    ("206 Partial Content", fields, LETTERS[first..=last].to_owned())
}
