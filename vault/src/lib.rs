//! Encrypted memory: the only crate in which plaintext identity exists.
//!
//! A name or a number that a carrier sends is readable in one place only: inside a [`Region`], in pages that
//! neither root, a debugger's memory read nor a core dump can reach. What leaves a region is ciphertext,
//! keyed indexes, numbers and enums, and the compiler says so: [`Region::run`] returns only [`Leaves`] types.
//!
//! | module | owns |
//! |---|---|
//! | `wipe` | overwriting memory and vector registers |
//! | [`pages`] | secret pages: `memfd_secret`, else the ladder's next rung; says which it got |
//! | [`heap`] | the global allocator: ordinary (wiped when freed) or scoped to a region |
//! | [`leaves`] | which types may leave a region |
//! | [`key`] | keys and index keys, made in place in secret pages; dropping one shreds what it sealed |
//! | [`sealed`] | `Sealed<T>`, its context and the purposes that open it |
//! | [`spoken`] | names as somebody said them |
//! | `compact` | compact JWEs taken apart |
//! | [`envelope`] | JWE: values for a viewer's own key, and from it |
//! | [`opener`] | the viewer's side of the envelopes, in a process of its own |
//! | [`region`] | receive, parse, seal and compose in secret pages; wiped on leaving |
//! | [`lasting`] | what lasts between two visits and cannot be sealed: TLS sessions |
//! | [`media`] | SRTP keys, and what works with them on real-time threads |
//! | [`fingerprint`] | hashes that prove certificates in DTLS-SRTP |
//! | [`foreign`] | what others' libraries keep in memory |
//! | [`harden`] | process settings and the panic hook |
//! | [`guardian`] | a second process that keeps tracers away |
//!
//! A module imports only from those above it.
#![deny(unsafe_code)]

mod compact;
pub mod envelope;
pub mod fingerprint;
pub mod foreign;
pub mod guardian;
pub mod harden;
pub mod heap;
pub mod key;
pub mod lasting;
pub mod leaves;
pub mod media;
pub mod opener;
pub mod pages;
pub mod region;
pub mod sealed;
pub mod spoken;
mod wipe;

pub use envelope::{EnvelopeError, Extent, Jwe, PublicKey, Recipient, ViewerKey};
pub use fingerprint::Fingerprint;
pub use guardian::{GuardError, Tracing, guard};
pub use harden::harden;
pub use heap::Allocator;
pub use key::{Index, IndexKey, IndexMap, Keyring, Vault, VaultError};
pub use lasting::{Kept, Store};
pub use leaves::Leaves;
pub use media::{MasterKey, MediaKeys, PlaceError, SecretStack, Slot, Suite};
pub use pages::{Policy, Protection};
pub use region::{Fault, Inside, Region, Secrets};
pub use sealed::{
    Becomes, CallerName, CallerNumber, CallerProfile, Context, DialledNumber, Discloses, Field, FieldValue,
    ForViewers, FromViewers, Kind, LegalAccess, OwnName, OwnNumber, OwnProfile, Plain, Purpose, Roster,
    Sealed, Signalling, SignallingText, Tampered,
};
pub use spoken::SpokenName;

/// Whether this build is for measuring only: some or all of what it should protect is not protected.
pub const FOR_MEASURING: bool =
    cfg!(any(feature = "unprotected-for-measuring", feature = "no-zeroing-for-measuring"));
/// A build without any protection, to measure what protection costs.
pub(crate) const UNPROTECTED: bool = cfg!(feature = "unprotected-for-measuring");

/// What the process holds and how well it is protected, as `/readyz` and the metrics report it.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// The rung of the ladder that was reached.
    pub protection: Protection,
    /// Bytes of secret or locked memory mapped now.
    pub locked_bytes: usize,
    /// True when the global allocator is [`Allocator`]; without it a region's heap is the ordinary one.
    pub scoped_heap: bool,
    /// Blocks of a region's heap that were still alive when the region was left. They stay in secret pages.
    pub escapes: u64,
    /// Allocations that did not fit a region's heap; the message concerned was refused.
    pub spills: u64,
    /// Panics caught inside regions.
    pub panics: u64,
}
