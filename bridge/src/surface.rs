//! Every place where the bridge shows or writes something: one list, so that one test can walk all of them with made-up identities.
//!
//! A route of the API is made from an entry here ([`crate::api`] has no other way, and clippy refuses axum's), and the walk in
//! `tests/proof/surfaces.rs` takes every entry: a surface that is not walked does not compile there.

/// A place where something is shown or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Surface {
    /// Signing in.
    Login,
    /// Signing in by the site's provider: what it is called, and going there.
    Oidc,
    /// Coming back from there.
    OidcSession,
    /// What a token is good for, and signing out.
    OwnSession,
    /// Tokens of an account for programs.
    Tokens,
    /// Taking one back.
    Token,
    /// Conferences that accounts have made.
    Bookings,
    /// One of them.
    Booking,
    /// PINs of one of them.
    BookingPins,
    /// One of those.
    BookingPin,
    /// Conferences.
    Conferences,
    /// A conference's list, once.
    Roster,
    /// A conference's feed (WebSocket).
    Events,
    /// Calling somebody into a conference.
    Dial,
    /// Controls over a participant.
    Control,
    /// How a participant is heard.
    Sound,
    /// Where in a meeting a participant is.
    Place,
    /// Controls over a meeting.
    Steer,
    /// What hosts call a meeting.
    Title,
    /// What an operator notes of a participant.
    Fields,
    /// Who was there.
    Attendance,
    /// Inviting somebody to come by their browser.
    Invitations,
    /// The carriers and how they are.
    Trunks,
    /// Registering a viewer's key.
    ViewerKeys,
    /// Ending one.
    ViewerKey,
    /// Allowing somebody to listen without being seen.
    Monitors,
    /// Asking to read what a participant withholds, for a legal reason.
    LegalRequests,
    /// Approving it.
    LegalApproval,
    /// Fetching it.
    LegalAccess,
    /// Exchanging a personal link or code for a session.
    Session,
    /// A participant's own row, and who saw it.
    Me,
    /// A participant's own choice.
    OwnDisclosure,
    /// What a participant does to themselves.
    OwnControl,
    /// The key under which a participant hands in their name.
    OwnKey,
    /// Coming in by a browser.
    OwnAudio,
    /// A participant's own page.
    Page,
    /// Hosts' page.
    Portal,
    /// What it loads.
    PortalAsset,
    /// The API's description.
    Description,
    /// Whether the process answers.
    Health,
    /// Whether it takes calls, and on which memory.
    Readiness,
    /// Metrics.
    Metrics,
    /// Error bodies: what is not there, not allowed or not understood.
    Problems,
    /// What other callers get by SIP: answers, and the bridge's own requests.
    Sip,
    /// What other callers get by RTP and RTCP.
    Media,
    /// What the site's own programs are told.
    Webhooks,
    /// stdout of `sotto serve`.
    Output,
    /// stderr: the log, and what a panic says.
    Log,
    /// Who was shown what, and whatever else lies in the data folder.
    DataFolder,
    /// `sotto roster` with a token that sees no names.
    Screen,
    /// A core dump.
    CoreDump,
}

impl Surface {
    /// All of them.
    pub const ALL: [Self; 51] = [
        Self::Login,
        Self::Oidc,
        Self::OidcSession,
        Self::OwnSession,
        Self::Tokens,
        Self::Token,
        Self::Bookings,
        Self::Booking,
        Self::BookingPins,
        Self::BookingPin,
        Self::Conferences,
        Self::Roster,
        Self::Events,
        Self::Dial,
        Self::Control,
        Self::Sound,
        Self::Place,
        Self::Steer,
        Self::Title,
        Self::Fields,
        Self::Attendance,
        Self::Invitations,
        Self::Trunks,
        Self::ViewerKeys,
        Self::ViewerKey,
        Self::Monitors,
        Self::LegalRequests,
        Self::LegalApproval,
        Self::LegalAccess,
        Self::Session,
        Self::Me,
        Self::OwnDisclosure,
        Self::OwnControl,
        Self::OwnKey,
        Self::OwnAudio,
        Self::Page,
        Self::Portal,
        Self::PortalAsset,
        Self::Description,
        Self::Health,
        Self::Readiness,
        Self::Metrics,
        Self::Problems,
        Self::Sip,
        Self::Media,
        Self::Webhooks,
        Self::Output,
        Self::Log,
        Self::DataFolder,
        Self::Screen,
        Self::CoreDump,
    ];

    /// Its path, for one that HTTP serves.
    pub const fn path(self) -> Option<&'static str> {
        Some(match self {
            Self::Login => "/v1/login",
            Self::Oidc => "/v1/oidc",
            Self::OidcSession => "/v1/oidc/session",
            Self::OwnSession => "/v1/session",
            Self::Tokens => "/v1/tokens",
            Self::Token => "/v1/tokens/{id}",
            Self::Bookings => "/v1/bookings",
            Self::Booking => "/v1/bookings/{id}",
            Self::BookingPins => "/v1/bookings/{id}/pins",
            Self::BookingPin => "/v1/bookings/{id}/pins/{pin}",
            Self::Conferences => "/v1/conferences",
            Self::Roster => "/v1/conferences/{id}/roster",
            Self::Events => "/v1/conferences/{id}/events",
            Self::Dial => "/v1/conferences/{id}/participants",
            Self::Trunks => "/v1/trunks",
            Self::Control => "/v1/conferences/{id}/participants/{pid}/{action}",
            Self::Sound => "/v1/conferences/{id}/participants/{pid}/sound",
            Self::Place => "/v1/conferences/{id}/participants/{pid}/place",
            Self::Steer => "/v1/conferences/{id}/controls/{action}",
            Self::Title => "/v1/conferences/{id}/title",
            Self::Fields => "/v1/conferences/{id}/participants/{pid}/fields",
            Self::Attendance => "/v1/conferences/{id}/attendance",
            Self::OwnControl => "/v1/me/controls/{action}",
            Self::OwnKey => "/v1/me/key",
            Self::OwnAudio => "/v1/me/audio",
            Self::Invitations => "/v1/conferences/{id}/invitations",
            Self::ViewerKeys => "/v1/viewer-keys",
            Self::ViewerKey => "/v1/viewer-keys/{id}",
            Self::Monitors => "/v1/conferences/{id}/monitors",
            Self::LegalRequests => "/v1/legal-access",
            Self::LegalApproval => "/v1/legal-access/{id}/approval",
            Self::LegalAccess => "/v1/legal-access/{id}",
            Self::Session => "/v1/me/session",
            Self::Me => "/v1/me",
            Self::OwnDisclosure => "/v1/me/disclosure",
            Self::Page => "/me",
            Self::Portal => "/",
            Self::PortalAsset => "/assets/{name}",
            Self::Description => "/openapi.json",
            Self::Health => "/healthz",
            Self::Readiness => "/readyz",
            Self::Metrics => "/metrics",
            _ => return None,
        })
    }
}
