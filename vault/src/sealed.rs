//! `Sealed<T>`: AES-256-GCM ciphertext of one value, bound to the place where it belongs, and the purposes
//! for which it may be opened.

use crate::key::Keyring;
use crate::leaves::{Leaves, Leaving};
use crate::wipe;
use ring::aead::{Aad, MAX_TAG_LEN, Nonce};
use std::marker::PhantomData;

/// Headers that only building a SIP message needs: Via, From, To, Call-ID, Contact, routes.
#[derive(Debug)]
pub enum SignallingText {}
/// A caller's display name.
#[derive(Debug)]
pub enum CallerName {}
/// A caller's number or address.
#[derive(Debug)]
pub enum CallerNumber {}
/// The display name that the caller could share: kept for them alone. By their own act it becomes a [`CallerName`]; no viewer's key ever opens
/// it.
#[derive(Debug)]
pub enum OwnName {}
/// As [`OwnName`], their number or address.
#[derive(Debug)]
pub enum OwnNumber {}
/// The address of a page or card that tells of a caller.
#[derive(Debug)]
pub enum CallerProfile {}
/// As [`OwnName`], that address.
#[derive(Debug)]
pub enum OwnProfile {}

/// A number that somebody in a meeting wants called. It is theirs until the call is answered; then it is what the one who was called could share: an
/// [`OwnNumber`].
#[derive(Debug)]
pub enum DialledNumber {}
impl Kind for DialledNumber {
    const FIELD: Field = Field::Dialled;
}
impl Becomes<DialledNumber> for DialledNumber {}
impl Becomes<OwnNumber> for DialledNumber {}
impl Purpose<DialledNumber> for Signalling {}

/// A kind that viewers hand in, sealed under their key.
pub trait FromViewers: Kind {
    /// Whether this is one. What is not is not taken.
    fn fits(_: &[u8]) -> bool {
        true
    }
}
impl FromViewers for DialledNumber {}
impl FromViewers for OwnName {
    /// One line, 1 to 120 characters, without what turns or hides the text around it.
    fn fits(plain: &[u8]) -> bool {
        is_one_line(plain, 120)
    }
}

/// What an operator has noted of a participant, in a field that the meeting's host asked for.
#[derive(Debug)]
pub enum FieldValue {}
impl Kind for FieldValue {
    const FIELD: Field = Field::Noted;
}
impl Discloses<FieldValue> for Roster {}
impl FromViewers for FieldValue {
    /// As a name, up to 240 characters.
    fn fits(plain: &[u8]) -> bool {
        is_one_line(plain, 240)
    }
}

/// One line of text, without what turns or hides the text around it.
fn is_one_line(plain: &[u8], most: usize) -> bool {
    let misleads = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
    std::str::from_utf8(plain).is_ok_and(|text| {
        (1..=most).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || misleads(c))
    })
}

/// A kind of value that a subject has one of: its field is part of where the value belongs.
pub trait Kind {
    /// The field.
    const FIELD: Field;
}

/// What a sealed value may become when it passes to a conference.
pub trait Becomes<U: Kind>: Kind {}

macro_rules! kinds {
    ($($caller:ident, $own:ident: $field:ident, $own_field:ident);* $(;)?) => { $(
        impl Kind for $caller { const FIELD: Field = Field::$field; }
        impl Kind for $own { const FIELD: Field = Field::$own_field; }
        impl Becomes<$caller> for $caller {}
        impl Becomes<$caller> for $own {}
        impl Discloses<$caller> for Roster {}
        impl Discloses<$own> for LegalAccess {}
    )* };
}

kinds! {
    CallerName, OwnName: Name, OwnName;
    CallerNumber, OwnNumber: Number, OwnNumber;
    CallerProfile, OwnProfile: Profile, OwnProfile;
}

