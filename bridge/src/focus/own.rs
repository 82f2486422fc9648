//! A caller's own values: how they pass to the conference, and what the caller, and they alone, does with them.

use super::codes::{Act, HostKey, OwnKey, Way};
use super::{ASK_AGAIN, By, Focus, LegalValues, Meeting, OwnAct, Refused, Steer, WARN_AGAIN, Who, meeting};
use crate::audit;
use crate::disclosure::{Choice, Identity, Value, Wish};
use crate::legal::{self, LegalError};
use crate::meeting::{MutedBy, Told};
use crate::prompt::{self, Outcome};
use crate::roster::now;
use media::LegId;
use sip_stack::endpoint::Invite;
use sip_stack::{CallId, Caller, Own, Said, Shown};
use vault::{Becomes, Context, Kind, OwnName, OwnNumber, OwnProfile, Sealed, SpokenName};

/// A caller's values, kept for their own act.
#[derive(Default)]
pub(super) struct Owned {
    pub(super) name: Own<OwnName>,
    pub(super) number: Own<OwnNumber>,
    pub(super) profile: Own<OwnProfile>,
    /// Their name as they said it.
    pub(super) spoken: Option<Box<SpokenName>>,
}

impl Owned {
    /// Takes them from what the call brought.
    pub(super) fn take(caller: Option<&mut Caller>) -> Self {
        use std::mem::take;
        caller.map_or_else(Self::default, |c| Self {
            name: take(&mut c.name.own),
            number: take(&mut c.number.own),
            profile: take(&mut c.profile.own),
            spoken: None,
        })
    }
}

impl Focus {
    /// The caller's values pass from the call's key to the conference's.
    pub(super) fn adopt(&self, invite: &Invite) -> Identity {
        let caller = invite.caller.as_ref();
        let usual = caller.filter(|c| !c.asks_for_none).map(|_| self.plan.withhold).unwrap_or_default();
        Identity {
            name: self.said(invite, caller.map(|c| &c.name), usual.name),
            number: self.said(invite, caller.map(|c| &c.number), usual.number),
            profile: self.said(invite, caller.map(|c| &c.profile), usual.profile),
            fields: Vec::new(),
        }
    }

    /// A value as the call brought it; what is usual for the conference is withheld.
    pub(super) fn said<T: Kind + Becomes<T>, O: Becomes<T>>(
        &self,
        invite: &Invite,
        said: Option<&Said<T, O>>,
        usual: bool,
    ) -> Value<T> {
        let status = match said.map_or(Shown::Absent, |s| s.status) {
            Shown::Shared if usual => Shown::Withheld,
            status => status,
        };
        let (call, subject, asserted) = (invite.call, invite.subject, said.is_some_and(|s| s.asserted));
        match said {
            Some(Said { shared: None, own, .. }) => {
                self.value(call, own.sealed.as_ref(), subject, status, asserted)
            }
            said => self.value(call, said.and_then(|s| s.shared.as_ref()), subject, status, asserted),
        }
    }

    /// A value of a call's, under the conference's key. What does not open (it never should) is not kept.
    pub(super) fn value<T: Becomes<U>, U: Kind>(
        &self,
        call: CallId,
        sealed: Option<&Sealed<T>>,
        subject: u64,
        status: Shown,
        asserted: bool,
    ) -> Value<U> {
        let there = Context { scope: 0, subject, field: T::FIELD };
        let here = Context { scope: self.room.0, subject: call.0, field: U::FIELD };
        let ring = self.house.sip.reader().ring();
        let sealed = sealed.filter(|_| status == Shown::Shared);
        let adopted = sealed.and_then(|s| s.adopt(ring, there, self.roster.keys(), here).ok());
        Value::new(status, adopted, here, asserted)
    }

    pub(super) fn pressed(&mut self, call: CallId, way: Way, key: char) {
        let Some(leg) = self.legs.get_mut(&call).filter(|l| l.monitor.is_none()) else { return };
        match leg.keys.press(&self.house.codes, tokio::time::Instant::now(), way, key) {
            Some(Act::Choose(choice)) => self.choose(call, choice, "code"),
            Some(Act::Link) => self.personal_code(call),
            Some(Act::Own(key)) => self.own_key(call, key),
            Some(Act::Host(key)) => self.host_key(call, key),
            None => {}
        }
    }

