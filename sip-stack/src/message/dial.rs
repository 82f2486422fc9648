//! Calls that somebody in a meeting asks for: whether their number may be dialled, and the text of the INVITE.

use super::compose::seal_call;
use super::fields::context;
use super::headers::LocalAddress;
use super::lexer::trim;
use super::read::Reader;
use super::rules::Numbering;
use vault::{DialledNumber, Field, Sealed, Secrets, Signalling, SignallingText};

/// A number to be called, as it was handed in: E.164, with `+`.
#[derive(Debug)]
pub struct Callee {
    /// Number under which it is sealed.
    pub subject: u64,
    /// It.
    pub number: Sealed<DialledNumber>,
}

/// Why a number is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDialled {
    /// It is no number in E.164 form: `+` and 7 to 15 digits.
    #[error("not a telephone number in E.164 form")]
    NoNumber,
    /// The site's rules do not allow it.
    #[error("the rules allow no calls to this number")]
    NotAllowed,
}

impl vault::Leaves for NotDialled {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

/// The number's digits with `+`, if it may be dialled.
fn allowed(secrets: Secrets<'_>, reader: &Reader, callee: &Callee) -> Result<Vec<u8>, NotDialled> {
    let place = context(callee.subject, Field::Dialled);
    let text = secrets.open(reader.ring(), place, &callee.number, Signalling);
    let text = text.map_err(|_| NotDialled::NoNumber)?;
    let text = trim(text.bytes());
    // Nothing of what a URI's user part may have besides, as parameters: a person gave it, or a list.
    let digits = text.strip_prefix(b"+").filter(|d| d.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|_| Numbering::default().e164(text)).ok_or(NotDialled::NoNumber)?;
    if reader.dial_rules().allow(&number) { Ok(number) } else { Err(NotDialled::NotAllowed) }
}

/// Whether a number may be dialled.
///
/// # Errors
/// [`NotDialled`].
pub fn judge(secrets: Secrets<'_>, reader: &Reader, callee: &Callee) -> Result<(), NotDialled> {
    allowed(secrets, reader, callee).map(drop)
}

/// Seals the text of a call to a number over the trunk of `local`, whose host is `host`. Nothing of anybody else in the meeting is in it.
///
/// # Errors
/// [`NotDialled`].
pub fn seal_dialled(
    secrets: Secrets<'_>,
    reader: &Reader,
    subject: u64,
    callee: &Callee,
    (host, local): (&str, LocalAddress),
    call_id: &str,
) -> Result<Sealed<SignallingText>, NotDialled> {
    let number = allowed(secrets, reader, callee)?;
    let rules = reader.trunk(local.trunk);
    let plus = rules.is_none_or(|r| !r.numbering.without_plus);
    let digits = String::from_utf8_lossy(if plus { &number } else { &number[1..] });
    let target = format!("sip:{digits}@{host};user=phone");
    Ok(seal_call(secrets, reader, subject, &target, &own_address(reader, local), call_id, ""))
}

/// Our address towards a trunk, as a From value without tag.
pub fn own_address(reader: &Reader, local: LocalAddress) -> String {
    let rules = reader.trunk(local.trunk);
    let user = rules.and_then(|r| r.caller.as_deref()).unwrap_or("sotto");
    let mut host = Vec::new();
    local.write_host(reader, &mut host);
    format!("<sip:{user}@{}>", String::from_utf8_lossy(&host))
}

/// Seals a [`Callee`]'s number inside a region.
pub(super) fn seal_number(
    secrets: Secrets<'_>,
    reader: &Reader,
    subject: u64,
    number: &[u8],
) -> Sealed<DialledNumber> {
    secrets.seal(reader.ring(), context(subject, Field::Dialled), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AddressBook, DialRules, Protocol, TrunkId, TrunkRules};
    use vault::{Policy, Vault};

    #[test]
    fn only_whole_numbers_that_the_rules_allow_are_dialled_and_each_trunk_gets_them_as_it_wants_them() {
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let dial = DialRules { allowed: own(&["+1202", "+44"]), denied: own(&["+1900", "+447"]) };
        let numbering = Numbering { without_plus: true, ..Numbering::default() };
        let trunk = TrunkRules {
            numbering,
            caller: Some("+12025550100".into()),
            contact_host: Some("sbc.example.com".into()),
            ..TrunkRules::default()
        };
        let rules = vec![TrunkRules::default(), trunk];
        let reader = Reader::new(&vault, AddressBook::default()).unwrap().with_trunks(rules, dial);
        let mut region = vault.region().unwrap();
        let mut sealed = |number: &'static str| {
            let subject = reader.next_subject();
            let number = region.run(|i| seal_number(i.secrets, &reader, subject, number.as_bytes())).unwrap();
            Callee { subject, number }
        };
        let (no, not) = (Err(NotDialled::NoNumber), Err(NotDialled::NotAllowed));
        let mut judging = vault.region().unwrap();
        for (number, expected) in [
            ("+12025550143", Ok(())),
            (" +442079460123 ", Ok(())),
            ("+447700900123", not),
            ("+19005550143", not),
            ("12025550143", no),
            ("+1202", no),
            ("+12025550143;phone-context=x", no),
            ("+1(202)5550143", no),
            ("+1202555014312345", no),
            ("ada@example.com", no),
            ("+", no),
            ("", no),
        ] {
            let callee = sealed(number);
            assert_eq!(judging.run(|i| judge(i.secrets, &reader, &callee)).unwrap(), expected, "{number}");
            let moved = Callee { subject: callee.subject + 1, ..callee };
            assert_eq!(judging.run(|i| judge(i.secrets, &reader, &moved)).unwrap(), no, "elsewhere");
        }
        let callee = sealed("+12025550143");
        for (trunk, target, from) in [
            (0, &b"sip:+12025550143@carrier.example.com;user=phone"[..], "<sip:sotto@192.0.2.9>"),
            (1, b"sip:12025550143@carrier.example.com;user=phone", "<sip:+12025550100@sbc.example.com>"),
        ] {
            let address = "192.0.2.9:5060".parse().unwrap();
            let local = LocalAddress { address, protocol: Protocol::Udp, trunk: TrunkId(trunk) };
            assert_eq!(own_address(&reader, local), from);
            let right = judging.run(|i| {
                let by = ("carrier.example.com", local);
                let text = seal_dialled(i.secrets, &reader, 7, &callee, by, "id").map_err(|_| ());
                let opened = i.secrets.open(reader.ring(), context(7, Field::Dialog), &text?, Signalling);
                let opened = opened.map_err(|_| ())?;
                Ok::<_, ()>(opened.bytes().windows(target.len()).any(|w| w == target))
            });
            assert_eq!(right.unwrap(), Ok(true), "trunk {trunk}");
        }
    }
}