/// A reason to open a `Sealed<T>`. Without one there is no plaintext.
///
/// A caller's values have one purpose only, [`Roster`], and only [`ViewerKey::disclose`](crate::ViewerKey::disclose)
/// takes it: they leave as ciphertext for a viewer's key, and no closure sees them. Nothing opens a caller's name for signalling:
///
/// ```compile_fail
/// # use vault::*;
/// fn peek(i: Inside<'_>, ring: &Keyring, at: Context, name: &Sealed<CallerName>) {
///     i.secrets.open(ring, at, name, Signalling);
/// }
/// ```
///
/// nor for the roster:
///
/// ```compile_fail
/// # use vault::*;
/// fn peek(i: Inside<'_>, ring: &Keyring, at: Context, name: &Sealed<CallerName>) {
///     i.secrets.open(ring, at, name, Roster);
/// }
/// ```
///
/// What a caller keeps for themselves is for no viewer, whatever the reason:
///
/// ```compile_fail
/// # use vault::*;
/// fn show(key: &ViewerKey, ring: &Keyring, at: Context, own: &Sealed<OwnName>) {
///     let _ = key.disclose(own, ring, at, Extent::Whole, Roster);
/// }
/// ```
///
/// ```compile_fail
/// # use vault::*;
/// fn show(key: &ViewerKey, ring: &Keyring, at: Context, own: &Sealed<OwnName>) {
///     let _ = key.disclose(own, ring, at, Extent::Whole, LegalAccess);
/// }
/// ```
///
/// (What does open compiles:)
///
/// ```
/// # use vault::*;
/// fn compose(i: Inside<'_>, ring: &Keyring, at: Context, text: &Sealed<SignallingText>) {
///     let _ = i.secrets.open(ring, at, text, Signalling);
/// }
/// ```
pub trait Purpose<T> {}

/// A reason to open a `Sealed<T>` for somebody outside, under their own key.
pub trait Discloses<T> {}

/// A reason that viewers may have.
pub trait ForViewers {}

/// Showing who is in the meeting to a viewer of its roster.
#[derive(Debug, Clone, Copy)]
pub struct Roster;
impl ForViewers for Roster {}

/// Reading what a caller withholds, because a law demands it: only for a [`Recipient`](crate::Recipient) outside of this process.
#[derive(Debug, Clone, Copy)]
pub struct LegalAccess;

/// Building or matching SIP messages.
#[derive(Debug, Clone, Copy)]
pub struct Signalling;
impl Purpose<SignallingText> for Signalling {}

/// Which of a subject's values is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// What a response echoes.
    Echo = 1,
    /// What a dialog's own requests need.
    Dialog = 2,
    /// Display name.
    Name = 3,
    /// Number or address.
    Number = 4,
    /// Bytes of a stream that could not be written yet.
    Outbox = 5,
    /// Lines of an answer that reject streams of the offer.
    Rejects = 6,
    /// Display name, kept for the caller's own act.
    OwnName = 7,
    /// Number, kept for the caller's own act.
    OwnNumber = 8,
    /// Profile.
    Profile = 9,
    /// Profile, kept for the caller's own act.
    OwnProfile = 10,
    /// A trunk's name and password.
    Credentials = 11,
    /// A challenge that waits for its answer.
    Challenge = 12,
    /// An address that a call is sent on to.
    Uri = 13,
    /// A number to be called.
    Dialled = 14,
    /// A name as it was said.
    SpokenName = 15,
    /// What an operator has noted.
    Noted = 16,
}

/// Where a sealed value belongs. Bound as associated data: moved elsewhere, it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The conference, or 0 for signalling.
    pub scope: u64,
    /// The call, dialog, transaction or participant.
    pub subject: u64,
    /// Which value of it.
    pub field: Field,
}

impl Context {
    pub(crate) fn bytes(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[..8].copy_from_slice(&self.scope.to_be_bytes());
        out[8..16].copy_from_slice(&self.subject.to_be_bytes());
        out[16] = self.field as u8;
        out
    }
}

/// The longest value that changes keys on the vault's secret stack, with its tag, bytes.
pub(crate) const MOST: usize = 1024 + MAX_TAG_LEN;

/// The value is not what was sealed here: other key, other place, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open here")]
pub struct Tampered;