    /// What somebody does on their own page.
    pub(super) fn own_act(&mut self, call: CallId, act: OwnAct) {
        match act {
            OwnAct::Act(act) => self.own(call, act),
            OwnAct::Leave => self.farewell(call, prompt::goodbye),
        }
    }

    fn own(&mut self, call: CallId, act: meeting::Act) {
        let Some(leg) = self.legs.get(&call) else { return };
        let by = Who { id: leg.participant.clone(), role: "guest" };
        // Nobody refuses what is one's own.
        let _ = self.act(call, By::Own, act, &by);
    }

    fn own_key(&mut self, call: CallId, key: OwnKey) {
        let Some(leg) = self.legs.get(&call) else { return };
        let (stance, language) = (&leg.stance, leg.language);
        let act = match key {
            OwnKey::Mute => self.meeting.toggled_mute(stance),
            OwnKey::Hand => Meeting::toggled_hand(stance),
            OwnKey::Deafen if stance.is_deaf() => meeting::Act::Hear,
            OwnKey::Deafen => meeting::Act::Deafen,
            OwnKey::Louder => meeting::Act::Louder,
            OwnKey::Softer => meeting::Act::Softer,
            OwnKey::People => return self.roll_call(call, language),
            OwnKey::Help => {
                let hosts = stance.role().leads();
                return self.say(call, prompt::help(language, self.house.codes.to_dial(), hosts));
            }
            OwnKey::Leave => return self.farewell(call, prompt::goodbye),
        };
        self.own(call, act);
    }

    /// A host's key. The host hears what it has done.
    fn host_key(&mut self, call: CallId, key: HostKey) {
        let Some(leg) = self.legs.get(&call) else { return };
        let language = leg.language;
        if !leg.stance.role().leads() {
            return self.say(call, prompt::not_available(language));
        }
        let by = Who { id: leg.participant.clone(), role: "host" };
        let (locked, lecture) = (self.meeting.is_locked(), self.meeting.is_lecture());
        let steer = match key {
            HostKey::MuteAll => Steer::MuteAll,
            HostKey::UnmuteAll => Steer::UnmuteAll,
            HostKey::Lock if locked => Steer::Unlock,
            HostKey::Lock => Steer::Lock,
            HostKey::Lecture if lecture => Steer::Discussion,
            HostKey::Lecture => Steer::Lecture,
            HostKey::AdmitAll => Steer::AdmitAll,
            HostKey::End => Steer::End,
        };
        let words = match self.steer(steer, &by) {
            // Everybody hears of an end.
            Ok(()) if steer == Steer::End => return,
            Ok(()) => prompt::steered(language, steer),
            Err(_) => prompt::not_available(language),
        };
        self.say(call, words);
    }

    /// Somebody talks whom nobody hears.
    pub(super) fn warn(&mut self, call: CallId) {
        let Some(leg) = self.legs.get_mut(&call) else { return };
        let now = tokio::time::Instant::now();
        let own = self.meeting.muted(&leg.stance) == Some(MutedBy::Own);
        if own && leg.warned.is_none_or(|warned| now >= warned + WARN_AGAIN) {
            leg.warned = Some(now);
            self.hears(call, Told::Muted);
        }
    }

    /// A caller's own choice: withholding destroys the roster's copies, sharing makes them again. They hear what became of it, whichever
    /// way they chose.
    pub(super) fn choose(&mut self, call: CallId, choice: Choice, by: &'static str) {
        let Some(leg) = self.legs.get(&call) else { return };
        let (own, subject) = (&leg.own, leg.subject);
        let name = choice.name.map(|wish| self.chosen(call, subject, &own.name, wish));
        let number = choice.number.map(|wish| self.chosen(call, subject, &own.number, wish));
        let profile = choice.profile.map(|wish| self.chosen(call, subject, &own.profile, wish));
        let status = [
            name.as_ref().map(Value::status),
            number.as_ref().map(Value::status),
            profile.as_ref().map(Value::status),
        ];
        let (participant, language) = (leg.participant.clone(), leg.language);
        self.roster.choose(&participant, |identity| {
            if let Some(value) = name {
                identity.name = value;
            }
            if let Some(value) = number {
                identity.number = value;
            }
            if let Some(value) = profile {
                identity.profile = value;
            }
        });
        if choice.name == Some(Wish::Withhold) {
            self.withhold_spoken(call);
        }
        self.record_choice(&participant, status, by);
        self.say(call, prompt::chosen(language, status.map(|s| s.map(outcome))));
    }

