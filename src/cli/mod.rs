//! The commands: one file each. Exit codes: 0 fine, 1 unexpected, 2 usage, 3 the config has
//! problems, 4 a rule test failed, 5 cannot start (port, store).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{BUILT_IN, Config, DEFAULT_PATH, Problems};

mod check;
mod client;
mod dead_letters;
mod demo;
mod doctor;
mod explain;
mod export;
mod hash_password;
mod repair;
mod replay;
mod send_test;
mod serve;
mod silence;
mod terminal;
mod test;
mod traffic;
mod tune;

use terminal::{err, out, out_exact};

/// What ends a command early: a text for people, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// Printed to standard error as it is.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// Something unexpected (1).
    pub(crate) fn unexpected(text: impl std::fmt::Display) -> Self {
        Self {
            text: format!("foghorn: {text}"),
            code: 1,
        }
    }

    /// The command line is wrong (2).
    pub(crate) fn usage(text: impl std::fmt::Display) -> Self {
        Self {
            text: format!("foghorn: {text}"),
            code: 2,
        }
    }

    /// The config has problems (3).
    pub(crate) fn config(problems: &Problems) -> Self {
        Self {
            text: problems.to_string().trim_end().to_owned(),
            code: 3,
        }
    }

    /// Cannot start (5).
    pub(crate) fn start(text: impl std::fmt::Display) -> Self {
        Self {
            text: format!("foghorn: cannot start: {text}"),
            code: 5,
        }
    }
}

