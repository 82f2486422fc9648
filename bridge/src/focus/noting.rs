//! What an operator notes of participants, and the list of who was there.

use super::{Focus, Refused, Who};
use crate::disclosure::{Value, Viewer};
use crate::roster::Keeping;
use sip_stack::Shown;
use vault::{Context, FieldValue, Kind};

impl Focus {
    /// What was noted takes the place of what was noted before: a value for each field, in their order. What the audit does not take is not done.
    pub(super) fn note(
        &mut self,
        participant: &str,
        viewer: &Viewer,
        values: &[Option<String>],
        by: &Who,
    ) -> Result<(), Refused> {
        let call = self.call_of(participant).ok_or(Refused::NoParticipant)?;
        if self.roster.identity(participant).is_some_and(|i| i.profile.status() == Shown::Withheld) {
            return Err(Refused::Withheld);
        }
        let Keeping { fields, .. } = self.roster.keeps();
        if fields.is_empty() || values.len() != fields.len() {
            return Err(Refused::NotFit);
        }
        let keys = self.roster.keys();
        let mut noted = Vec::with_capacity(values.len());
        for (place, value) in values.iter().enumerate() {
            // Each field's value opens in its own place only.
            let subject = call.0 ^ (1 + place as u64) << 56;
            let at = Context { scope: self.room.0, subject, field: FieldValue::FIELD };
            noted.push(match value {
                Some(jwe) => {
                    let sealed = viewer.receive(jwe, keys, at).ok_or(Refused::NotFit)?;
                    Value::new(Shown::Shared, Some(sealed), at, false)
                }
                None => Value::new(Shown::Absent, None, at, false),
            });
        }
        if values.iter().all(Option::is_none) {
            noted.clear();
        }
        self.record(by, "note", Some(participant)).map_err(|_| Refused::Busy)?;
        self.roster.note(participant, noted);
        Ok(())
    }

    /// Nobody who has left is in the list any more.
    pub(super) fn forget_gone(&mut self, by: &Who) -> Result<(), Refused> {
        self.record(by, "forget-attendance", None).map_err(|_| Refused::Busy)?;
        self.roster.forget_gone();
        self.forget_at = None;
        Ok(())
    }
}
