//! The conference package (RFC 4575): a roster's state as a document for subscribers by SIP. They have no key, so they see pseudonyms.

use super::{Participant, Roster, State};
use std::collections::HashMap;
use std::fmt::Write;

/// What one subscriber was told: the next document says what is different.
#[derive(Debug, Default)]
pub struct Package {
    told: HashMap<String, Told>,
    version: u32,
    /// There was more to tell than one document holds.
    more: bool,
    /// The roster's, when it was told last.
    changes: u64,
}

/// Participants in one document: some 350 bytes each, and a message has 64 KiB.
const MOST: usize = 100;

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
        (self.version, self.more) = (0, false);
    }

    /// Whether there may be something new.
    pub fn is_behind(&self, roster: &Roster) -> bool {
        self.version == 0 || self.more || self.changes != roster.changes
    }

    /// Whether the last document did not tell all of it, so that the next one follows at once.
    pub fn has_more(&self) -> bool {
        self.more
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
        let mut news: Vec<_> = rows().filter(|p| self.told.get(&p.id) != now.get(&p.id)).collect();
        let mut gone: Vec<_> = self.told.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        self.more = news.len() + gone.len() > MOST;
        gone.truncate(MOST);
        news.truncate(MOST - gone.len());
        if !whole && news.is_empty() && gone.is_empty() {
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
        // RFC 4575 §5.1: each element says whether it is whole.
        let state = if self.more { "partial" } else { state };
        let _ = writeln!(out, "<users state=\"{state}\">");
        for participant in news {
            user(participant, &mut out);
            self.told.insert(participant.id.clone(), told_of(participant));
        }
        for id in gone {
            self.told.remove(&id);
            let _ = writeln!(out, "<user entity=\"sip:{id}@anonymous.invalid\" state=\"deleted\"/>");
        }
        out.push_str("</users>\n</conference-info>\n");
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
    #[test]
    fn a_large_conference_is_told_in_parts_that_fit_a_message() {
        let mut house = House::new();
        let mut package = Package::default();
        let all: Vec<_> = (0..250).map(|_| house.join(Absent, Absent)).collect();
        let mut told = Vec::new();
        for (part, more) in [(1, true), (2, true), (3, false)] {
            let document = package.next(&house.roster, "e").unwrap();
            assert!(document.len() < 48 * 1024, "{} bytes", document.len());
            assert!(
                document.contains(&format!("version=\"{part}\"")) && package.has_more() == more,
                "{part}"
            );
            assert!(document.contains("<users state=\"partial\">"));
            told.extend(all.iter().filter(|id| document.contains(*id)));
        }
        assert_eq!(told, all.iter().collect::<Vec<_>>(), "each once");
        assert!(package.next(&house.roster, "e").is_none());
        all.iter().for_each(|id| house.roster.leave(id));
        let gone = |d: String| d.matches("state=\"deleted\"").count();
        let parts: Vec<_> = std::iter::from_fn(|| package.next(&house.roster, "e")).map(gone).collect();
        assert_eq!(parts, [100, 100, 50]);
    }
}
