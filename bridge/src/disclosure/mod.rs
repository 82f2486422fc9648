//! Who sees what of whom. [`see`] is the only way from a sealed name or number to anybody; it is asked before anything is serialised.
//!
//! What a viewer sees is the least of three: what their role may ([`MATRIX`], which a site's configuration can tighten), what the
//! participant shares, and, for want of a viewer's key, nothing: no key, no names.

use serde::{Deserialize, Serialize};
use sip_stack::Shown;
use std::sync::Arc;
use tokio::sync::watch;
use vault::{
    CallerName, CallerNumber, CallerProfile, Context, Discloses, FieldValue, FromViewers, Keyring, Sealed,
    ViewerKey,
};

/// What a viewer is to a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Leads the meeting.
    Host,
    /// Runs an event for a host.
    Operator,
    /// Runs the installation.
    Admin,
    /// Checks who saw what.
    Auditor,
    /// Is in the meeting.
    Guest,
    /// May listen without being seen.
    Monitor,
}

/// How much of a value a role may see. A later one is tighter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// All of it.
    Shown,
    /// The last four characters behind an ellipsis.
    Masked,
    /// Nothing; the participant is a pseudonym.
    Pseudonym,
}

impl Extent {
    /// Its word in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Masked => "masked",
            Self::Pseudonym => "pseudonym",
        }
    }
}

/// What a role may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Of the display name.
    pub name: Extent,
    /// Of the number.
    pub number: Extent,
    /// Of the profile's address.
    pub profile: Extent,
}

const fn sight(name: Extent, number: Extent, profile: Extent) -> Sight {
    Sight { name, number, profile }
}

/// Nothing.
const BLIND: Sight = sight(Extent::Pseudonym, Extent::Pseudonym, Extent::Pseudonym);

/// Role × attribute. `docs/PRIVACY.md` shows the same table. A site can tighten it ([`Policy`]), nobody can loosen it.
pub const MATRIX: [(Role, Sight); 6] = [
    (Role::Host, sight(Extent::Shown, Extent::Shown, Extent::Shown)),
    (Role::Operator, sight(Extent::Shown, Extent::Masked, Extent::Pseudonym)),
    (Role::Admin, BLIND),
    (Role::Auditor, BLIND),
    (Role::Guest, BLIND),
    (Role::Monitor, BLIND),
];

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Host, Self::Operator, Self::Admin, Self::Auditor, Self::Guest, Self::Monitor];

    /// Its word in configuration, API and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Guest => "guest",
            Self::Monitor => "monitor",
        }
    }

    /// What [`MATRIX`] says of it.
    pub fn sight(self) -> Sight {
        MATRIX.iter().find(|(role, _)| *role == self).map_or(BLIND, |(_, sight)| *sight)
    }
}

/// [`MATRIX`] as a site has tightened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy([Sight; Role::ALL.len()]);

impl Default for Policy {
    fn default() -> Self {
        Self(Role::ALL.map(Role::sight))
    }
}

impl Policy {
    /// Tightens what a role may see. What would be looser stays as it was.
    #[must_use]
    pub fn tighten(mut self, role: Role, by: Sight) -> Self {
        let now = &mut self.0[role as usize];
        *now = sight(now.name.max(by.name), now.number.max(by.number), now.profile.max(by.profile));
        self
    }

    /// What a role may see.
    pub fn sight(&self, role: Role) -> Sight {
        self.0[role as usize]
    }
}

/// What a participant wishes for one of their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// Show it.
    Share,
    /// Show it to nobody.
    Withhold,
}

/// What a participant wishes for their values; what is not named stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Display name.
    pub name: Option<Wish>,
    /// Number.
    pub number: Option<Wish>,
    /// Profile.
    pub profile: Option<Wish>,
}

impl Choice {
    /// The same wish for everything.
    pub const fn all(wish: Wish) -> Self {
        Self { name: Some(wish), number: Some(wish), profile: Some(wish) }
    }

    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// By attribute.
    pub fn wishes(&self) -> impl Iterator<Item = (&'static str, Wish)> {
        let all = [("name", self.name), ("number", self.number), ("profile", self.profile)];
        all.into_iter().filter_map(|(attribute, wish)| Some((attribute, wish?)))
    }
}

