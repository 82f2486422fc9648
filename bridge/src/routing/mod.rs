//! Which conference a dialled number belongs to.

use crate::config::{self, Config};
use crate::meeting::Lobby;
use crate::pin::{Doors, Pins};
use sip_stack::{AddressBook, Dialled, Target};

/// A conference that can be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Participants at most.
    pub capacity: usize,
    /// Whether it exists only while somebody is in it.
    pub adhoc: bool,
    /// What participants withhold unless they share it themselves.
    pub withhold: config::Withhold,
    /// Callers who withhold their number are refused.
    pub refuse_anonymous: bool,
    /// What is asked for before somebody comes in.
    pub pins: Pins,
    /// Who waits before it.
    pub lobby: Lobby,
    /// All hear when somebody comes or goes.
    pub chimes: bool,
}

/// All numbers of ours.
#[derive(Debug)]
pub struct Routing {
    plans: Vec<Plan>,
    /// Those of conferences, in their order, then those at which callers are asked which conference they want.
    numbers: Vec<String>,
    /// What callers enter there for each conference, in their order; empty: it is not to be had there.
    entries: Vec<String>,
    adhoc_prefix: Option<String>,
    /// What conferences are like that say nothing of it.
    usual: Plan,
}

impl Routing {
    /// From the configuration.
    pub fn new(config: &Config, doors: &Doors) -> Self {
        let usual = Plan {
            id: String::new(),
            capacity: *config.conferences.capacity.get_ref(),
            adhoc: true,
            withhold: config.conferences.withhold,
            refuse_anonymous: config.conferences.refuse_anonymous,
            pins: Pins::default(),
            lobby: config.conferences.lobby,
            chimes: config.conferences.chimes,
        };
        let plan = |c: &config::Conference| Plan {
            id: c.id.get_ref().clone(),
            capacity: c.capacity.as_ref().map_or(usual.capacity, |c| *c.get_ref()),
            adhoc: false,
            withhold: c.withhold.unwrap_or(usual.withhold),
            refuse_anonymous: c.refuse_anonymous.unwrap_or(usual.refuse_anonymous),
            pins: {
                let digits =
                    |pin: &Option<toml::Spanned<String>>| pin.as_ref().map(|pin| pin.get_ref().clone());
                doors.pins(c.id.get_ref(), digits(&c.pin).as_deref(), digits(&c.host_pin).as_deref())
            },
            lobby: c.lobby.as_ref().map_or(usual.lobby, |l| *l.get_ref()),
            chimes: c.chimes.unwrap_or(usual.chimes),
        };
        let numbers = config.conference.iter().map(|c| &c.number).chain(&config.ivr.numbers);
        let entry = |c: &config::Conference| c.entry.as_ref().map_or(String::new(), |e| e.get_ref().clone());
        Self {
            plans: config.conference.iter().map(plan).collect(),
            numbers: numbers.map(|n| config::digits(n.get_ref()).unwrap_or_default()).collect(),
            entries: config.conference.iter().map(entry).collect(),
            adhoc_prefix: config.conferences.adhoc_prefix.as_ref().map(|p| p.get_ref().clone()),
            usual,
        }
    }

    /// What conferences are like that say nothing of it.
    pub fn usual(&self) -> &Plan {
        &self.usual
    }

    /// What the SIP stack may recognise.
    pub fn address_book(&self) -> AddressBook {
        AddressBook { numbers: self.numbers.clone(), adhoc_prefix: self.adhoc_prefix.clone() }
    }

    /// The conference with this id: one of ours, or one that callers could begin.
    pub fn named(&self, id: &str) -> Option<Plan> {
        let ours = self.plans.iter().find(|p| p.id == id).cloned();
        ours.or_else(|| {
            let prefix = self.adhoc_prefix.as_ref()?;
            let name = Dialled::new(id.as_bytes()).filter(|_| id.starts_with(prefix.as_str()))?;
            self.find(Target::AdHoc(name))
        })
    }

    /// Whether this is a number at which callers are asked which conference they want.
    pub fn asks(&self, target: Target) -> bool {
        matches!(target, Target::Number(place) if place >= self.plans.len() && place < self.numbers.len())
    }

    /// The conference that a caller enters there.
    pub fn entered(&self, digits: &[u8]) -> Option<Plan> {
        let wanted = |entry: &String| !entry.is_empty() && entry.as_bytes() == digits;
        self.plans.get(self.entries.iter().position(wanted)?).cloned()
    }

    /// The conference that is called.
    pub fn find(&self, target: Target) -> Option<Plan> {
        match target {
            Target::Number(place) => self.plans.get(place).cloned(),
            // An ad-hoc name that is a configured conference's would let callers in by its id.
            Target::AdHoc(name) if self.plans.iter().all(|p| p.id != name.as_str()) => {
                Some(Plan { id: name.as_str().to_owned(), ..self.usual.clone() })
            }
            Target::AdHoc(_) | Target::Listen(_) | Target::Ambiguous | Target::Unknown => None,
        }
    }
}
