//! Who was there: what a host asked to be noted of participants, and the list of all who came, for meetings that keep one.

use super::{Participant, Roster, Row, Text, View, now};
use crate::disclosure::{Identity, Seen, Value, Viewer};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast;
use vault::FieldValue;

/// Participants who have left and are still in the list; of more, the first go.
const MOST: usize = 10_000;

/// What a meeting keeps of who was there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeping {
    /// What an operator notes of each, as the host asked for it.
    pub fields: Arc<[String]>,
    /// Who has left stays in a list until the meeting has been over for a while.
    pub attendance: bool,
}

/// Who has left.
#[derive(Debug)]
struct Gone {
    row: Row,
    left_at: String,
}

/// Who was there, and what is kept of them.
#[derive(Debug, Default)]
pub(super) struct Register {
    pub(super) keeping: Keeping,
    gone: VecDeque<Gone>,
}

impl Register {
    /// Somebody has left.
    pub(super) fn keep(&mut self, row: Row) {
        // Who was turned away, or did not answer, was not there.
        let was_there = !row.public.hidden && !row.public.lobby && row.public.outcome.is_none();
        if self.keeping.attendance && was_there {
            self.gone.push_back(Gone { row, left_at: now() });
            if self.gone.len() > MOST {
                self.gone.pop_front();
            }
        }
    }
}

/// One who was there, as a viewer sees them.
#[derive(Serialize)]
struct Person<'a> {
    id: &'a str,
    pseudonym: &'a str,
    role: crate::meeting::Role,
    joined_at: &'a str,
    left_at: Option<&'a str>,
    #[serde(flatten)]
    seen: Seen,
}

#[derive(Serialize)]
struct Attendance<'a> {
    conference: &'a str,
    at: String,
    fields: &'a [String],
    people: Vec<Person<'a>>,
}

