//! Commands that ask a running instance through its operator's port.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::{Config, FAILED, fail, print, warn};
use crate::admin::{ExplainRequest, needed};
use crate::app::App;
use crate::config::Settings;
use crate::dust::{self, Missing};
use crate::proxy::explain::ENTRIES;
use crate::secret::SecretUrl;
use crate::telemetry::Log;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The URL, as a client asks for it.
    url: String,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A request field, "Name: value"; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the names in the store, too.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    config: Config,
}

/// How long the answer to `/readyz` may take: a ready instance answers at once.
const READY_BOUND: Duration = Duration::from_secs(2);

/// The result of a request to the operator's port.
pub(super) enum Answer {
    Said(Value),
    Refused(String),
    NobodyThere(String),
}

pub(super) async fn explain(explain: Explain) -> ExitCode {
    let settings = match explain.config.load() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let mut headers = Vec::new();
    for (at, field) in explain.headers.iter().enumerate() {
        // It may be a credential: it is told by its place.
        let Some((name, value)) = field.split_once(':') else {
            return fail(2, &format!("-H number {}: a field is written \"Name: value\"", at + 1));
        };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let question = ExplainRequest { url: explain.url, method: explain.method, headers };
    let content = json!({ "url": question.url, "method": question.method, "headers": question.headers });
    let value = match ask(&settings, "/v1/explain", &content).await {
        Answer::Said(value) => value,
        Answer::Refused(text) => return fail(2, &text),
        Answer::NobodyThere(_) => match alone(settings, question).await {
            Ok(value) => value,
            Err(code) => return code,
        },
    };
    if explain.json {
        print::line(format_args!("{value:#}"));
    } else {
        let text = value["text"].as_str().unwrap_or_default();
        let hidden = |line: &&str| line.split(' ').next() == Some(ENTRIES) && !explain.verbose;
        for line in text.lines().filter(|line| !hidden(line)) {
            print::line(line);
        }
    }
    ExitCode::from(value["code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// Explains from the settings alone, because no instance runs. Two empty stores in memory replace those
/// of the settings: opening those would write to them (a marker, a reserved number).
async fn alone(mut settings: Settings, question: ExplainRequest) -> Result<Value, ExitCode> {
    print::note(
        "no instance answers on the admin port: explained from the settings alone, as if nothing were stored",
    );
    warn(&settings);
    settings.dust.store.url = SecretUrl::here(dust::IN_MEMORY);
    settings.bodies.url = SecretUrl::here("memory:");
    let app = App::build(settings, "explain", Log::null(), Missing::Fails).await;
    let app = app.map_err(|error| fail(2, &error.to_string()))?;
    app.explain(question).await.map_err(|problem| fail(2, &problem.detail))
}

/// Asks an instance whether it is ready. Returns its text, or why it is not ready.
pub(super) async fn ready(settings: &Settings) -> Result<String, String> {
    alive(&format!("http://{}/readyz", door(settings))).await
}

/// Asks an address of this machine. Returns the text of a successful response, or why there is none.
pub(super) async fn alive(url: &str) -> Result<String, String> {
    let asked = client()?.get(url).timeout(READY_BOUND).send().await;
    let response = asked.map_err(|error| format!("{url}: {error}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| format!("{url}: {error}"))?;
    if status.is_success() { Ok(text) } else { Err(format!("{url}: {status}: {}", text.trim())) }
}

/// The address of the operator's port for a client on the same machine.
fn door(settings: &Settings) -> SocketAddr {
    local(settings.admin.listen.0)
}

/// The address by which a client on the same machine reaches a listener.
pub(super) fn local(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    at
}

fn client() -> Result<reqwest::Client, String> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    // No certificate is needed here, and an image may have none to load.
    client.tls_certs_only([]).build().map_err(|error| error.to_string())
}

pub(super) async fn ask(settings: &Settings, path: &str, content: &Value) -> Answer {
    let post = |client: &reqwest::Client, url: String| {
        client.post(url).header("content-type", "application/json").body(content.to_string())
    };
    send(settings, path, post).await
}

/// Gets a page of the operator's port.
pub(super) async fn get(settings: &Settings, path: &str, query: &[(&str, String)]) -> Answer {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    send(settings, path, |client, url| client.get(format!("{url}?{query}"))).await
}

async fn send(
    settings: &Settings,
    path: &str,
    request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
) -> Answer {
    match sent(settings, path, request).await {
        Ok(response) => {
            let text = response.text().await.unwrap_or_default();
            Answer::Said(serde_json::from_str(&text).unwrap_or(Value::Null))
        }
        Err(answer) => answer,
    }
}

/// Posts to the operator's port. Returns the answer from its head on: its content comes bit by bit.
pub(super) async fn begin(
    settings: &Settings,
    path: &str,
    content: &Value,
) -> Result<reqwest::Response, Answer> {
    let post = |client: &reqwest::Client, url: String| {
        client.post(url).header("content-type", "application/json").body(content.to_string())
    };
    sent(settings, path, post).await
}

async fn sent(
    settings: &Settings,
    path: &str,
    request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
) -> Result<reqwest::Response, Answer> {
    let client = client().map_err(Answer::Refused)?;
    let mut request = request(&client, format!("http://{}{path}", door(settings)));
    if let Some(token) = settings.admin.token_for(needed(&http::Method::POST, path)) {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    let response = request.send().await.map_err(|error| {
        if error.is_connect() {
            Answer::NobodyThere(format!("{}: {error}", settings.admin.listen))
        } else {
            Answer::Refused(error.to_string())
        }
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let detail = value["detail"].as_str().map_or(text.as_str(), |detail| detail).trim();
    Err(Answer::Refused(format!("{status}: {detail}")))
}
