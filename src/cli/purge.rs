//! `dustgate purge`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ask::{Answer, ask};
use super::{Config, FAILED, fail, print};

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
    #[command(flatten)]
    config: Config,
}

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
    match ask(&settings, "/v1/purge", &content).await {
        Answer::Said(value) => {
            print::line(value);
            ExitCode::SUCCESS
        }
        Answer::Refused(text) => fail(FAILED, &text),
        Answer::NobodyThere(text) => fail(FAILED, &format!("no instance answers on the admin port: {text}")),
    }
}
