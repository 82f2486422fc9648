//! What is disclosed opens with the viewer's key, and with nothing else.
#![allow(missing_docs, clippy::unwrap_used)]

use vault::opener::{ContentKey, NotForUs, ViewerSecret};
use vault::{
    CallerNumber, Context, DialledNumber, EnvelopeError, Extent, Field, Keyring, Policy, PublicKey, Roster,
    Sealed, Tampered, Vault, ViewerKey,
};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

const HERE: Context = Context { scope: 1, subject: 2, field: Field::Number };

fn vault() -> Vault {
    Vault::open(Policy::AllowWeaker).unwrap()
}

fn viewer(vault: &Vault, id: &str) -> (ViewerKey, ContentKey) {
    let secret = ViewerSecret::generate().unwrap();
    let (key, handover) = ViewerKey::new(vault, id, &secret.public()).unwrap();
    (key, secret.take(&handover).unwrap())
}

fn sealed(vault: &Vault, ring: &Keyring, text: &'static str) -> Sealed<CallerNumber> {
    vault.region().unwrap().run(|i| i.secrets.seal(ring, HERE, text.as_bytes())).unwrap()
}

#[test]
fn a_disclosed_value_opens_for_its_viewer_only() {
    let vault = vault();
    let ring = vault.keyring().unwrap();
    let (ada, adas) = viewer(&vault, "k_1");
    let (_bob, bobs) = viewer(&vault, "k_1");
    let value = sealed(&vault, &ring, "+12025550143");
    let jwe = ada.disclose(&value, &ring, HERE, Extent::Whole, Roster).unwrap();
    assert_eq!(adas.open(&jwe).unwrap(), "+12025550143");
    assert_eq!(bobs.open(&jwe).unwrap_err(), NotForUs, "another viewer");
    let again = ada.disclose(&value, &ring, HERE, Extent::Whole, Roster).unwrap();
    assert_ne!(jwe, again, "no nonce twice");
    for at in 0..jwe.len() {
        let mut bent = jwe.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(adas.open(&String::from_utf8(bent).unwrap()).unwrap_err(), NotForUs, "byte {at}");
    }
}

#[test]
fn a_value_moved_to_another_place_is_not_disclosed() {
    let vault = vault();
    let (ring, other) = (vault.keyring().unwrap(), vault.keyring().unwrap());
    let (key, _) = viewer(&vault, "k_1");
    let value = sealed(&vault, &ring, "+12025550143");
    let elsewhere = [
        Context { scope: 9, ..HERE },
        Context { subject: 9, ..HERE },
        Context { field: Field::Name, ..HERE },
    ];
    for at in elsewhere {
        assert_eq!(key.disclose(&value, &ring, at, Extent::Whole, Roster), Err(Tampered), "{at:?}");
    }
    assert_eq!(key.disclose(&value, &other, HERE, Extent::Whole, Roster), Err(Tampered));
}