    /// A value after the caller's wish.
    pub(super) fn chosen<O: Becomes<T>, T: Kind>(
        &self,
        call: CallId,
        subject: u64,
        own: &Own<O>,
        wish: Wish,
    ) -> Value<T> {
        let status = match (wish, &own.sealed) {
            (Wish::Withhold, _) => Shown::Withheld,
            (Wish::Share, Some(_)) => Shown::Shared,
            (Wish::Share, None) => Shown::Absent,
        };
        self.value(call, own.sealed.as_ref(), subject, status, own.asserted)
    }

    pub(super) fn record_choice(&self, participant: &str, status: [Option<Shown>; 3], by: &'static str) {
        let named = |wanted: Shown| {
            let all = ["name", "number", "profile"].into_iter().zip(status);
            all.filter(|(_, s)| *s == Some(wanted)).map(|(attribute, _)| attribute).collect()
        };
        let event = audit::Event::Chosen {
            at: now(),
            conference: self.plan.id.clone(),
            participant: participant.to_owned(),
            pseudonym: self.roster.pseudonym(participant).unwrap_or_default().to_owned(),
            by,
            withheld: named(Shown::Withheld),
            shared: named(Shown::Shared),
        };
        // What the audit does not take is counted there. A choice is carried out all the same.
        let _ = self.house.audit.record(event);
    }

    /// Seals what a caller keeps for themselves for the key outside, if the audit takes it.
    pub(super) fn read_for_law(
        &self,
        request: String,
        by: legal::Person,
        participant: &str,
    ) -> Result<LegalValues, LegalError> {
        let recipient = self.house.legal.recipient()?;
        let leg = self.call_of(participant).and_then(|call| self.legs.get(&call));
        let leg = leg.ok_or(LegalError::NoParticipant)?;
        let (ring, subject) = (self.house.sip.reader().ring(), leg.subject);
        fn seal<O: Kind>(
            recipient: &vault::Recipient,
            own: &Own<O>,
            ring: &vault::Keyring,
            subject: u64,
        ) -> Option<String>
        where
            vault::LegalAccess: vault::Discloses<O>,
        {
            let there = Context { scope: 0, subject, field: O::FIELD };
            recipient.seal(own.sealed.as_ref()?, ring, there, vault::LegalAccess).ok()
        }
        let values = LegalValues {
            name: seal(recipient, &leg.own.name, ring, subject),
            number: seal(recipient, &leg.own.number, ring, subject),
            profile: seal(recipient, &leg.own.profile, ring, subject),
        };
        let all = [("name", &values.name), ("number", &values.number), ("profile", &values.profile)];
        let attributes =
            all.into_iter().filter(|(_, v)| v.is_some()).map(|(attribute, _)| attribute).collect();
        let pseudonym = self.roster.pseudonym(participant).unwrap_or_default().to_owned();
        let event = audit::Event::LegalRead { at: now(), request, by: by.id, pseudonym, attributes };
        self.house.audit.record(event)?;
        Ok(values)
    }

    /// Speaks a code for the caller's own page to them.
    pub(super) fn personal_code(&mut self, call: CallId) {
        let Some(leg) = self.legs.get(&call) else { return };
        let (now, language) = (std::time::Instant::now(), leg.language);
        // Who waits does not see yet who is in.
        let may = !leg.stance.waits();
        let code = may.then(|| self.house.links.make_code(now, &self.plan.id, &leg.participant)).flatten();
        let spoken = |code: String| prompt::personal_code(language, &code);
        self.say(call, code.map_or_else(|| prompt::not_available(language), spoken));
    }

    /// A host asks a caller to share; the caller hears how they could.
    pub(super) fn ask(&mut self, call: CallId) -> Result<(), Refused> {
        let leg = self.legs.get_mut(&call).ok_or(Refused::NoParticipant)?;
        let now = tokio::time::Instant::now();
        if leg.asked.is_some_and(|asked| now < asked + ASK_AGAIN) {
            return Err(Refused::TooSoon);
        }
        let [_, code, _] = self.house.codes.to_tell();
        self.house
            .engine
            .say(leg.room, LegId(call.0), prompt::ask(leg.language, code))
            .map_err(|_| Refused::Busy)?;
        leg.asked = Some(now);
        Ok(())
    }
}

fn outcome(status: Shown) -> Outcome {
    match status {
        Shown::Shared => Outcome::Shown,
        Shown::Withheld => Outcome::Hidden,
        Shown::Absent => Outcome::Unknown,
    }
}
