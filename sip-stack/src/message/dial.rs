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
