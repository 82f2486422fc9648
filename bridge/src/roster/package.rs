//! The conference package (RFC 4575): a roster's state as a document for subscribers by SIP. They have no key, so they see pseudonyms.

use super::{Participant, Roster, State};
use std::collections::HashMap;
use std::fmt::Write;

/// What one subscriber was told: the next document says what is different.
#[derive(Debug, Default)]
pub struct Package {
    told: HashMap<String, Told>,
    version: u32,
    /// The roster's, when it was told last.
    changes: u64,
}

/// What is told of a participant: nothing of when they came, how they sound or when they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    state: State,
    muted: bool,
}

impl Package {
    /// The next document is a whole one again: the subscriber asked anew (RFC 4575 §4.4).
    pub fn anew(&mut self) {
        self.told.clear();
        self.version = 0;
    }

    /// Whether there may be something new.
    pub fn is_behind(&self, roster: &Roster) -> bool {
        self.version == 0 || self.changes != roster.changes
    }

    /// The next document, about the conference `entity`; `None` while there is nothing new. All of its text is ours.
    pub fn next(&mut self, roster: &Roster, entity: &str) -> Option<String> {
        if !self.is_behind(roster) {
            return None;
        }
        self.changes = roster.changes;
        let whole = self.version == 0;
        let rows = || roster.rows.iter().map(|r| &r.public).filter(|p| !p.hidden);
        let now: HashMap<String, Told> = rows().map(|p| (p.id.clone(), told_of(p))).collect();
        if !whole && now == self.told {
            return None;
        }
        self.version += 1;
        let mut out = String::with_capacity(1024);
        let state = if whole { "full" } else { "partial" };
        // Writing into memory does not fail; here and below.
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <conference-info xmlns=\"urn:ietf:params:xml:ns:conference-info\" entity=\"{entity}\" state=\"{state}\" version=\"{}\">\n\
             <conference-description><maximum-user-count>{}</maximum-user-count></conference-description>\n\
             <conference-state><user-count>{}</user-count><active>true</active></conference-state>\n",
            self.version,
            roster.capacity,
            now.len()
        );
        let _ = writeln!(out, "<users state=\"{state}\">");
        for participant in rows().filter(|p| self.told.get(&p.id) != now.get(&p.id)) {
            user(participant, &mut out);
        }
        for id in self.told.keys().filter(|id| !now.contains_key(*id)) {
            let _ = writeln!(out, "<user entity=\"sip:{id}@anonymous.invalid\" state=\"deleted\"/>");
        }
        out.push_str("</users>\n</conference-info>\n");
        self.told = now;
        Some(out)
    }
}

fn told_of(participant: &Participant) -> Told {
    Told { state: participant.state, muted: participant.muted }
}

fn user(participant: &Participant, out: &mut String) {
    let Participant { id, pseudonym, state, muted, .. } = participant;
    let status = match state {
        State::Joining => "alerting",
        State::Live => "connected",
        State::Held => "on-hold",
        State::Left => "disconnected",
    };
    let media = match (state, muted) {
        (State::Live, false) => "sendrecv",
        (State::Live, true) => "recvonly",
        _ => "inactive",
    };
    let _ = write!(
        out,
        "<user entity=\"sip:{id}@anonymous.invalid\" state=\"full\">\n\
         <display-text>{pseudonym}</display-text>\n\
         <endpoint entity=\"sip:{id}@anonymous.invalid\"><status>{status}</status><joining-method>dialed-in</joining-method>\n\
         <media id=\"1\"><type>audio</type><status>{media}</status></media></endpoint>\n</user>\n"
    );
}

#[cfg(test)]
mod tests {
    use super::super::tests::House;
    use super::super::{Kind, State};
    use super::*;
    use sip_stack::Shown::Absent;

    #[test]
    fn the_first_document_is_whole_and_the_next_say_what_changed() {
        let mut house = House::new();
        let mut package = Package::default();
        let ada = house.join(Absent, Absent);
        let nobody = crate::disclosure::tests::ada(&house.vault, house.roster.keys(), Absent, Absent);
        let hidden = house.roster.listen(nobody);
        let first = package.next(&house.roster, "sip:confx@192.0.2.9:5060").unwrap();
        assert!(
            first.contains("state=\"full\" version=\"1\"") && first.contains("<user-count>1</user-count>")
        );
        assert!(first.contains(&ada) && first.contains("Guest 1") && first.contains("alerting"));
        assert!(!first.contains(&hidden), "who is hidden is hidden here too");
        assert!(package.next(&house.roster, "e").is_none(), "nothing new");
        house.roster.update(&ada, Kind::Speaking, |p| p.speaking = true);
        assert!(package.next(&house.roster, "e").is_none(), "who speaks is not told");
        house.roster.update(&ada, Kind::Updated, |p| (p.state, p.muted) = (State::Live, true));
        let bob = house.join(Absent, Absent);
        let second = package.next(&house.roster, "e").unwrap();
        assert!(
            second.contains("state=\"partial\" version=\"2\"")
                && second.contains("recvonly")
                && second.contains(&bob)
        );
        house.roster.leave(&ada);
        let third = package.next(&house.roster, "e").unwrap();
        assert!(
            third.contains(&format!("{ada}@anonymous.invalid\" state=\"deleted\"")) && !third.contains(&bob)
        );
        package.anew();
        let again = package.next(&house.roster, "e").unwrap();
        assert!(
            again.contains("state=\"full\" version=\"1\"") && again.contains(&bob) && !again.contains(&ada)
        );
    }
}
