//! Which conference a dialled number belongs to.

use crate::booking::{Booking, Window};
use crate::config::{self, Config};
use crate::meeting::Lobby;
use crate::pin::{Doors, Pins};
use crate::prompt::Language;
use crate::roster::Keeping;
use sip_stack::{AddressBook, Dialled, Target};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

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
    /// Callers are asked to say their name, and all hear it.
    pub announce_names: bool,
    /// In which callers are spoken to at first, and all.
    pub language: Language,
    /// What is kept of who was there.
    pub keeping: Keeping,
    /// What hosts call it at first.
    pub title: Option<String>,
    /// When people may come in.
    pub window: Window,
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
    /// Numbers at which callers are asked which conference they want, as they are dialled.
    asked: Vec<String>,
    /// What accounts have made.
    booked: RwLock<Vec<Booked>>,
}

/// A conference that an account has made.
#[derive(Debug)]
struct Booked {
    plan: Plan,
    entry: String,
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
            announce_names: config.conferences.announce_names,
            language: config.conferences.language,
            keeping: Keeping::default(),
            title: None,
            window: Window::default(),
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
            announce_names: c.announce_names.unwrap_or(usual.announce_names),
            language: c.language.unwrap_or(usual.language),
            keeping: Keeping {
                fields: c.fields.iter().map(|label| label.get_ref().clone()).collect(),
                attendance: c.attendance,
            },
            title: None,
            window: Window::default(),
        };
        let numbers = config.conference.iter().map(|c| &c.number).chain(&config.ivr.numbers);
        let entry = |c: &config::Conference| c.entry.as_ref().map_or(String::new(), |e| e.get_ref().clone());
        Self {
            plans: config.conference.iter().map(plan).collect(),
            numbers: numbers.map(|n| config::digits(n.get_ref()).unwrap_or_default()).collect(),
            entries: config.conference.iter().map(entry).collect(),
            adhoc_prefix: config.conferences.adhoc_prefix.as_ref().map(|p| p.get_ref().clone()),
            asked: config.ivr.numbers.iter().map(|n| n.get_ref().clone()).collect(),
            booked: RwLock::default(),
            usual,
        }
    }

    /// Takes the conferences that accounts have made by now.
    pub fn book(&self, bookings: &[Booking], doors: &Doors) {
        let usual = &self.usual;
        let booked = |booking: &Booking| {
            let Booking { id, settings, .. } = booking;
            let personal = booking.personal.iter().map(|p| (p.id.clone(), p.pin, p.entrant, p.once));
            let plan = Plan {
                id: id.clone(),
                capacity: settings.capacity.unwrap_or(usual.capacity),
                // It begins anew with what its owner says by then.
                adhoc: true,
                withhold: settings.withhold.unwrap_or(usual.withhold),
                refuse_anonymous: settings.refuse_anonymous.unwrap_or(usual.refuse_anonymous),
                pins: doors.of_kept(id, booking.guest, booking.host, personal),
                lobby: settings.lobby.unwrap_or(usual.lobby),
                chimes: settings.chimes.unwrap_or(usual.chimes),
                announce_names: settings.announce_names.unwrap_or(usual.announce_names),
                language: settings.language.unwrap_or(usual.language),
                keeping: Keeping {
                    fields: settings.fields.iter().cloned().collect(),
                    attendance: settings.attendance,
                },
                title: settings.title.clone(),
                window: settings.window(),
            };
            Booked { plan, entry: booking.entry.clone() }
        };
        let all = bookings.iter().map(booked).collect();
        *self.booked.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Whether accounts have made any.
    pub fn has_booked(&self) -> bool {
        !self.booked().is_empty()
    }

    fn booked(&self) -> RwLockReadGuard<'_, Vec<Booked>> {
        self.booked.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers at which callers are asked which conference they want.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// What callers enter there for conferences of the configuration.
    pub fn entries(&self) -> Vec<String> {
        self.entries.iter().filter(|entry| !entry.is_empty()).cloned().collect()
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
        let booked = || self.booked().iter().find(|b| b.plan.id == id).map(|b| b.plan.clone());
        ours.or_else(booked).or_else(|| {
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
        let place = self.entries.iter().position(wanted);
        let booked = || self.booked().iter().find(|b| wanted(&b.entry)).map(|b| b.plan.clone());
        place.and_then(|place| self.plans.get(place).cloned()).or_else(booked)
    }

    /// The conference that is called.
    pub fn find(&self, target: Target) -> Option<Plan> {
        match target {
            Target::Number(place) => self.plans.get(place).cloned(),
            // An ad-hoc name that is a configured conference's would let callers in by its id.
            Target::AdHoc(name)
                if self.plans.iter().all(|p| p.id != name.as_str())
                    && self.booked().iter().all(|b| b.plan.id != name.as_str()) =>
            {
                Some(Plan { id: name.as_str().to_owned(), ..self.usual.clone() })
            }
            Target::AdHoc(_) | Target::Listen(_) | Target::Ambiguous | Target::Unknown => None,
        }
    }
}
