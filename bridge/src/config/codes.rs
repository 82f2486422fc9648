//! `[conferences.codes]`

use serde::Deserialize;
use toml::Spanned;

/// `conferences.codes`: each 2 to 8 of `0-9*#`, the first `*` or `#`; an empty one is off.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Codes {
    /// Withholds everything.
    pub withhold: Spanned<String>,
    /// Shares everything.
    pub share: Spanned<String>,
    /// Withholds the name.
    pub withhold_name: Spanned<String>,
    /// Shares the name.
    pub share_name: Spanned<String>,
    /// Withholds the number; by default as telephones do it for a call (3GPP TS 22.030).
    pub withhold_number: Spanned<String>,
    /// Shares the number.
    pub share_number: Spanned<String>,
    /// Withholds the profile.
    pub withhold_profile: Spanned<String>,
    /// Shares the profile.
    pub share_profile: Spanned<String>,
    /// Speaks a code with which the caller opens their own page.
    pub link: Spanned<String>,
    /// Mutes the caller, or has them heard again.
    pub mute: Spanned<String>,
    /// Raises the caller's hand, or lowers it.
    pub hand: Spanned<String>,
    /// The caller hears nothing of the meeting, or hears it again.
    pub deafen: Spanned<String>,
    /// The caller hears the meeting louder.
    pub louder: Spanned<String>,
    /// The caller hears the meeting softer.
    pub softer: Spanned<String>,
    /// Says how many are in the meeting, and the names that were said.
    pub people: Spanned<String>,
    /// Says what can be dialled.
    pub help: Spanned<String>,
    /// The caller leaves.
    pub leave: Spanned<String>,
    /// Of hosts: everybody else is muted.
    pub mute_all: Spanned<String>,
    /// Of hosts: what hosts have muted is heard again.
    pub unmute_all: Spanned<String>,
    /// Of hosts: nobody comes in any more, or they do again.
    pub lock: Spanned<String>,
    /// Of hosts: only who has the floor is heard, or everybody again.
    pub lecture: Spanned<String>,
    /// Of hosts: all who wait come in.
    pub admit_all: Spanned<String>,
    /// Of hosts: the meeting is over.
    pub end: Spanned<String>,
}

impl Default for Codes {
    fn default() -> Self {
        let code = |text: &str| Spanned::new(0..0, text.to_owned());
        Self {
            withhold: code("*67"),
            share: code("*82"),
            withhold_name: code(""),
            share_name: code(""),
            withhold_number: code("#31#"),
            share_number: code("*31#"),
            withhold_profile: code(""),
            share_profile: code(""),
            link: code("*83"),
            mute: code("*1"),
            hand: code("*2"),
            deafen: code(""),
            louder: code("*9"),
            softer: code("*7"),
            people: code("*4"),
            help: code("*0"),
            leave: code("*5"),
            mute_all: code("#1"),
            unmute_all: code("#2"),
            lock: code("#5"),
            lecture: code("#4"),
            admit_all: code("#6"),
            end: code("#99"),
        }
    }
}

impl Codes {
    /// By name.
    pub fn all(&self) -> [(&'static str, &Spanned<String>); 23] {
        [
            ("withhold", &self.withhold),
            ("share", &self.share),
            ("withhold_name", &self.withhold_name),
            ("share_name", &self.share_name),
            ("withhold_number", &self.withhold_number),
            ("share_number", &self.share_number),
            ("withhold_profile", &self.withhold_profile),
            ("share_profile", &self.share_profile),
            ("link", &self.link),
            ("mute", &self.mute),
            ("hand", &self.hand),
            ("deafen", &self.deafen),
            ("louder", &self.louder),
            ("softer", &self.softer),
            ("people", &self.people),
            ("help", &self.help),
            ("leave", &self.leave),
            ("mute_all", &self.mute_all),
            ("unmute_all", &self.unmute_all),
            ("lock", &self.lock),
            ("lecture", &self.lecture),
            ("admit_all", &self.admit_all),
            ("end", &self.end),
        ]
    }
}