#[test]
fn a_masked_value_keeps_its_last_four_characters_and_no_length() {
    let vault = vault();
    let ring = vault.keyring().unwrap();
    let (key, content) = viewer(&vault, "k_1");
    for (text, expected) in [
        ("+12025550143", "…0143"),
        ("2025550143", "…0143"),
        ("5550143", "…"),
        ("12345678", "…5678"),
        ("ééééèèèè", "…èèèè"),
        ("555", "…"),
        ("12", ""),
        ("", ""),
    ] {
        let jwe = key.disclose(&sealed(&vault, &ring, text), &ring, HERE, Extent::LastFour, Roster).unwrap();
        assert_eq!(content.open(&jwe).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_key_that_is_no_point_of_the_curve_is_refused_and_leaves_nothing_behind() {
    let vault = vault();
    assert_eq!(PublicKey::from_coordinates(&[1; 31], &[1; 32]).unwrap_err(), EnvelopeError::NoPoint);
    assert_eq!(PublicKey::from_coordinates(&[1; 32], &[1; 48]).unwrap_err(), EnvelopeError::NoPoint);
    let before = vault.status().locked_bytes;
    for off in [[0; 32], [1; 32], [0xff; 32]] {
        let public = PublicKey::from_coordinates(&off, &off).unwrap();
        for _ in 0..1000 {
            assert_eq!(ViewerKey::new(&vault, "k_1", &public).unwrap_err(), EnvelopeError::NoPoint);
        }
    }
    assert_eq!(vault.status().locked_bytes, before, "no key slot is lost");
}

#[test]
fn the_longest_values_are_disclosed_and_longer_ones_refused() {
    let vault = vault();
    let ring = vault.keyring().unwrap();
    let (key, content) = viewer(&vault, &"k".repeat(64));
    let seal = |len: usize| -> Sealed<CallerNumber> {
        vault.region().unwrap().run(|i| i.secrets.seal(&ring, HERE, &vec![b'5'; len])).unwrap()
    };
    let jwe = key.disclose(&seal(1024), &ring, HERE, Extent::Whole, Roster).unwrap();
    assert_eq!(content.open(&jwe).unwrap().len(), 1024);
    assert_eq!(key.disclose(&seal(1025), &ring, HERE, Extent::Whole, Roster), Err(Tampered));
}

#[test]
fn what_is_withheld_is_sealed_for_somebody_outside_only() {
    use vault::{LegalAccess, OwnNumber, Recipient};
    let vault = vault();
    let (ring, other) = (vault.keyring().unwrap(), vault.keyring().unwrap());
    let at = Context { field: Field::OwnNumber, ..HERE };
    let own: Sealed<OwnNumber> =
        vault.region().unwrap().run(|i| i.secrets.seal(&ring, at, b"+12025550143")).unwrap();
    let (officer, another) = (ViewerSecret::generate().unwrap(), ViewerSecret::generate().unwrap());
    let recipient = Recipient::new(officer.public()).unwrap();
    let jwe = recipient.seal(&own, &ring, at, LegalAccess).unwrap();
    assert_ne!(jwe, recipient.seal(&own, &ring, at, LegalAccess).unwrap(), "a key of its own each time");
    assert_eq!(another.open(&jwe).unwrap_err(), NotForUs);
    assert_eq!(officer.open(&jwe).unwrap(), "+12025550143");
    assert_eq!(recipient.seal(&own, &ring, HERE, LegalAccess).unwrap_err(), EnvelopeError::NotHere);
    assert_eq!(recipient.seal(&own, &other, at, LegalAccess).unwrap_err(), EnvelopeError::NotHere);
    let off = PublicKey::from_coordinates(&[1; 32], &[1; 32]).unwrap();
    assert_eq!(Recipient::new(off).unwrap_err(), EnvelopeError::NoPoint);
}

#[test]
fn what_a_viewer_hands_in_opens_for_its_place_only() {
    let vault = vault();
    let ring = vault.keyring().unwrap();
    let (key, theirs) = viewer(&vault, "k_1");
    let (other, _) = viewer(&vault, "k_1");
    let here = Context { field: Field::Dialled, ..HERE };
    let jwe = theirs.seal("+12025550143").unwrap();
    let sealed: Sealed<DialledNumber> = key.receive(&jwe, &ring, here).unwrap();
    let mut region = vault.region().unwrap();
    let mut read = |at| {
        let opened = region.run(|i| {
            i.secrets.open(&ring, at, &sealed, vault::Signalling).map(|p| p.bytes() == b"+12025550143")
        });
        opened.unwrap()
    };
    assert_eq!(read(here), Ok(true));
    assert_eq!(read(Context { subject: 9, ..here }), Err(Tampered));
    let bad = EnvelopeError::NotHere;
    let receive = |key: &ViewerKey, jwe: &str| key.receive::<DialledNumber>(jwe, &ring, here).map(drop);
    assert_eq!(receive(&other, &jwe), Err(bad), "another viewer's");
    for at in 0..jwe.len() {
        let mut bent = jwe.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(receive(&key, &String::from_utf8(bent).unwrap()), Err(bad), "byte {at}");
    }
    let parts: Vec<_> = jwe.split('.').collect();
    let ours = [parts[0], "", "AAAAAAAAAAAAAAAA", parts[3], parts[4]].join(".");
    for wrong in ["", "a.b.c", "....", &ours, &theirs.seal(&"1".repeat(1025)).unwrap()] {
        assert_eq!(receive(&key, wrong), Err(bad), "{wrong:.20}");
    }
    assert!(receive(&key, &theirs.seal(&"1".repeat(1024)).unwrap()).is_ok());
}
