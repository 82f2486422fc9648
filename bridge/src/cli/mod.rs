//! The commands of the binary.

pub mod call;
pub mod demo;
pub mod dial;
pub mod load;
pub mod roster;
pub mod serve;
pub mod user;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A conference bridge that shows who speaks, and nobody's name unasked.
#[derive(Debug, Parser)]
#[command(name = "sotto", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take calls until SIGTERM; then take no new ones and end when the last has ended.
    Serve(serve::Options),
    /// Check a configuration file; each fault with its line.
    Check {
        /// The file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Call a number, say a WAV file, record what is heard.
    Call(call::Options),
    /// A capacity test that checks what is heard.
    Load(load::Options),
    /// A conference's live roster in the terminal.
    Roster(roster::Options),
    /// Have somebody called into a conference.
    Dial(dial::Options),
    /// Accounts: who may sign in.
    User(user::Options),
    /// A bridge with embedded defaults and six callers who speak, and its live roster.
    Demo(demo::Options),
}

/// Exit code for a bad configuration.
pub const BAD_CONFIGURATION: u8 = 2;

/// Runs the command.
///
/// # Errors
/// What stopped it, for `main` to print.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(options) => serve::run(&options),
        Command::Check { config } => Ok(check(&config)),
        Command::Call(options) => call::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Roster(options) => roster::run(&options),
        Command::Dial(options) => dial::run(&options),
        Command::User(options) => user::run(&options),
        Command::Demo(options) => demo::run(&options),
    }
}

/// A last word to who typed the command.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn check(path: &std::path::Path) -> ExitCode {
    match crate::config::load(path) {
        Ok(config) => match serve::tokens(&config) {
            Ok(_) => {
                println!("{}: no faults", path.display());
                ExitCode::SUCCESS
            }
            Err(fault) => {
                eprintln!("{}: {fault:#}", path.display());
                ExitCode::from(BAD_CONFIGURATION)
            }
        },
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}
