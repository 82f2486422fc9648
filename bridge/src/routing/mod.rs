//! Which conference a dialled number belongs to.

use crate::config::{self, Config};
use sip_stack::{AddressBook, Target};

/// A conference that can be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id.
    pub id: String,
    /// Participants at most.
    pub capacity: usize,
    /// Whether it exists only while somebody is in it.
    pub adhoc: bool,
}

/// All numbers of ours.
#[derive(Debug)]
pub struct Routing {
    plans: Vec<Plan>,
    numbers: Vec<String>,
    adhoc_prefix: Option<String>,
    capacity: usize,
}

impl Routing {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        let capacity = *config.conferences.capacity.get_ref();
        let plan = |c: &config::Conference| Plan {
            id: c.id.get_ref().clone(),
            capacity: c.capacity.as_ref().map_or(capacity, |c| *c.get_ref()),
            adhoc: false,
        };
        Self {
            plans: config.conference.iter().map(plan).collect(),
            numbers: config
                .conference
                .iter()
                .map(|c| config::digits(c.number.get_ref()).unwrap_or_default())
                .collect(),
            adhoc_prefix: config.conferences.adhoc_prefix.as_ref().map(|p| p.get_ref().clone()),
            capacity,
        }
    }

    /// What the SIP stack may recognise.
    pub fn address_book(&self) -> AddressBook {
        AddressBook { numbers: self.numbers.clone(), adhoc_prefix: self.adhoc_prefix.clone() }
    }

    /// The conference that is called.
    pub fn find(&self, target: Target) -> Option<Plan> {
        match target {
            Target::Number(place) => self.plans.get(place).cloned(),
            // An ad-hoc name that is a configured conference's would let callers in by its id.
            Target::AdHoc(name) if self.plans.iter().all(|p| p.id != name.as_str()) => {
                Some(Plan { id: name.as_str().to_owned(), capacity: self.capacity, adhoc: true })
            }
            Target::AdHoc(_) | Target::Unknown => None,
        }
    }
}
