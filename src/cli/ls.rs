//! `dustgate ls`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::ask::{Answer, get};
use super::{Config, FAILED, fail, print};

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Only what has this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only what has a URL that begins so.
    #[arg(long)]
    prefix: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON, one record a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

pub(super) async fn ls(ls: Ls) -> ExitCode {
    let settings = match ls.config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let (mut left, mut cursor) = (ls.limit, Some(0));
    while let Some(from) = cursor.filter(|_| left > 0) {
        let mut query = vec![("limit", left.min(1_000).to_string()), ("cursor", from.to_string())];
        query.extend(ls.tag.clone().map(|tag| ("tag", tag)));
        query.extend(ls.prefix.clone().map(|prefix| ("prefix", prefix)));
        let page = match get(&settings, "/v1/records", &query).await {
            Answer::Said(page) => page,
            Answer::Refused(text) => return fail(FAILED, &text),
            Answer::NobodyThere(text) => {
                return fail(FAILED, &format!("no instance answers on the admin port: {text}"));
            }
        };
        let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        for record in records {
            print::line(if ls.json { record.to_string() } else { line(record) });
        }
        left = left.saturating_sub(records.len());
        cursor = page["cursor"].as_u64();
    }
    ExitCode::SUCCESS
}

/// Status, size, age and what is left of the lifetime in seconds, URL, tags.
fn line(record: &Value) -> String {
    let number = |name: &str| record[name].as_i64().unwrap_or_default();
    let tags = record["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).collect();
    let (status, size, age, ttl) = (number("status"), number("size"), number("age_s"), number("ttl_s"));
    let url = record["url"].as_str().unwrap_or_default();
    format!("{status} {size:>10} {age:>7} {ttl:>7}  {url}  {}", tags.join(" ")).trim_end().to_owned()
}
