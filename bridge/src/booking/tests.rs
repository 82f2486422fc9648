use super::*;
use crate::account::Accounts;
use crate::disclosure::Role;
use crate::ledger::Home;
use crate::pin::{Pins, Tried, Try};
use std::time::Instant;

struct House {
    bookings: Bookings,
    doors: Doors,
    accounts: Accounts,
    ada: String,
    folder: std::path::PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn house() -> House {
    let folder = std::env::temp_dir().join(format!("sotto-bookings-{:016x}", rand::random::<u64>()));
    let home = Home { file: folder.join("ledger.db"), key_file: folder.join("ledger.key") };
    let ledger = Ledger::open(&home).unwrap();
    let vault = vault::Vault::open(vault::Policy::AllowWeaker).unwrap();
    let doors = Doors::new(&vault, ledger.keys().pins()).unwrap();
    let accounts = Accounts::new(ledger.clone()).unwrap();
    let ada =
        accounts.add("ada", Some("four random words here"), Role::Host, Some(Vec::new())).await.unwrap();
    House { bookings: Bookings::new(ledger, vec!["000000".into()]), doors, accounts, ada, folder }
}

impl House {
    async fn make(&self, settings: &Settings) -> Result<Made, BookingError> {
        self.bookings.add(&self.doors, &self.ada, settings, None, None).await
    }

