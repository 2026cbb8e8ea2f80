//! `dustgate try`: asks an origin twice, and says what would be stored of its answers.
//!
//! The requests are those that a fill would send, or the client's own if it would go by itself. The answers are
//! judged by the policy that serving uses. Nothing is stored, and no store is opened.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Config, FAILED, fail, print};
use crate::clock::Dice;

mod answer;
mod asked;
mod compared;
mod judged;
mod masked;
mod suggested;
mod written;

use answer::Answer;
use asked::Asked;
use judged::{Judged, Outcome};
use masked::{Foreign, Masked};
use suggested::Suggested;

#[derive(Debug, Args)]
pub(super) struct Trial {
    /// The URL, whole: as the origin has it, or with -c as a client asks for it.
    url: String,
    /// A request field, "Name: value"; may be given several times. Credentials are not printed.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// A file of settings: the URL is judged by its route, if one matches. Without it, by the defaults.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<std::path::PathBuf>,
}

/// The lines of the report, each with its name. What others said is masked before it enters a line.
struct Report {
    lines: Vec<(&'static str, String)>,
    masked: Masked,
}

pub(super) async fn run(trial: Trial) -> ExitCode {
    let headers = match fields(&trial.headers) {
        Ok(headers) => headers,
        Err(text) => return fail(2, &text),
    };
    let settings = match trial.file {
        None => None,
        Some(file) => match (Config { file: Some(file) }).load() {
            Ok(settings) => Some(settings),
            Err(code) => return code,
        },
    };
    let asked = match Asked::new(&trial.url, headers, settings.as_ref(), &Dice::new()) {
        Ok(asked) => asked,
        Err(text) => return fail(2, &text),
    };
    let answers = [asked.ask().await, asked.ask().await];
    let value = report(&asked, &answers);
    if trial.json {
        print::line(format_args!("{value:#}"));
    } else {
        print::lines(value["text"].as_str().unwrap_or_default());
    }
    ExitCode::from(value["code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// The fields that are given with -H. What is wrong is told by its place: it may be a credential.
fn fields(given: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (at, field) in given.iter().enumerate() {
        let at = at + 1;
        let Some((name, value)) = field.split_once(':') else {
            return Err(format!("-H number {at}: a field is written \"Name: value\""));
        };
        let Ok(name) = HeaderName::try_from(name.trim()) else {
            return Err(format!("-H number {at}: what stands before the colon is no name of a field"));
        };
        let Ok(value) = HeaderValue::try_from(value.trim()) else {
            return Err(format!("-H number {at}: the value has bytes that no field may have"));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// What the answers are, and what would be done with them.
fn report(asked: &Asked, answers: &[Result<Answer, Foreign>; 2]) -> Value {
    let mut report = Report { lines: Vec::new(), masked: asked.masked() };
    report.add("url", format!("GET {}", asked.url().shown(&report.masked)));
    report.add("route", asked.route_shown());
    let came: Vec<&Answer> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    for (name, answer) in ["first", "second"].into_iter().zip(answers) {
        let said = match answer {
            Ok(answer) => answer.shown(&report.masked),
            Err(error) => format!("no answer: {}", error.shown(&report.masked)),
        };
        report.add(name, said);
    }
    let Some(first) = came.first() else {
        report.add("answer", "none: the origin gave none that can be judged");
        return report.done(FAILED, None, answers, None);
    };
    let judged: Vec<Judged> = came.iter().map(|answer| asked.judge(answer)).collect();
    let verdict = &judged[0];
    let Report { lines, masked } = &mut report;
    compared::describe(first, came.get(1).copied(), &asked.by.route.rules, masked, |name, text| {
        lines.push((name, text));
    });
    report.add("answer", verdict.answer());
    report.add("because", verdict.because(&asked.by.route.name));
    if let Some(other) = judged.get(1).filter(|other| other.reason() != verdict.reason()) {
        report.add("but", format!("the second answer: {}", other.because(&asked.by.route.name)));
    }
    let suggested = Suggested::new(asked, &report.masked, first, came.get(1).copied());
    report.done(verdict.outcome().code(), Some(verdict), answers, Some(&suggested))
}

// === impl Report ===

impl Report {
    fn add(&mut self, name: &'static str, text: impl Into<String>) {
        self.lines.push((name, text.into()));
    }

    fn done(
        self,
        code: u8,
        verdict: Option<&Judged>,
        answers: &[Result<Answer, Foreign>; 2],
        suggested: Option<&Suggested>,
    ) -> Value {
        let mut text = String::new();
        for (name, said) in &self.lines {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name:<10} {said}");
        }
        let block = suggested.map(Suggested::block);
        if let Some(block) = &block {
            text.push_str("\nsettings to begin with:\n\n");
            text.push_str(block);
        }
        let lines: serde_json::Map<String, Value> =
            self.lines.iter().map(|(name, text)| ((*name).to_owned(), text.as_str().into())).collect();
        let told = answers.iter().map(|answer| match answer {
            Ok(answer) => answer.json(),
            Err(error) => json!({ "error": error.shown(&self.masked) }),
        });
        json!({
            "outcome": verdict.map_or("unanswered", |verdict| verdict.outcome().as_str()),
            "code": code,
            "reason": verdict.and_then(Judged::reason).map(crate::policy::PassReason::as_str),
            "answers": told.collect::<Vec<_>>(),
            "lines": lines,
            "suggested": block,
            "text": text,
        })
    }
}

// === impl Outcome ===

impl Outcome {
    /// The exit code of `dustgate try`.
    fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Shared => 3,
            Self::Alone => 4,
        }
    }
}
