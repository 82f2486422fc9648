//! `[[conference]]`

use crate::meeting::Lobby;
use crate::prompt::Language;
use serde::Deserialize;
use toml::Spanned;

/// Values that are withheld: `["name", "number", "profile"]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Attribute>")]
pub struct Withhold {
    /// The display name.
    pub name: bool,
    /// The number.
    pub number: bool,
    /// The profile.
    pub profile: bool,
}

/// A value of a caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Attribute {
    Name,
    Number,
    Profile,
}

impl From<Vec<Attribute>> for Withhold {
    fn from(list: Vec<Attribute>) -> Self {
        let has = |attribute| list.contains(&attribute);
        Self { name: has(Attribute::Name), number: has(Attribute::Number), profile: has(Attribute::Profile) }
    }
}

impl serde::Serialize for Withhold {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = [("name", self.name), ("number", self.number), ("profile", self.profile)];
        to.collect_seq(all.into_iter().filter(|(_, withheld)| *withheld).map(|(attribute, _)| attribute))
    }
}

impl From<Withhold> for sip_stack::Withhold {
    fn from(Withhold { name, number, profile }: Withhold) -> Self {
        Self { name, number, profile }
    }
}

/// `[[conference]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conference {
    /// Its id in URLs: letters, digits and `-._~`.
    pub id: Spanned<String>,
    /// The number that is dialled for it: digits, with an optional `+`.
    pub number: Spanned<String>,
    /// Participants, 1 to 10,000.
    pub capacity: Option<Spanned<usize>>,
    /// Like `conferences.withhold`.
    pub withhold: Option<Withhold>,
    /// Like `conferences.refuse_anonymous`.
    pub refuse_anonymous: Option<bool>,
    /// What callers enter for it at `ivr.numbers`: 3 to 12 digits. Absent: it is not to be had there.
    pub entry: Option<Spanned<String>>,
    /// PIN of its guests, 4 to 12 digits. Absent: none is asked for.
    pub pin: Option<Spanned<String>>,
    /// PIN of its hosts, 4 to 12 digits.
    pub host_pin: Option<Spanned<String>>,
    /// Like `conferences.lobby`.
    pub lobby: Option<Spanned<Lobby>>,
    /// Like `conferences.chimes`.
    pub chimes: Option<bool>,
    /// Like `conferences.announce_names`.
    pub announce_names: Option<bool>,
    /// Like `conferences.language`.
    pub language: Option<Language>,
    /// What an operator notes of each participant, and nothing else: up to 10 labels of 1 to 60 characters.
    #[serde(default)]
    pub fields: Vec<Spanned<String>>,
    /// Who has left stays in a list for the host, sealed, until an hour after the last has left.
    #[serde(default)]
    pub attendance: bool,
}
