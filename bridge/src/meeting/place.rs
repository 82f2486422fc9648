//! Roles, why somebody is not heard, and where in a meeting they are.

use serde::{Deserialize, Serialize};

/// A participant's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Came in by a host's PIN, or was made one.
    Host,
    /// May speak.
    Speaker,
    /// Only listens.
    Listener,
    /// Runs it for a host.
    Operator,
}

impl Role {
    /// Whether they lead a meeting: a mute of all and a lecture are not for them, nor is a lock.
    pub fn leads(self) -> bool {
        matches!(self, Self::Host | Self::Operator)
    }
}

/// Why a participant is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MutedBy {
    /// They wish it so.
    Own,
    /// A host does.
    Host,
    /// Only hosts are heard, and who was given the floor.
    Lecture,
}

/// Who waits before the meeting until they are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lobby {
    /// Nobody.
    #[default]
    Off,
    /// All until the first host has come.
    UntilHost,
    /// All but hosts, until a host lets them in.
    Admit,
}

/// Where in a meeting somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before it: they wait to be let in.
    Lobby,
    /// With all others.
    Main,
    /// In a breakout: 1 to [`BREAKOUTS`].
    Breakout(u8),
    /// On a private line, as an operator with a guest: 1 to [`LINES`].
    Line(u8),
    /// Where speakers meet before they are heard.
    Green,
}

/// The most breakouts of a meeting.
pub const BREAKOUTS: u8 = 50;
/// The most private lines of a meeting.
pub const LINES: u8 = 50;

impl Place {
    /// From its word: `meeting`, `lobby`, `green`, `breakout-N` or `line-N`.
    pub fn named(word: &str) -> Option<Self> {
        let number = |beginning, most: u8| {
            let digits =
                word.strip_prefix(beginning).filter(|d: &&str| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok().filter(|n| (1..=most).contains(n))
        };
        match word {
            "meeting" => Some(Self::Main),
            "lobby" => Some(Self::Lobby),
            "green" => Some(Self::Green),
            _ => {
                number("breakout-", BREAKOUTS).map(Self::Breakout).or(number("line-", LINES).map(Self::Line))
            }
        }
    }
}