/// One viewer: a token's, with a key or without one.
#[derive(Debug)]
pub struct Viewer {
    id: String,
    role: Role,
    sight: Sight,
    key: Option<ViewerKey>,
    over: watch::Sender<bool>,
}

impl Viewer {
    /// A viewer. `id` names them in the audit.
    pub fn new(id: String, role: Role, sight: Sight, key: Option<ViewerKey>) -> Self {
        Self { id, role, sight, key, over: watch::Sender::new(false) }
    }

    /// A participant, who sees the others as pseudonyms.
    pub fn guest(id: String) -> Self {
        Self::new(id, Role::Guest, Role::Guest.sight(), None)
    }

    /// Whether they see times, voices and choices only roughly: enough to know who speaks, too little to tell who it is by when they came
    /// or how they sound on their line.
    pub fn sees_roughly(&self) -> bool {
        self.role == Role::Guest
    }

    /// How the audit names them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What they are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether they see who listens without being seen: it is audited, and auditors audit.
    pub fn sees_hidden(&self) -> bool {
        self.role == Role::Auditor
    }

    /// Whether they steer conferences, or answer for who does.
    pub fn steers(&self) -> bool {
        matches!(self.role, Role::Host | Role::Operator | Role::Admin | Role::Auditor)
    }

    /// Whether they lead conferences, run them or are in them.
    pub fn takes_part(&self) -> bool {
        matches!(self.role, Role::Host | Role::Operator | Role::Guest)
    }

    /// Whether they see what was noted of participants: who asked for it, and who notes it.
    pub fn sees_fields(&self) -> bool {
        matches!(self.role, Role::Host | Role::Operator)
    }

    /// Takes a value that they sealed under their key; `None` without a key, or when it does not open.
    pub fn receive<T: FromViewers>(&self, jwe: &str, to: &Keyring, here: Context) -> Option<Sealed<T>> {
        self.key.as_ref().filter(|_| !self.is_over())?.receive(jwe, to, here).ok()
    }

    /// Ends what they watch, at once.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    /// Resolves when they may see nothing any more.
    pub async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Whether they may see nothing any more.
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }
}

/// One value of a participant: whether it is shared, and if so, sealed under the conference's key.
#[derive(Debug)]
pub struct Value<T> {
    status: Shown,
    sealed: Option<Sealed<T>>,
    at: Context,
    asserted: bool,
}

impl<T> Value<T> {
    /// A value whose sealed text belongs to `at`. What is not shared is not kept. `asserted`: by a trusted trunk (RFC 3325).
    pub fn new(status: Shown, sealed: Option<Sealed<T>>, at: Context, asserted: bool) -> Self {
        Self { status, sealed: sealed.filter(|_| status == Shown::Shared), at, asserted }
    }

    /// Whether it is shown.
    pub fn status(&self) -> Shown {
        self.status
    }

    fn item(&self, viewer: &Viewer, extent: Extent, ring: &Keyring) -> Item
    where
        vault::Roster: Discloses<T>,
    {
        if viewer.sees_roughly() {
            return Item { status: "withheld", source: None, jwe: None, masked: false };
        }
        let cut = match extent {
            Extent::Shown => Some(vault::Extent::Whole),
            Extent::Masked => Some(vault::Extent::LastFour),
            Extent::Pseudonym => None,
        };
        let jwe = match (&viewer.key, &self.sealed, cut) {
            (Some(key), Some(sealed), Some(cut)) if !viewer.is_over() => {
                // What does not open (it never should) is not shown.
                key.disclose(sealed, ring, self.at, cut, vault::Roster).ok().map(Arc::from)
            }
            _ => None,
        };
        let source = if self.asserted { "asserted" } else { "claimed" };
        Item {
            status: word(self.status),
            source: (self.status == Shown::Shared).then_some(source),
            masked: jwe.is_some() && extent == Extent::Masked,
            jwe,
        }
    }

    /// As its own participant sees it: whether it is shown, without the value.
    pub fn own(&self) -> Item {
        Item { status: word(self.status), source: None, jwe: None, masked: false }
    }
}

fn word(status: Shown) -> &'static str {
    match status {
        Shown::Shared => "shared",
        Shown::Withheld => "withheld",
        Shown::Absent => "absent",
    }
}

