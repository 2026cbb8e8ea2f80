//! The commands.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::app::{self, App, BuildError, Handed, Signals, Sockets};
use crate::clock::{Clock as _, Dice, SystemClock};
use crate::config::{self, Settings};
use crate::dust::Missing;
use crate::telemetry::{Format, Log};

mod ask;
mod check;
mod demo;
mod drill;
mod ls;
mod manual;
mod print;
mod purge;
mod sweep;
mod trial;
mod warm;

/// Exit code: the settings are wrong, or no instance can be built from them.
const BAD_SETTINGS: u8 = 2;
/// Exit code: the command could not do its work.
const FAILED: u8 = 1;

/// A caching reverse proxy for slow HTTP APIs: a miss is fetched once, for all requests that want it.
#[derive(Debug, Parser)]
#[command(name = "dustgate", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    Serve(Config),
    /// Check the settings, and print the routes in the order in which they match.
    Check(check::Check),
    /// Run a slow origin with the proxy in front of it, and print what to try. Needs nothing else.
    Demo(demo::Demo),
    /// Say why a request would get the answer that it would get. Fetches and changes nothing.
    Explain(ask::Explain),
    /// Ask an origin twice, and say what would be stored of its answers, why, and by which settings. Stores
    /// nothing.
    Try(trial::Trial),
    /// List the records in an instance's memory.
    Ls(ls::Ls),
    /// Purge URLs, tags, prefixes, hosts, routes, or everything.
    Purge(purge::Purge),
    /// Fetch URLs before clients ask for them, behind all that clients wait for.
    Warm(warm::Warm),
    /// Start a fleet with these settings on this machine, break its parts under load, and say which
    /// promises held. Touches nothing that is in use.
    Drill(drill::Drill),
    /// Remove stored bytes that no record names, and those of earlier lives of the store. Does two sweeps,
    /// while no instance sweeps.
    Sweep(sweep::Sweep),
    /// Print what makes a shell complete these commands.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in man's own form.
    Man,
}

/// Where the settings are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Config {
    /// The file of settings. Without it: config/dustgate.toml if it exists, else the defaults.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &format!("no runtime: {error}")),
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Serve(config) => serve(&config).await,
            Command::Check(check) => check::run(check).await,
            Command::Demo(demo) => demo::start(demo).await,
            Command::Explain(explain) => ask::explain(explain).await,
            Command::Try(trial) => trial::run(trial).await,
            Command::Ls(ls) => ls::ls(ls).await,
            Command::Purge(purge) => purge::purge(purge).await,
            Command::Warm(warm) => warm::warm(warm).await,
            Command::Drill(drill) => drill::run(drill).await,
            Command::Sweep(sweep) => sweep::run(&sweep).await,
            Command::Completions { shell } => manual::completions(&mut Cli::command(), shell),
            Command::Man => manual::page(Cli::command()),
        }
    });
    // Work that is left (a blocking read, a connection that was cut off) must not hold the process.
    runtime.shutdown_background();
    code
}

async fn serve(config: &Config) -> ExitCode {
    let settings = match config.load_to_serve() {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    run(settings, |_| {}).await
}

/// Serves, and calls `ready` once the ports are bound and everything is put together.
pub(crate) async fn run(settings: Settings, ready: impl FnOnce(&Sockets)) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(FAILED, &format!("signals can't be listened to: {error}")),
    };
    // A store may be slow to answer. Nothing is under way yet, so a signal ends the process at once.
    let nobody = Log::null();
    let format = settings.log.format;
    let started = tokio::select! {
        biased;
        told = signals.first(&nobody) => {
            print::note(format_args!("{told}: told to leave before it served"));
            return ExitCode::SUCCESS;
        }
        started = start(settings) => started,
    };
    match started {
        Ok((app, sockets)) => {
            announce(format, &sockets);
            ready(&sockets);
            ExitCode::from(app.run(sockets, signals).await.code())
        }
        Err(error) => fail(BAD_SETTINGS, &error.to_string()),
    }
}

async fn start(settings: Settings) -> Result<(App, Sockets), BuildError> {
    let sockets = Sockets::bind(&settings, Handed::from_env())?;
    let instance = app::instance_name(&Dice::new());
    let log = Log::stdout(&settings.log, &instance, || SystemClock.wall_ms())
        .map_err(|error| BuildError::Setting { setting: "log".into(), reason: error.to_string() })?;
    Ok((App::build(settings, &instance, log, Missing::Waits).await?, sockets))
}

/// Says on which addresses it listens. The first event of the log has them as well. A container or a unit has
/// one stream for log and stderr, so nothing but JSON goes there if the log is JSON.
fn announce(format: Format, sockets: &Sockets) {
    if format == Format::Json && !std::io::stderr().is_terminal() {
        return;
    }
    for address in sockets.data_addresses() {
        print::note(format_args!("listening on http://{address}"));
    }
    if let Ok(address) = sockets.admin_address() {
        print::note(format_args!("admin on http://{address}"));
    }
}

impl Config {
    /// Reads the settings, and prints no warnings: they are about what an instance would do with these settings,
    /// and most commands only look for one. If the settings are wrong, all problems have been printed.
    pub(crate) fn load(&self) -> Result<Settings, ExitCode> {
        let given = self.file.clone().or_else(default_file);
        match config::load(given.as_deref(), std::env::vars()) {
            Ok(settings) => Ok(settings),
            Err(problems) => {
                for problem in &problems {
                    print::note(format_args!("error: {problem}"));
                }
                let plural = if problems.len() == 1 { "error" } else { "errors" };
                print::note(format_args!("{} {plural} in the settings", problems.len()));
                Err(ExitCode::from(BAD_SETTINGS))
            }
        }
    }

    /// Reads the settings of a process that serves, and prints all warnings. Limits that do not fit into its
    /// descriptors are lowered, and memory that it may not have is warned of.
    pub(crate) fn load_to_serve(&self) -> Result<Settings, ExitCode> {
        let mut settings = self.load()?;
        settings.fit_into(app::raise_descriptors());
        settings.weigh(app::memory_limit());
        warn(&settings);
        Ok(settings)
    }
}

/// Prints what is likely not meant in the settings.
pub(crate) fn warn(settings: &Settings) {
    for warning in settings.warnings() {
        print::note(format_args!("warning: {warning}"));
    }
}

fn default_file() -> Option<PathBuf> {
    let file = Path::new("config/dustgate.toml");
    file.exists().then(|| file.to_owned())
}

pub(crate) fn fail(code: u8, text: &str) -> ExitCode {
    print::note(format_args!("error: {text}"));
    ExitCode::from(code)
}
