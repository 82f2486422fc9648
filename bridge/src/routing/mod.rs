//! Which conference a dialled number belongs to.

use crate::config::{self, Config};
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
}

/// All numbers of ours.
#[derive(Debug)]
pub struct Routing {
    plans: Vec<Plan>,
    numbers: Vec<String>,
    adhoc_prefix: Option<String>,
    /// What conferences are like that say nothing of it.
    usual: Plan,
}

impl Routing {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        let usual = Plan {
            id: String::new(),
            capacity: *config.conferences.capacity.get_ref(),
            adhoc: true,
            withhold: config.conferences.withhold,
            refuse_anonymous: config.conferences.refuse_anonymous,
        };
        let plan = |c: &config::Conference| Plan {
            id: c.id.get_ref().clone(),
            capacity: c.capacity.as_ref().map_or(usual.capacity, |c| *c.get_ref()),
            adhoc: false,
            withhold: c.withhold.unwrap_or(usual.withhold),
            refuse_anonymous: c.refuse_anonymous.unwrap_or(usual.refuse_anonymous),
        };
        Self {
            plans: config.conference.iter().map(plan).collect(),
            numbers: config
                .conference
                .iter()
                .map(|c| config::digits(c.number.get_ref()).unwrap_or_default())
                .collect(),
            adhoc_prefix: config.conferences.adhoc_prefix.as_ref().map(|p| p.get_ref().clone()),
            usual,
        }
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
