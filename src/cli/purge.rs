//! `dustgate purge`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ask::{Answer, ask, get};
use super::{Config, FAILED, fail, print, warm};
use crate::config::Settings;
use crate::key::target;

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
pub(super) struct Purge {
    /// URLs to purge.
    #[arg(group = "what", value_name = "URL")]
    urls: Vec<String>,
    /// Purge what has this tag; may be given several times, like the next three.
    #[arg(long = "tag", group = "what", value_name = "TAG")]
    tags: Vec<String>,
    /// Purge what is below this URL, which ends in a slash.
    #[arg(long = "prefix", group = "what", value_name = "URL")]
    prefixes: Vec<String>,
    /// Purge what is of this host.
    #[arg(long = "host", group = "what", value_name = "HOST")]
    hosts: Vec<String>,
    /// Purge what this route takes.
    #[arg(long = "route", group = "what", value_name = "NAME")]
    routes: Vec<String>,
    /// Purge everything.
    #[arg(long, group = "what", conflicts_with_all = ["urls", "tags", "prefixes", "hosts", "routes"])]
    all: bool,
    /// The tags' host; tags of other hosts are not purged.
    #[arg(long, value_name = "HOST", requires = "tags")]
    within: Option<String>,
    /// Make it stale instead of removing it: it is validated before it is used again.
    #[arg(long)]
    soft: bool,
    /// Only say how many records it would cover.
    #[arg(long)]
    dry_run: bool,
    /// Then fetch what was purged: the URLs, and those that the instance's memory has by these tags and
    /// prefixes.
    #[arg(long, conflicts_with_all = ["hosts", "routes", "all", "dry_run"])]
    warm: bool,
    #[command(flatten)]
    how: warm::How,
    #[command(flatten)]
    config: Config,
}

/// The most URLs that are warmed after a purge.
const MOST_WARMED: usize = 100_000;

pub(super) async fn purge(purge: Purge) -> ExitCode {
    let settings = match purge.config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let content = if purge.all {
        json!({ "all": true, "soft": purge.soft, "dry_run": purge.dry_run })
    } else {
        json!({
            "url": purge.urls, "tag": purge.tags, "within": purge.within, "prefix": purge.prefixes,
            "host": purge.hosts, "route": purge.routes, "soft": purge.soft, "dry_run": purge.dry_run,
        })
    };
    let warmed = match covered(&settings, &purge).await {
        Ok(urls) => urls,
        Err(text) => return fail(FAILED, &text),
    };
    match ask(&settings, "/v1/purge", &content).await {
        Answer::Said(value) => {
            print::line(value);
            if warmed.is_empty() { ExitCode::SUCCESS } else { warm::run(&settings, warmed, &purge.how).await }
        }
        Answer::Refused(text) => fail(FAILED, &text),
        Answer::NobodyThere(text) => fail(FAILED, &format!("no instance answers on the admin port: {text}")),
    }
}

/// The URLs that are to be warmed after the purge: each once.
async fn covered(settings: &Settings, purge: &Purge) -> Result<Vec<String>, String> {
    if !purge.warm {
        return Ok(Vec::new());
    }
    let mut urls: BTreeSet<String> = purge.urls.iter().cloned().collect();
    let tags = purge.tags.iter().map(|tag| ("tag", tag));
    for (name, value) in tags.chain(purge.prefixes.iter().map(|prefix| ("prefix", prefix))) {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let query = [(name, value.clone()), ("limit", "1000".to_owned()), ("cursor", from.to_string())];
            let page = match get(settings, "/v1/records", &query).await {
                Answer::Said(page) => page,
                Answer::Refused(text) => return Err(text),
                Answer::NobodyThere(text) => {
                    return Err(format!("no instance answers on the admin port: {text}"));
                }
            };
            let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
            let of_host = |url: &&str| purge.within.as_deref().is_none_or(|host| is_of(url, host));
            let found = records.iter().filter_map(|record| record["url"].as_str()).filter(of_host);
            urls.extend(found.map(str::to_owned));
            if urls.len() > MOST_WARMED {
                return Err(format!("more than {MOST_WARMED} URLs would be warmed: nothing was purged"));
            }
            cursor = page["cursor"].as_u64();
        }
    }
    Ok(urls.into_iter().collect())
}

fn is_of(url: &str, host: &str) -> bool {
    let target = target::canonical_url(url);
    target.is_ok_and(|target| target.host().eq_ignore_ascii_case(host) || target.authority() == host)
}