/// The bridge that turns a network's webhook firehose into the few chat messages a person wants.
#[derive(Debug, Parser)]
#[command(name = "foghorn", version, about, max_term_width = 100)]
pub struct Cli {
    /// The rules and settings; without it ./rules.yaml, else the built-in rules
    #[arg(long, global = true, value_name = "FILE", env = "FOGHORN_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Where to listen and where to keep things.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// Listen here instead of `server.listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    listen: Option<std::net::SocketAddr>,
    /// Keep the data here instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl ServeArgs {
    /// What stands before the command counts where nothing stands after it.
    fn or(self, before: Self) -> Self {
        Self {
            listen: self.listen.or(before.listen),
            data: self.data.or(before.data),
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self::Serve(ServeArgs::default())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive, judge, tell (the default)
    Serve(ServeArgs),
    /// Print every problem of the config at once
    Check {
        /// Print every implied setting
        #[arg(long)]
        explain: bool,
    },
    /// Run the `tests:` of the config, in virtual time
    Test,
    /// Print what these rules would have sent; sends nothing
    Replay(ReplayArgs),
    /// Say what was decided about an event, a device or a message, and why
    Explain(explain::ExplainArgs),
    /// Find which rules make the noise, and a patch that helps
    Tune(tune::TuneArgs),
    /// Print the stored traffic, as lines that `replay` reads
    Export {
        /// Only what was received in the last this long (`1d`)
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
        /// The data folder, instead of `server.data`
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// List the messages that were given up, and why; send them again, or discard them
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Look at the machine, the config, the data and the other sides; say what to do about each
    /// finding
    Doctor(doctor::DoctorArgs),
    /// Save what is whole in a damaged data folder: writes a new database, keeps the old one
    Repair(repair::RepairArgs),
    /// Send a sample message to a destination and report what the other side said
    SendTest {
        /// Its name in the config
        destination: String,
    },
    /// Silence a running server for a while: add, list, expire
    #[command(subcommand)]
    Silence(silence::SilenceCommand),
    /// Ask for a password, and print what to write into `server.password`
    HashPassword,
    /// Print the built-in rules, to begin a rules.yaml with
    Rules,
    /// Print the JSON Schema of the config, for editors
    Schema,
    /// Simulate a home network that posts real webhooks to this process, and see what is told of it
    Demo(DemoArgs),
}

/// What to replay, and how to print it.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    traffic: Traffic,
    /// Compare with what these rules would have sent
    #[arg(long, value_name = "OTHER.yaml")]
    diff: Option<PathBuf>,
    /// Let time run on to this moment (RFC 3339) after the last line
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How to print; as JSON a message is a line, a comparison one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Which traffic to judge.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("traffic").required(true).args(["files", "stored"])))]
pub struct Traffic {
    /// Traffic files; several are read as one, by the time of their lines; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take the stored journal instead
    #[arg(long)]
    stored: bool,
    /// Of the stored journal, only the last this long (`7d`)
    #[arg(long, value_name = "DURATION", requires = "stored")]
    since: Option<String>,
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many times faster than life, at most 1000; an hour and a half are played
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    speed: u32,
    /// Which of all such evenings
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Send to the destinations of the config or the environment; otherwise everything is printed
    /// here
    #[arg(long)]
    send: bool,
    /// Keep the data in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Only write the traffic to this file, as lines that `replay` reads
    #[arg(long, value_name = "FILE", conflicts_with_all = ["send", "keep"])]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Runs the command line; what goes wrong is printed, and becomes the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                err(&failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let (at, before) = (cli.config, cli.serve);
    match cli.command.unwrap_or_default() {
        Command::Serve(args) => serve::run(at, args.or(before)),
        _ if before.listen.is_some() || before.data.is_some() => Err(Failure::usage(
            "write `--data` after the command; `--listen` is for `serve` only",
        )),
        Command::Check { explain } => check::run(&load(at, Config::load)?, explain),
        Command::Test => test::run(&load(at, Config::load_offline)?),
        Command::Replay(args) => replay::run(&load(at, Config::load_offline)?, args),
        Command::Explain(args) => explain::run(&load(at, Config::load_offline)?, &args),
        Command::Tune(args) => tune::run(&load(at, Config::load_offline)?, args),
        Command::Export { since, data } => {
            export::run(&load(at, Config::load_offline)?, since.as_deref(), data)
        }
        Command::DeadLetters(args) => dead_letters::run(at, args),
        Command::Doctor(args) => doctor::run(at, args),
        Command::Repair(args) => repair::run(at, args),
        Command::SendTest { destination } => send_test::run(&load(at, Config::load)?, &destination),
        Command::Demo(args) => {
            let how: Load = if args.send {
                Config::load
            } else {
                Config::load_offline
            };
            demo::run(load(at, how)?, &args)
        }
        Command::Silence(command) => silence::run(at, command),
        Command::HashPassword => hash_password::run(),
        Command::Rules => {
            out_exact(BUILT_IN);
            Ok(())
        }
        Command::Schema => {
            out_exact(&crate::config::schema());
            Ok(())
        }
    }
}

/// The config file that applies: the one named, else ./rules.yaml where there is one, else none
/// (the built-in rules).
fn config_path(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists()))
}

/// How a command reads its config: for sending, or offline.
type Load = fn(Option<&Path>, &fn(&str) -> Option<String>) -> Result<Config, Problems>;

/// Loads the config, or gives every problem at once. Warnings are printed.
fn load(named: Option<PathBuf>, how: Load) -> Result<Config, Failure> {
    let path = config_path(named);
    let environment: fn(&str) -> Option<String> = crate::config::environment;
    let config =
        how(path.as_deref(), &environment).map_err(|problems| Failure::config(&problems))?;
    for warning in &config.warnings {
        err(warning);
    }
    if config.path.is_none() {
        err("foghorn: no ./rules.yaml here, so the built-in rules apply");
    }
    Ok(config)
}

/// Reads an address to listen on.
fn listen(text: &str) -> Result<std::net::SocketAddr, String> {
    crate::config::listen_address(text)
        .ok_or_else(|| "write an address and a port, as in 127.0.0.1:8080".to_owned())
}

/// Reads a duration of the command line.
fn duration(option: &str, text: &str) -> Result<std::time::Duration, Failure> {
    crate::model::parse_duration(text).map_err(|why| Failure::usage(format!("{option}: {why}")))
}