/// Ciphertext of one value of kind `T`.
pub struct Sealed<T> {
    nonce: u64,
    text: Box<[u8]>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// Bytes of ciphertext and tag.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Never true: even an empty value has a tag.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn of(nonce: u64, text: Box<[u8]>) -> Self {
        Self { nonce, text, kind: PhantomData }
    }

    pub(crate) fn seal(ring: &Keyring, context: Context, mut value: Vec<u8>) -> Self {
        if crate::UNPROTECTED {
            return Self { nonce: 0, text: value.into_boxed_slice(), kind: PhantomData };
        }
        let nonce = ring.next_nonce();
        value.reserve_exact(MAX_TAG_LEN);
        let result =
            ring.key().seal_in_place_append_tag(nonce_of(nonce), Aad::from(context.bytes()), &mut value);
        // AES-GCM refuses only above 2^36 bytes; a message has at most 2^16.
        debug_assert!(result.is_ok());
        if result.is_err() {
            wipe::bytes(&mut value);
        }
        Self { nonce, text: value.into_boxed_slice(), kind: PhantomData }
    }

    pub(crate) fn open(&self, ring: &Keyring, context: Context) -> Result<Vec<u8>, Tampered> {
        let mut text = self.text.to_vec();
        if crate::UNPROTECTED {
            return Ok(text);
        }
        let len = ring
            .key()
            .open_in_place(nonce_of(self.nonce), Aad::from(context.bytes()), &mut text)
            .map_err(|_| Tampered)?
            .len();
        text.truncate(len);
        Ok(text)
    }

    pub(crate) fn parts(&self) -> (u64, &[u8]) {
        (self.nonce, &self.text)
    }

    /// Opens and seals again under another key and place, on the vault's secret stack: how a caller's name
    /// passes from the call that brought it to the conference that it joins.
    ///
    /// # Errors
    /// [`Tampered`] when it does not open with `from` at `there`, or is longer than 1 KiB.
    pub fn adopt<U: Kind>(
        &self,
        from: &Keyring,
        there: Context,
        to: &Keyring,
        here: Context,
    ) -> Result<Sealed<U>, Tampered>
    where
        T: Becomes<U>,
    {
        if crate::UNPROTECTED {
            return Ok(Sealed { nonce: 0, text: self.text.clone(), kind: PhantomData });
        }
        let mut text = vec![0u8; self.text.len()].into_boxed_slice();
        let nonce = to.next_nonce();
        to.vault().in_workshop(|| {
            let mut bench = [0u8; MOST];
            let bench = bench.get_mut(..self.text.len()).ok_or(Tampered)?;
            bench.copy_from_slice(&self.text);
            let result = (|| {
                let plain = from
                    .key()
                    .open_in_place(nonce_of(self.nonce), Aad::from(there.bytes()), bench)
                    .map_err(|_| Tampered)?;
                let tag = to
                    .key()
                    .seal_in_place_separate_tag(nonce_of(nonce), Aad::from(here.bytes()), plain)
                    .map_err(|_| Tampered)?;
                let (body, end) = text.split_at_mut(plain.len());
                body.copy_from_slice(plain);
                end.copy_from_slice(tag.as_ref());
                Ok(())
            })();
            wipe::bytes(bench);
            result
        })?;
        Ok(Sealed { nonce, text, kind: PhantomData })
    }
}

pub(crate) fn nonce_of(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Leaves for Tampered {
    fn leave(self, _: Leaving) -> Self {
        self
    }
}

impl<T> std::fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.text.len())
    }
}

impl<T> Leaves for Sealed<T> {
    fn leave(self, _: Leaving) -> Self {
        Self { nonce: self.nonce, text: self.text.as_ref().into(), kind: PhantomData }
    }
}

impl<T> crate::leaves::Composite for Sealed<T> {}

/// Keeps a value in its region and on its thread.
pub(crate) type InsideOnly<'r, T> = PhantomData<(&'r (), *mut (), fn() -> T)>;

/// An opened value. It cannot leave the region in which it was opened.
pub struct Plain<'r, T> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) inside: InsideOnly<'r, T>,
}

impl<T> Plain<'_, T> {
    /// The plaintext.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
