//! Texts that are sealed together, and the context that each is sealed in.

use vault::{Context, Field};

/// Fields of an [`Request::echo`].
pub(super) const ECHO_LINES: usize = 0;
pub(super) const ECHO_TO: usize = 1;
pub(super) const ECHO_ROUTES: usize = 2;
pub(super) const ECHO_UNSUPPORTED: usize = 3;
/// Fields of a dialog's text.
pub(super) const DIALOG_LOCAL: usize = 0;
pub(super) const DIALOG_REMOTE: usize = 1;
pub(super) const DIALOG_CALL_ID: usize = 2;
pub(super) const DIALOG_TARGET: usize = 3;
pub(super) const DIALOG_ROUTES: usize = 4;

/// Texts behind each other, each with its length in front.
#[derive(Default)]
pub(super) struct Fields(pub(super) Vec<u8>);

impl Fields {
    pub(super) fn push(&mut self, text: &[u8]) {
        // Every text is part of one message, so below 64 KiB; what rejecting lines add stays below too, or is cut.
        let text = &text[..text.len().min(usize::from(u16::MAX))];
        self.0.extend_from_slice(&(text.len() as u16).to_be_bytes());
        self.0.extend_from_slice(text);
    }

    pub(super) fn get(mut bytes: &[u8], index: usize) -> &[u8] {
        for at in 0.. {
            let Some((len, rest)) = bytes.split_first_chunk::<2>() else { break };
            let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
            if at == index {
                return &rest[..len];
            }
            bytes = &rest[len..];
        }
        &[]
    }
}

/// The context of one subject's sealed text.
pub(crate) fn context(subject: u64, field: Field) -> Context {
    Context { scope: 0, subject, field }
}
