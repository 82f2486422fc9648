//! Who sees what of whom. [`see`] is the only way from a sealed name or number to anybody; it is asked before anything is serialised.
//!
//! What a viewer sees is the least of three: what their role may ([`MATRIX`], which a site's configuration can tighten), what the
//! participant shares, and, for want of a viewer's key, nothing: no key, no names.

use serde::{Deserialize, Serialize};
use sip_stack::Shown;
use std::sync::Arc;
use tokio::sync::watch;
use vault::{CallerName, CallerNumber, Context, Discloses, Keyring, Sealed, ViewerKey};

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

/// What a role may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Of the display name.
    pub name: Extent,
    /// Of the number.
    pub number: Extent,
}

/// Role × attribute. `docs/PRIVACY.md` shows the same table.
pub const MATRIX: [(Role, Sight); 4] = [
    (Role::Host, Sight { name: Extent::Shown, number: Extent::Shown }),
    (Role::Operator, Sight { name: Extent::Shown, number: Extent::Masked }),
    (Role::Admin, Sight { name: Extent::Pseudonym, number: Extent::Pseudonym }),
    (Role::Auditor, Sight { name: Extent::Pseudonym, number: Extent::Pseudonym }),
];

impl Role {
    /// Its word in configuration, API and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }

    /// What [`MATRIX`] says of it.
    pub fn sight(self) -> Sight {
        let found = MATRIX.iter().find(|(role, _)| *role == self);
        found.map_or(Sight { name: Extent::Pseudonym, number: Extent::Pseudonym }, |(_, sight)| *sight)
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

    /// How the audit names them.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What they are.
    pub fn role(&self) -> Role {
        self.role
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
}

impl<T> Value<T> {
    /// A value whose sealed text belongs to `at`. What is not shared is not kept.
    pub fn new(status: Shown, sealed: Option<Sealed<T>>, at: Context) -> Self {
        Self { status, sealed: sealed.filter(|_| status == Shown::Shared), at }
    }

    fn item(&self, viewer: &Viewer, extent: Extent, ring: &Keyring) -> Item
    where
        vault::Roster: Discloses<T>,
    {
        let extent = match extent {
            Extent::Shown => Some(vault::Extent::Whole),
            Extent::Masked => Some(vault::Extent::LastFour),
            Extent::Pseudonym => None,
        };
        let jwe = match (&viewer.key, &self.sealed, extent) {
            (Some(key), Some(sealed), Some(extent)) if !viewer.is_over() => {
                // What does not open (it never should) is not shown.
                key.disclose(sealed, ring, self.at, extent, vault::Roster).ok().map(Arc::from)
            }
            _ => None,
        };
        let status = match self.status {
            Shown::Shared => "shared",
            Shown::Withheld => "withheld",
            Shown::Absent => "absent",
        };
        Item { status, jwe }
    }
}

/// What is held of a participant's identity.
#[derive(Debug)]
pub struct Identity {
    /// Display name.
    pub name: Value<CallerName>,
    /// Number or address.
    pub number: Value<CallerNumber>,
}

/// One value as a viewer sees it. Only [`see`] makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwe: Option<Arc<str>>,
}

/// A participant's values as a viewer sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Display name.
    pub name: Item,
    /// Number.
    pub number: Item,
}

impl Seen {
    /// What was disclosed, by attribute; empty when nothing was.
    pub fn disclosed(&self) -> impl Iterator<Item = &'static str> {
        let told = [("name", &self.name), ("number", &self.number)];
        told.into_iter().filter(|(_, item)| item.jwe.is_some()).map(|(attribute, _)| attribute)
    }

    /// The same without what was disclosed.
    #[must_use]
    pub fn closed(mut self) -> Self {
        (self.name.jwe, self.number.jwe) = (None, None);
        self
    }
}

/// What `viewer` sees of a participant whose values are sealed under `ring`.
pub fn see(viewer: &Viewer, identity: &Identity, ring: &Keyring) -> Seen {
    Seen {
        name: identity.name.item(viewer, viewer.sight.name, ring),
        number: identity.number.item(viewer, viewer.sight.number, ring),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vault::opener::{ContentKey, ViewerSecret};
    use vault::{Field, Policy, Vault};

    pub(crate) const NAME: Context = Context { scope: 1, subject: 1, field: Field::Name };
    pub(crate) const NUMBER: Context = Context { scope: 1, subject: 1, field: Field::Number };

    /// Ada Example, with these statuses.
    pub(crate) fn ada(vault: &Vault, ring: &Keyring, name: Shown, number: Shown) -> Identity {
        let (n, d) = vault
            .region()
            .unwrap()
            .run(|i| {
                (i.secrets.seal(ring, NAME, b"Ada Example"), i.secrets.seal(ring, NUMBER, b"+12025550143"))
            })
            .unwrap();
        Identity { name: Value::new(name, Some(n), NAME), number: Value::new(number, Some(d), NUMBER) }
    }

    pub(crate) fn vault() -> Vault {
        Vault::open(Policy::AllowWeaker).unwrap()
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
        for (role, name, number) in [
            (Role::Host, Some("Ada Example"), Some("+12025550143")),
            (Role::Operator, Some("Ada Example"), Some("…0143")),
            (Role::Admin, None, None),
            (Role::Auditor, None, None),
        ] {
            let (viewer, key) = viewer(&vault, role);
            let seen = see(&viewer, &ada, &ring);
            let expected = (name.map(str::to_owned), number.map(str::to_owned));
            assert_eq!((opened(&seen.name, &key), opened(&seen.number, &key)), expected, "{role:?}");
        }
    }

    #[test]
    fn withheld_is_withheld_from_everybody_and_each_value_alone() {
        let vault = vault();
        let ring = vault.keyring().unwrap();
        let (host, key) = viewer(&vault, Role::Host);
        let seen = see(&host, &ada(&vault, &ring, Shown::Shared, Shown::Withheld), &ring);
        assert_eq!(opened(&seen.name, &key).as_deref(), Some("Ada Example"));
        assert_eq!(seen.number, Item { status: "withheld", jwe: None });
        let seen = see(&host, &ada(&vault, &ring, Shown::Withheld, Shown::Shared), &ring);
        assert_eq!(seen.name, Item { status: "withheld", jwe: None });
        assert_eq!(seen.disclosed().collect::<Vec<_>>(), ["number"]);
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
