//! The Dust server of the testkit against recordings of the real one's wire.
//!
//! Each file of `dust/transcripts` is played on real sockets: what its clients sent is sent again, and
//! each answer is compared with the one that was recorded. The frames are facts; the tokens in them are
//! placeholders.
//!
//! The other way round, `scripted` plays the recordings' server side to clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "dust/assumptions.rs"]
mod assumptions;
#[path = "dust/likeness.rs"]
mod likeness;
#[path = "dust/replay.rs"]
mod replay;
#[path = "dust/scripted.rs"]
mod scripted;
#[path = "dust/wire.rs"]
mod wire;

use std::fs;
use std::path::Path;

use dustgate::testkit::dust_server::Recording;

fn recordings() -> Vec<(String, Recording)> {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dust/transcripts");
    let files = fs::read_dir(below).unwrap().map(|file| file.unwrap().path());
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut read: Vec<_> =
        files.map(|file| (name(&file), Recording::parse(&fs::read_to_string(&file).unwrap()))).collect();
    read.sort_by(|(one, _), (other, _)| one.cmp(other));
    read
}

#[tokio::test]
async fn each_recording_is_answered_as_the_real_server_answered_it() {
    let recordings = recordings();
    assert_eq!(recordings.len(), 17, "each recording has its file");
    let mut wrong = Vec::new();
    println!("| file | what it proves | sent | compared | |\n|---|---|---|---|---|");
    for (name, recording) in recordings {
        let outcome = replay::play(&recording).await;
        let verdict = if outcome.differences.is_empty() { "pass" } else { "FAIL" };
        let proves = recording.head["proves"].as_str().unwrap();
        println!("| {name} | {proves} | {} | {} | {verdict} |", outcome.sent, outcome.compared);
        wrong.extend(outcome.differences.into_iter().map(|text| format!("{name}: {text}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_answer_that_is_not_the_recorded_one_is_seen() {
    let (_, mut recording) = recordings().swap_remove(2);
    let heard: Vec<_> = recording.lines.iter_mut().filter(|line| line.get("hear").is_some()).collect();
    let count = heard.len();
    for line in heard {
        line["hear"][4]["unheard_of"] = true.into();
    }
    let outcome = replay::play(&recording).await;
    assert_eq!(outcome.differences.len(), count, "each of them differs");
    recording.lines.retain(|line| line["hear"][3] != "phx_reply");
    let outcome = replay::play(&recording).await;
    assert!(
        outcome.differences.iter().any(|text| text.contains("recorded null")),
        "what is too much is seen"
    );
}
