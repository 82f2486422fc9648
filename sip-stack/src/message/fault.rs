//! What is wrong with a message. None of these quotes it.

/// A message to which there is no answer: it is dropped and counted by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Longer than 64 KiB.
    #[error("larger than 64 KiB")]
    TooLarge,
    /// Neither a request line nor a status line.
    #[error("no SIP start line")]
    StartLine,
    /// A response with a fault (RFC 3261 §8.1.3.1: discard).
    #[error("a malformed response")]
    Response,
    /// A request without the Via, From, To, Call-ID or CSeq that an answer must echo.
    #[error("a request without what its answer would echo")]
    Unanswerable,
}

impl vault::Leaves for Malformed {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

/// A request's fault: the status code that it is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault(pub u16);

impl Fault {
    /// RFC 3261 §21.4.1.
    pub const BAD_REQUEST: Self = Self(400);
    /// Not an acceptable Accept (RFC 3261 §21.4.7).
    pub const NOT_ACCEPTABLE: Self = Self(406);
    /// RFC 3261 §21.4.11.
    pub const TOO_LARGE: Self = Self(413);
    /// RFC 3261 §21.4.13.
    pub const MEDIA_TYPE: Self = Self(415);
    /// RFC 3261 §21.4.14.
    pub const URI_SCHEME: Self = Self(416);
    /// RFC 3261 §21.4.15.
    pub const BAD_EXTENSION: Self = Self(420);
    /// A session that would have to be refreshed too often (RFC 4028 §6).
    pub const INTERVAL_TOO_SMALL: Self = Self(422);
    /// An Identity that is wrong, where that is refused (RFC 8224 §6.2.2).
    pub const INVALID_IDENTITY: Self = Self(438);
    /// A body that is encrypted for somebody else (RFC 3261 §21.4.27).
    pub const UNDECIPHERABLE: Self = Self(493);
    /// Privacy that is critical and cannot be kept (RFC 3323 §5).
    pub const PRIVACY: Self = Self(500);
    /// RFC 3261 §21.5.6.
    pub const VERSION: Self = Self(505);
}

impl vault::Leaves for Fault {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}
