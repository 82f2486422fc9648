//! `sotto roster`: a conference's live roster in the terminal.

use crate::viewer::{Ended, Feed, watch};
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Where a bridge on this machine has its API by default.
pub(super) const SERVER: &str = "http://127.0.0.1:8080";

/// Options of `sotto roster`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The conference.
    conference: String,
    /// The bridge's API.
    #[arg(long, default_value = SERVER)]
    server: String,
    /// File with the bearer token in its first line; without it the environment variable SOTTO_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// End after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

/// Shows it until the user ends it or the conference is over.
///
/// # Errors
/// No token, or the server refuses it.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let token = token(options.token_file.as_deref())?;
    let feed = Feed::new(&options.server, &options.conference, &token)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(watch(feed, &[], options.seconds.map(Duration::from_secs)))?;
    if ended == Ended::Over {
        super::say("the conference has ended");
    }
    // The thread that reads keys waits for one; it must not keep us.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The bearer token: the first line of the file, else the environment's.
pub(super) fn token(file: Option<&std::path::Path>) -> anyhow::Result<String> {
    match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            Ok(text.lines().next().unwrap_or_default().trim().to_owned())
        }
        None => std::env::var("SOTTO_TOKEN").context("give --token-file or set SOTTO_TOKEN"),
    }
}