    /// As what a PIN lets somebody in.
    async fn enter(&self, id: &str, pin: &str) -> Tried {
        let all = self.bookings.all().await.unwrap();
        let of = all.iter().find(|b| b.id == id).unwrap();
        let personal = of.personal.iter().map(|p| (p.id.clone(), p.pin, p.entrant, p.once));
        let pins: Pins = self.doors.of_kept(id, of.guest, of.host, personal);
        let me = Try { conference: id, trunk: "carrier", caller: None };
        self.doors.enter(&pins, me, pin.as_bytes(), Instant::now())
    }
}

#[tokio::test]
async fn a_conference_lasts_with_its_settings_and_its_pins_are_nowhere_in_clear() {
    let house = house().await;
    let settings = Settings {
        title: Some("Figures".into()),
        lobby: Some(Lobby::UntilHost),
        fields: vec!["Company".into()],
        opens_at: Some("2026-01-31T09:00:00+01:00".into()),
        ..Settings::default()
    };
    let made = house.make(&settings).await.unwrap();
    for digits in [&made.entry, &made.pin, &made.host_pin] {
        assert!(digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
    }
    assert_ne!(made.pin, made.host_pin);
    let all = house.bookings.all().await.unwrap();
    assert_eq!((all.len(), &all[0].id, &all[0].owner), (1, &made.id, &house.ada));
    assert_eq!((&all[0].settings, &all[0].entry), (&settings, &made.entry));
    assert!(!format!("{all:?}").contains(&made.pin));
    let dump = |db: &mut Connection| {
        db.query_row("SELECT hex(guest_pin) || hex(host_pin) FROM booking", [], |r| r.get::<_, String>(0))
    };
    let hashes = house.bookings.ledger.run(dump).await.unwrap();
    assert_eq!(hashes.len(), 128);
    assert_eq!(house.enter(&made.id, &made.pin).await, Tried::Right(Entrant::Guest));
    assert_eq!(house.enter(&made.id, &made.host_pin).await, Tried::Right(Entrant::Host));
    let other = Settings { chimes: Some(true), ..Settings::default() };
    house.bookings.change(&made.id, &other).await.unwrap();
    assert_eq!(house.bookings.all().await.unwrap()[0].settings, other);
    assert!(matches!(house.bookings.change("m_other", &other).await, Err(BookingError::Unknown)));
    house.bookings.remove(&made.id).await.unwrap();
    assert!(matches!(house.bookings.remove(&made.id).await, Err(BookingError::Unknown)));
}

#[tokio::test]
async fn pins_are_made_anew_and_for_one_person() {
    let house = house().await;
    let made = house.make(&Settings::default()).await.unwrap();
    let make = async |which, as_host, pin: Option<&str>| {
        house.bookings.make_pin(&house.doors, &made.id, which, as_host, pin.map(str::to_owned)).await
    };
    let (none, guest) = make(Which::Guest, false, None).await.unwrap();
    assert!(none.is_none());
    assert_eq!(house.enter(&made.id, &guest).await, Tried::Right(Entrant::Guest));
    assert!(matches!(house.enter(&made.id, &made.pin).await, Tried::Wrong { .. }), "the old one is over");
    let (id, own) = make(Which::Personal, true, Some("11112222")).await.unwrap();
    assert_eq!(house.enter(&made.id, &own).await, Tried::Personal(Entrant::Host, None));
    let (once, pin) = make(Which::Once, false, None).await.unwrap();
    let once = once.unwrap();
    assert_eq!(
        house.enter(&made.id, &pin).await,
        Tried::Personal(Entrant::Guest, Some(once.as_str().into()))
    );
    let listed = house.bookings.pins(&made.id).await.unwrap();
    let short: Vec<_> = listed.iter().map(|pin| (pin.role, pin.once)).collect();
    assert!(short.contains(&("host", false)) && short.contains(&("guest", true)) && short.len() == 2);
    // Each is another: a guest's that is a host's too would make hosts of guests.
    for (which, taken) in
        [(Which::Once, "11112222"), (Which::Guest, "11112222"), (Which::Host, guest.as_str())]
    {
        let again = make(which, false, Some(taken)).await;
        assert!(matches!(again, Err(BookingError::Fault(_) | BookingError::TooMany)), "{which:?}");
    }
    for wrong in ["123", "1234567890123", "12a456", ""] {
        assert!(
            matches!(make(Which::Host, false, Some(wrong)).await, Err(BookingError::Fault(_))),
            "{wrong}"
        );
    }
    let id = id.unwrap();
    assert!(!house.bookings.remove_pin("m_other", &id).await.unwrap(), "of another conference");
    assert!(house.bookings.remove_pin(&made.id, &id).await.unwrap());
    assert!(!house.bookings.remove_pin(&made.id, &id).await.unwrap());
}

#[tokio::test]
async fn what_an_account_has_made_goes_with_it_and_there_is_an_end_to_it() {
    let house = house().await;
    for _ in 0..MOST {
        house.make(&Settings::default()).await.unwrap();
    }
    assert!(matches!(house.make(&Settings::default()).await, Err(BookingError::TooMany)));
    let all = house.bookings.all().await.unwrap();
    let entries: std::collections::HashSet<_> = all.iter().map(|b| &b.entry).collect();
    assert_eq!(entries.len(), MOST as usize);
    house.accounts.set_disabled("ada", true).await.unwrap();
    assert!(house.bookings.all().await.unwrap().is_empty());
    house.accounts.set_disabled("ada", false).await.unwrap();
    house.accounts.remove("ada").await.unwrap();
    assert!(house.bookings.all().await.unwrap().is_empty());
    let count =
        |db: &mut Connection| db.query_row("SELECT count(*) FROM booking", [], |r| r.get::<_, i64>(0));
    assert_eq!(house.bookings.ledger.run(count).await.unwrap(), 0);
}

#[test]
fn settings_that_are_none_are_told_by_name() {
    let fits = Settings {
        title: Some("a".repeat(120)),
        capacity: Some(10_000),
        fields: vec!["a".repeat(60); 10],
        opens_at: Some("2026-01-31T09:00:00Z".into()),
        closes_at: Some("2026-01-31T09:00:01Z".into()),
        ..Settings::default()
    };
    assert_eq!(fits.fault(), None);
    for (settings, named) in [
        (Settings { title: Some(String::new()), ..fits.clone() }, "title"),
        (Settings { title: Some("a\nb".into()), ..fits.clone() }, "title"),
        (Settings { capacity: Some(0), ..fits.clone() }, "capacity"),
        (Settings { fields: vec!["a".into(); 11], ..fits.clone() }, "fields"),
        (Settings { fields: vec![" ".into()], ..fits.clone() }, "fields"),
        (Settings { opens_at: Some("tomorrow".into()), ..fits.clone() }, "opens_at"),
        (Settings { closes_at: Some("2026-01-31T09:00:00Z".into()), ..fits.clone() }, "closes_at"),
    ] {
        let fault = settings.fault().unwrap();
        assert!(fault.contains(named), "{fault}");
    }
    let window = fits.window();
    let at = |text| read_time(text).unwrap();
    assert!(!window.is_open(at("2026-01-31T08:49:59Z")));
    assert!(window.is_open(at("2026-01-31T08:50:00Z")), "a little too early");
    assert!(!window.is_open(at("2026-01-31T09:00:01Z")));
    assert!(Window::default().is_open(SystemTime::now()));
}