/// What is held of a participant's identity.
#[derive(Debug)]
pub struct Identity {
    /// Display name.
    pub name: Value<CallerName>,
    /// Number or address.
    pub number: Value<CallerNumber>,
    /// Address of a page or card about them.
    pub profile: Value<CallerProfile>,
    /// What an operator has noted, by the fields that the host asked for; empty: nothing. It goes with the profile when that is withheld.
    pub fields: Vec<Value<FieldValue>>,
}

/// One value as a viewer sees it. Only [`see`] makes one with something in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    status: &'static str,
    /// Who says so: `asserted` by a trusted trunk, or `claimed` by the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwe: Option<Arc<str>>,
    #[serde(skip)]
    masked: bool,
}

/// A participant's values as a viewer sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Display name.
    pub name: Item,
    /// Number.
    pub number: Item,
    /// Profile.
    pub profile: Item,
    /// What was noted, by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Item>,
}

impl Seen {
    fn items(&self) -> [(&'static str, &Item); 3] {
        [("name", &self.name), ("number", &self.number), ("profile", &self.profile)]
    }

    /// What was disclosed, by attribute; empty when nothing was.
    pub fn disclosed(&self) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter().any(|item| item.jwe.is_some()).then_some("fields");
        let all = self.items().into_iter().filter(|(_, item)| item.jwe.is_some());
        all.map(|(attribute, _)| attribute).chain(fields)
    }

    /// What of it was disclosed only in part.
    pub fn masked(&self) -> impl Iterator<Item = &'static str> {
        self.items().into_iter().filter(|(_, item)| item.masked).map(|(attribute, _)| attribute)
    }

    /// The same without what was disclosed.
    #[must_use]
    pub fn closed(mut self) -> Self {
        for item in [&mut self.name, &mut self.number, &mut self.profile].into_iter().chain(&mut self.fields)
        {
            (item.jwe, item.masked) = (None, false);
        }
        self
    }
}

/// What `viewer` sees of a participant whose values are sealed under `ring`.
pub fn see(viewer: &Viewer, identity: &Identity, ring: &Keyring) -> Seen {
    Seen {
        name: identity.name.item(viewer, viewer.sight.name, ring),
        number: identity.number.item(viewer, viewer.sight.number, ring),
        profile: identity.profile.item(viewer, viewer.sight.profile, ring),
        fields: {
            let fields = identity.fields.iter().filter(|_| viewer.sees_fields());
            fields.map(|value| value.item(viewer, Extent::Shown, ring)).collect()
        },
    }
}

