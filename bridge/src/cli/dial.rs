//! `sotto dial`: has somebody called into a conference.

use super::roster::{SERVER, token};
use crate::viewer;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `sotto dial`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The conference.
    conference: String,
    /// The number in E.164 form, as +12025550143; `-`: the first line of stdin, so that it stands in no list of processes.
    number: String,
    /// The bridge's API.
    #[arg(long, default_value = SERVER)]
    server: String,
    /// File with the bearer token in its first line; without it the environment variable SOTTO_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// Asks the bridge to call, and prints the participant's id. What becomes of the call is seen in the roster.
///
/// # Errors
/// No token, or the bridge does not do it: why.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let token = token(options.token_file.as_deref())?;
    let number = match options.number.as_str() {
        "-" => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            line.trim().to_owned()
        }
        given => given.to_owned(),
    };
    let digits =
        number.strip_prefix('+').is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    anyhow::ensure!(digits, "expected a number in E.164 form, as +12025550143");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let id = runtime.block_on(viewer::dial(&options.server, &token, &options.conference, &number))?;
    super::say(&id);
    Ok(ExitCode::SUCCESS)
}
