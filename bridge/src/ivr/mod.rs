//! What a caller goes through before they are in a meeting: a small script of states, as data ([`Script`]), and one caller's way through it
//! ([`Visit`]). No sound, no socket and no clock here.

mod script;
mod visit;

pub use script::{Ask, Part, Place, Script, ScriptError, State};
pub use visit::{Entered, Input, LONGEST, Output, Verdict, Visit};