impl Roster {
    /// The same with what it keeps of who was there.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.register.keeping = keeping;
        self
    }

    /// What it keeps.
    pub fn keeps(&self) -> &Keeping {
        &self.register.keeping
    }

    /// What an operator has noted of a participant takes the place of what was noted before. False: no such row.
    pub fn note(&mut self, id: &str, values: Vec<Value<FieldValue>>) -> bool {
        self.choose(id, |identity| identity.fields = values)
    }

    /// All who are and were there, as `viewer` sees them, each disclosure recorded. `None`: no such list is kept.
    pub fn attendance(&mut self, viewer: &Arc<Viewer>) -> Option<Text> {
        if !self.register.keeping.attendance {
            return None;
        }
        let (feed, _) = broadcast::channel(1);
        let mut view = View::new(viewer, feed, self.seq);
        let mut rows = std::mem::take(&mut self.rows);
        let mut gone = std::mem::take(&mut self.register.gone);
        let left = gone.iter_mut().map(|gone| &mut gone.row);
        for row in left.chain(rows.iter_mut().filter(|row| !row.public.hidden)) {
            self.disclose(&mut view, row);
        }
        (self.rows, self.register.gone) = (rows, gone);
        let left = self.register.gone.iter().map(|gone| (&gone.row.public, Some(gone.left_at.as_str())));
        let here = self.rows.iter().filter(|row| !row.public.hidden).map(|row| (&row.public, None));
        let mut people = Vec::with_capacity(left.len() + self.rows.len());
        for (public, left_at) in left.chain(here) {
            if let Some(seen) = view.seen.remove(&public.id) {
                let Participant { id, pseudonym, role, joined_at, .. } = public;
                people.push(Person { id, pseudonym, role: *role, joined_at, left_at, seen });
            }
        }
        let fields = if viewer.sees_fields() { &self.register.keeping.fields[..] } else { &[] };
        let attendance = Attendance { conference: &self.conference, at: now(), fields, people };
        // Strings and enums always serialise.
        Some(serde_json::to_string(&attendance).unwrap_or_default().into())
    }

    /// Nobody who has left is in the list any more: what was held of them is wiped.
    pub fn forget_gone(&mut self) {
        self.register.gone.clear();
    }

    /// Whether anybody is in it who has left.
    pub fn has_gone(&self) -> bool {
        !self.register.gone.is_empty()
    }

    /// What has been noted goes with the profile.
    pub(super) fn withhold_fields(identity: &mut Identity) {
        if identity.profile.status() == sip_stack::Shown::Withheld {
            identity.fields.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::House;
    use super::*;
    use crate::disclosure::Role;
    use crate::disclosure::tests::viewer;
    use serde_json::Value as Json;
    use sip_stack::Shown;
    use vault::opener::ContentKey;
    use vault::{Context, Field};

    fn house() -> House {
        let mut house = House::new();
        let fields = Arc::from(["Company".to_owned(), "Question".to_owned()]);
        house.roster.register.keeping = Keeping { fields, attendance: true };
        house
    }

    fn note(house: &mut House, id: &str, text: &[u8]) {
        let at = Context { scope: 1, subject: 9, field: Field::Noted };
        let ring = house.roster.keys();
        let sealed = house.vault.region().unwrap().run(|i| i.secrets.seal(ring, at, text)).unwrap();
        let values = vec![
            Value::new(Shown::Shared, Some(sealed), at, false),
            Value::new(Shown::Absent, None, at, false),
        ];
        assert!(house.roster.note(id, values));
    }

    fn list(house: &mut House, viewer: &Arc<Viewer>) -> Json {
        serde_json::from_str(&house.roster.attendance(viewer).unwrap()).unwrap()
    }

    fn opened(key: &ContentKey, item: &Json) -> String {
        key.open(item["jwe"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn the_list_has_all_who_came_with_what_was_noted_for_who_asked_alone() {
        let mut house = house();
        let (ada, bob) =
            (house.join(Shown::Shared, Shown::Shared), house.join(Shown::Withheld, Shown::Shared));
        note(&mut house, &ada, b"Example Ltd");
        house.roster.leave(&ada);
        let (host, key) = viewer(&house.vault, Role::Host);
        let all = list(&mut house, &Arc::new(host));
        assert_eq!(all["fields"], serde_json::json!(["Company", "Question"]));
        let people = all["people"].as_array().unwrap();
        assert_eq!(people.len(), 2);
        assert_eq!((&people[0]["id"], &people[1]["id"]), (&Json::from(ada), &Json::from(bob)));
        assert!(people[0]["left_at"].is_string() && people[1]["left_at"].is_null());
        assert_eq!(opened(&key, &people[0]["name"]), "Ada Example");
        assert_eq!(opened(&key, &people[0]["fields"][0]), "Example Ltd");
        assert_eq!(people[0]["fields"][1]["status"], "absent");
        assert_eq!(people[1]["name"], serde_json::json!({ "status": "withheld" }));
        let auditor = Arc::new(Viewer::new("t_9".into(), Role::Auditor, Role::Auditor.sight(), None));
        let seen = list(&mut house, &auditor).to_string();
        assert!(!seen.contains("jwe") && !seen.contains("\"fields\":[{"), "{seen}");
    }

    #[test]
    fn what_was_noted_goes_with_the_profile_and_the_list_when_it_is_forgotten() {
        let mut house = house();
        let ada = house.join(Shown::Shared, Shown::Shared);
        note(&mut house, &ada, b"Example Ltd");
        let at = Context { scope: 1, subject: 1, field: Field::Profile };
        house.roster.choose(&ada, |identity| identity.profile = Value::new(Shown::Withheld, None, at, false));
        assert!(house.roster.identity(&ada).unwrap().fields.is_empty());
        house.roster.leave(&ada);
        assert!(house.roster.has_gone());
        house.roster.forget_gone();
        let (host, _) = viewer(&house.vault, Role::Host);
        assert_eq!(list(&mut house, &Arc::new(host))["people"], serde_json::json!([]));
    }

    #[test]
    fn a_meeting_that_keeps_no_list_has_none() {
        let mut house = House::new();
        let ada = house.join(Shown::Shared, Shown::Shared);
        house.roster.leave(&ada);
        let (host, _) = viewer(&house.vault, Role::Host);
        assert!(house.roster.attendance(&Arc::new(host)).is_none() && !house.roster.has_gone());
    }
}
