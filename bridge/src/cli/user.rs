//! `sotto user`: accounts, made and changed by who holds the ledger's key. A running bridge takes notice within seconds.

use super::{BAD_CONFIGURATION, say};
use crate::account::{AccountError, Accounts, Listed};
use crate::config;
use crate::disclosure::Role;
use crate::ledger::Ledger;
use anyhow::Context;
use clap::Subcommand;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Options of `sotto user`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    act: Act,
    /// The configuration file.
    #[arg(long, global = true, default_value = "sotto.toml")]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Act {
    /// Make an account. The password is asked for, or read as one line from the standard input.
    Add {
        /// The name to sign in with.
        login: String,
        /// host, operator, admin or auditor.
        #[arg(long, value_parser = role)]
        role: Role,
        /// Ids of the conferences that it may see, with commas between; without: all.
        #[arg(long, value_delimiter = ',')]
        conferences: Option<Vec<String>>,
        /// Set up one-time passwords as well.
        #[arg(long)]
        totp: bool,
        /// Without a password: only the configured provider (`[oidc]`) signs its owner in.
        #[arg(long, conflicts_with = "totp")]
        no_password: bool,
    },
    /// List all accounts.
    List,
    /// Give an account another password; what it has open ends.
    Password {
        /// The name to sign in with.
        login: String,
    },
    /// Set up one-time passwords; what the account has open ends.
    Totp {
        /// The name to sign in with.
        login: String,
        /// Need none any more.
        #[arg(long)]
        off: bool,
    },
    /// An account may not sign in any more; what it has open ends.
    Disable {
        /// The name to sign in with.
        login: String,
    },
    /// An account may sign in again.
    Enable {
        /// The name to sign in with.
        login: String,
    },
    /// Remove an account; what it has open ends.
    Remove {
        /// The name to sign in with.
        login: String,
    },
}

// Who it is about is not for Debug.
impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Act(..)")
    }
}

fn role(text: &str) -> Result<Role, String> {
    let may = |role: &Role| !matches!(role, Role::Guest | Role::Monitor);
    let found = Role::ALL.into_iter().filter(may).find(|role| role.as_str() == text);
    found.ok_or_else(|| "expected host, operator, admin or auditor".to_owned())
}

/// Does it.
///
/// # Errors
/// What kept it from being done.
#[allow(clippy::print_stderr)]
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let config = match config::load(&options.config) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("{faults}");
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    let accounts = Accounts::new(Ledger::open(&config.ledger())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let said = runtime.block_on(act(&options.act, &accounts, &config.node.name))?;
    say(&if options.json { said.json.to_string() } else { said.text });
    Ok(ExitCode::SUCCESS)
}

/// What was done.
struct Said {
    text: String,
    json: serde_json::Value,
}

impl Said {
    fn done(text: &str) -> Self {
        Self { text: text.to_owned(), json: serde_json::json!({ "done": true }) }
    }
}

async fn act(act: &Act, accounts: &Accounts, issuer: &str) -> anyhow::Result<Said> {
    Ok(match act {
        Act::Add { login, role, conferences, totp, no_password } => {
            let password = if *no_password { None } else { Some(password()?) };
            let password = password.as_ref().map(|password| password.as_str());
            let id = accounts.add(login, password, *role, conferences.clone()).await?;
            let uri = if *totp { Some(accounts.set_totp(login, issuer).await?) } else { None };
            let uri = uri.as_ref().map(|uri| uri.as_str());
            let app = uri.map_or_else(String::new, |uri| format!("\nfor the authenticator app: {uri}"));
            Said {
                text: format!("account {id} made{app}"),
                json: serde_json::json!({ "id": id, "totp": uri }),
            }
        }
        Act::List => listed(&accounts.list().await?),
        Act::Password { login } => {
            accounts.set_password(login, &password()?).await?;
            Said::done("password changed")
        }
        Act::Totp { login, off: true } => {
            accounts.clear_totp(login).await?;
            Said::done("no one-time password is needed any more")
        }
        Act::Totp { login, off: false } => {
            let uri = accounts.set_totp(login, issuer).await?;
            Said {
                text: format!("for the authenticator app: {}", uri.as_str()),
                json: serde_json::json!({ "totp": uri.as_str() }),
            }
        }
        Act::Disable { login } => {
            accounts.set_disabled(login, true).await?;
            Said::done("account disabled")
        }
        Act::Enable { login } => {
            accounts.set_disabled(login, false).await?;
            Said::done("account enabled")
        }
        Act::Remove { login } => {
            accounts.remove(login).await?;
            Said::done("account removed")
        }
    })
}

fn listed(all: &[Listed]) -> Said {
    let line = |one: &Listed| {
        let conferences = one.conferences.as_ref().map_or_else(|| "all".to_owned(), |list| list.join(","));
        let totp = if one.totp { " totp" } else { "" };
        let disabled = if one.disabled { " disabled" } else { "" };
        format!("{}  {}  {}  conferences={conferences}{totp}{disabled}", one.id, one.role, one.login)
    };
    let lines: Vec<_> = all.iter().map(line).collect();
    Said { text: lines.join("\n"), json: serde_json::json!({ "accounts": all }) }
}

/// A password: typed twice where somebody sits at a terminal, else a line of the standard input.
fn password() -> anyhow::Result<Zeroizing<String>> {
    let mut lines = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        lines.read_line(&mut line).context("the password on the standard input")?;
        return Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    drop(lines);
    let ask = |what: &str| rpassword::prompt_password(what).map(Zeroizing::new);
    let first = ask("Password: ")?;
    anyhow::ensure!(ask("Once more: ")? == first, AccountError::Differ);
    Ok(first)
}
