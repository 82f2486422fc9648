//! Tokens of accounts, for programs.

use super::{Accounts, at_ms, seconds};
use crate::disclosure::Role;
use crate::ledger::LedgerError;
use crate::roster::{random_id, time_of};
use rusqlite::{Connection, Row, params};
use std::time::{Duration, SystemTime};

/// What a program's token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// Its role: its account's.
    pub role: Role,
    /// The conferences that it may see; `None`: all.
    pub conferences: Option<Vec<String>>,
    /// The account, where the token is good for all that it may see: what the account makes is among it.
    pub program_of: Option<String>,
    /// When its time is over.
    pub expires_at: SystemTime,
}

/// A line of the list of an account's tokens.
#[derive(Debug, serde::Serialize)]
pub struct ListedToken {
    /// Its id.
    pub id: String,
    /// Its conferences; `None`: all of its account's.
    pub conferences: Option<Vec<String>>,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// When its time is over (RFC 3339, UTC).
    pub expires_at: String,
}

impl Accounts {
    /// Keeps a token of an account, which is good for these of its conferences; its id.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn add_token(
        &self,
        account: &str,
        hash: [u8; 32],
        conferences: Option<Vec<String>>,
        lifetime: Duration,
    ) -> Result<String, LedgerError> {
        let (id, account) = (random_id("a_"), account.to_owned());
        let conferences = conferences.map(|list| serde_json::json!(list).to_string());
        let now = seconds(SystemTime::now()) as i64 * 1000;
        let (row, until) = (id.clone(), now + lifetime.as_millis() as i64);
        let insert = move |db: &mut Connection| {
            let sql = "INSERT INTO api_token (id, account, hash, role, conferences, created_at, expires_at)
                       SELECT ?1, id, ?3, role, ?4, ?5, ?6 FROM account WHERE id = ?2";
            db.execute(sql, params![row, account, hash, conferences, now, until])
        };
        self.ledger.run(insert).await?;
        Ok(id)
    }

    /// Takes a token of an account back. False: it has no such.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn remove_token(&self, account: &str, id: &str) -> Result<bool, LedgerError> {
        let (account, id) = (account.to_owned(), id.to_owned());
        let remove = move |db: &mut Connection| {
            db.execute("DELETE FROM api_token WHERE account = ?1 AND id = ?2", params![account, id])
        };
        Ok(self.ledger.run(remove).await? > 0)
    }

    /// The tokens of an account.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn tokens_of(&self, account: &str) -> Result<Vec<ListedToken>, LedgerError> {
        let account = account.to_owned();
        let all = move |db: &mut Connection| {
            let sql = "SELECT id, conferences, created_at, expires_at FROM api_token WHERE account = ?1 ORDER BY created_at, id";
            let mut all = db.prepare(sql)?;
            let line = |r: &Row<'_>| {
                let conferences: Option<String> = r.get(1)?;
                Ok(ListedToken {
                    id: r.get(0)?,
                    conferences: conferences.map(|list| serde_json::from_str(&list).unwrap_or_default()),
                    created_at: time_of(at_ms(r.get(2)?)),
                    expires_at: time_of(at_ms(r.get(3)?)),
                })
            };
            all.query_map([account], line)?.collect()
        };
        self.ledger.run(all).await
    }

    /// All tokens of accounts that may sign in. A token is good for no more than its account.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, LedgerError> {
        type Line = ([u8; 32], String, Option<String>, Option<String>, i64, String);
        let all = |db: &mut Connection| {
            let sql = "SELECT t.hash, a.role, a.conferences, t.conferences, t.expires_at, a.id FROM api_token t JOIN account a ON a.id = t.account
                       WHERE a.disabled = 0";
            let mut all = db.prepare(sql)?;
            let line = |r: &Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?));
            all.query_map([], line)?.collect::<rusqlite::Result<Vec<Line>>>()
        };
        let list = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap_or_default();
        let token = |(hash, role, of_account, of_token, until, account): Line| {
            let program_of = of_token.is_none().then_some(account);
            let (of_account, of_token) = (of_account.map(list), of_token.map(list));
            let conferences = match (of_account, of_token) {
                (Some(all), Some(some)) => Some(some.into_iter().filter(|id| all.contains(id)).collect()),
                (all, some) => some.or(all),
            };
            let role = Role::ALL.into_iter().find(|r| r.as_str() == role).unwrap_or(Role::Guest);
            ApiToken { hash, role, conferences, program_of, expires_at: at_ms(until) }
        };
        Ok(self.ledger.run(all).await?.into_iter().map(token).collect())
    }
}