/// What a participant sees of themselves: what is shown, not to whom, and never the values.
pub fn own(identity: &Identity) -> Seen {
    Seen {
        name: identity.name.own(),
        number: identity.number.own(),
        profile: identity.profile.own(),
        fields: identity.fields.iter().map(Value::own).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vault::opener::{ContentKey, ViewerSecret};
    use vault::{Field, Vault};

    pub(crate) const NAME: Context = Context { scope: 1, subject: 1, field: Field::Name };
    pub(crate) const NUMBER: Context = Context { scope: 1, subject: 1, field: Field::Number };
    pub(crate) const PROFILE: Context = Context { scope: 1, subject: 1, field: Field::Profile };

    /// Ada Example, with these statuses.
    pub(crate) fn ada(vault: &Vault, ring: &Keyring, name: Shown, number: Shown) -> Identity {
        let (n, (d, p)) = vault
            .region()
            .unwrap()
            .run(|i| {
                let seal = (
                    i.secrets.seal(ring, NUMBER, b"+12025550143"),
                    i.secrets.seal(ring, PROFILE, b"https://example.com/ada"),
                );
                (i.secrets.seal(ring, NAME, b"Ada Example"), seal)
            })
            .unwrap();
        Identity {
            name: Value::new(name, Some(n), NAME, true),
            number: Value::new(number, Some(d), NUMBER, false),
            profile: Value::new(number, Some(p), PROFILE, false),
            fields: Vec::new(),
        }
    }

    pub(crate) fn vault() -> Vault {
        Vault::open(vault::Policy::AllowWeaker).unwrap()
    }

    pub(crate) fn viewer(vault: &Vault, role: Role) -> (Viewer, ContentKey) {
        let secret = ViewerSecret::generate().unwrap();
        let (key, handover) = ViewerKey::new(vault, "k_1", &secret.public()).unwrap();
        (Viewer::new("k_1".into(), role, role.sight(), Some(key)), secret.take(&handover).unwrap())
    }

    fn opened(item: &Item, key: &ContentKey) -> Option<String> {
        item.jwe.as_ref().map(|jwe| key.open(jwe).unwrap())
    }

    #[test]
    fn each_role_sees_what_the_matrix_says() {
        let vault = vault();
        let ring = vault.keyring().unwrap();
        let ada = ada(&vault, &ring, Shown::Shared, Shown::Shared);
        let whole = ["Ada Example", "+12025550143", "https://example.com/ada"].map(Some);
        for (role, expected) in [
            (Role::Host, whole),
            (Role::Operator, [Some("Ada Example"), Some("…0143"), None]),
            (Role::Admin, [None; 3]),
            (Role::Auditor, [None; 3]),
            (Role::Guest, [None; 3]),
            (Role::Monitor, [None; 3]),
        ] {
            let (viewer, key) = viewer(&vault, role);
            let seen = see(&viewer, &ada, &ring);
            let opened = [&seen.name, &seen.number, &seen.profile].map(|item| opened(item, &key));
            assert_eq!(opened.each_ref().map(Option::as_deref), expected, "{role:?}");
            assert_eq!(seen.masked().count(), usize::from(role == Role::Operator));
            let sources = [seen.name.source, seen.number.source];
            let expected = if role == Role::Guest { [None; 2] } else { [Some("asserted"), Some("claimed")] };
            assert_eq!(sources, expected, "{role:?}");
        }
    }

    #[test]
    fn a_site_can_tighten_what_a_role_sees_and_not_loosen_it() {
        let by = sight(Extent::Masked, Extent::Shown, Extent::Pseudonym);
        let policy = Policy::default().tighten(Role::Host, by).tighten(Role::Auditor, by);
        assert_eq!(policy.sight(Role::Host), sight(Extent::Masked, Extent::Shown, Extent::Pseudonym));
        assert_eq!(policy.sight(Role::Auditor), BLIND);
        assert_eq!(policy.sight(Role::Operator), Role::Operator.sight());
    }

    #[test]
    fn a_guest_learns_nothing_of_what_others_chose() {
        let vault = vault();
        let ring = vault.keyring().unwrap();
        let guest = Viewer::guest("t_1".into());
        let all = [(Shown::Shared, Shown::Withheld), (Shown::Withheld, Shown::Absent)];
        let [one, two] = all.map(|(name, number)| see(&guest, &ada(&vault, &ring, name, number), &ring));
        assert_eq!(one, two);
    }

    #[test]
    fn withheld_is_withheld_from_everybody_and_each_value_alone() {
        let vault = vault();
        let ring = vault.keyring().unwrap();
        let (host, key) = viewer(&vault, Role::Host);
        let seen = see(&host, &ada(&vault, &ring, Shown::Shared, Shown::Withheld), &ring);
        assert_eq!(opened(&seen.name, &key).as_deref(), Some("Ada Example"));
        let withheld = Item { status: "withheld", source: None, jwe: None, masked: false };
        assert_eq!(seen.number, withheld);
        let seen = see(&host, &ada(&vault, &ring, Shown::Withheld, Shown::Shared), &ring);
        assert_eq!(seen.name, withheld);
        assert_eq!(seen.disclosed().collect::<Vec<_>>(), ["number", "profile"]);
    }

    #[test]
    fn no_key_no_names() {
        let vault = vault();
        let ring = vault.keyring().unwrap();
        let ada = ada(&vault, &ring, Shown::Shared, Shown::Shared);
        let keyless = Viewer::new("t_1".into(), Role::Host, Role::Host.sight(), None);
        assert_eq!(see(&keyless, &ada, &ring).disclosed().count(), 0);
        let (ended, _) = viewer(&vault, Role::Host);
        ended.end();
        assert_eq!(see(&ended, &ada, &ring).disclosed().count(), 0, "nor after the end");
    }
}
